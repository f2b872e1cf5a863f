"""Which cases a run is evaluated on: its own split's, or another dataset's. Reads; predicts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelab import runs
from strokelab.configuration import Settings, build
from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.errors import ConfigError, RunError
from strokelab.runs import Run


@dataclass(frozen=True)
class Cohort:
    """The cases one run is evaluated on."""

    dataset: str
    phantom: bool
    cases: tuple[Case, ...]
    spacing: str


def cohort_of(run: Run, settings: Settings) -> Cohort:
    """The run's own cohort, or the one named on the command line.

    Of the dataset a run was trained on, wherever it lies now, its split's part is taken; of another dataset all
    labelled cases.

    Raises:
        StrokelabError: the dataset cannot be read, lacks cases of the split, or has other modalities.
    """
    own = described = run.settings["cohort"]
    if settings.get("data"):
        datamodule = build(settings["data"], view=run.view, split=None)
        described, cases = datamodule.describe(), datamodule.cases
    else:
        cases = recorded_cases(run)
    if all(described.get(key) == own.get(key) for key in ("dataset", "phantom")):
        cases = part_of(run, cases, settings["part"], where=described["root"])
    cases = [case for case in cases if case.labelled]
    if not cases:
        raise ConfigError(
            run.folder,
            found=f"no case in the {settings['part']} part",
            expected="labelled cases to score",
            remedy="choose part=val or part=train, or a dataset with data=...",
        )
    spacing = run.view.preparation.spacing
    text = "native" if spacing is None else " x ".join(f"{value:g}" for value in spacing) + " mm"
    return Cohort(str(described["dataset"]), bool(described.get("phantom")), tuple(cases), text)


def recorded_cases(run: Run) -> list[Case]:
    """The cohort a run was trained on, as its config describes it; plain data that only a reader gets to see.

    Raises:
        RunError: the description is damaged.
        DataError: the data are not where they were.
    """
    own = run.settings["cohort"]
    options = own.get("options") or {}
    if not isinstance(own.get("root"), str) or not isinstance(own.get("dataset"), str) or not isinstance(options, dict):
        raise RunError(
            run.folder / runs.CONFIG,
            found=f"cohort: {own}",
            expected="dataset, root and options",
            remedy="copy the run again, or name a dataset with data=...",
        )
    try:
        return read_cases(own["dataset"], Path(own["root"]), **options)
    except (TypeError, ValueError) as error:
        raise RunError(
            run.folder / runs.CONFIG,
            found=f"cohort.options: {options} ({error})",
            expected=f"options of the reader {own['dataset']}",
            remedy="copy the run again, or name a dataset with data=...",
        ) from error


def part_of(run: Run, cases: Sequence[Case], part: str, *, where: str) -> list[Case]:
    """Those of the cases that stand in a part of the run's split.

    Raises:
        ConfigError: some of them are gone.
    """
    every = {case.case_id: case for case in cases}
    wanted = getattr(run.split, part)
    missing = [case_id for case_id in wanted if case_id not in every]
    if missing:
        raise ConfigError(
            where,
            found=f"{len(missing)} of {len(wanted)} {part} cases are gone, first {missing[0]!r}",
            expected="the cohort the run was trained on",
            remedy="restore the data, or name another dataset with data=...",
        )
    return [every[case_id] for case_id in wanted]
