"""Which cases a run is evaluated on: its own split's, or another dataset's. Reads; predicts nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from strokelab import runs
from strokelab.configuration import Settings, build
from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.data.cohort_checks import MissingModalityError
from strokelab.data.split_file import PARTS
from strokelab.errors import ConfigError, RunError
from strokelab.phantoms.naming import of_phantoms
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore, default_store
from strokelab.runs import Run
from strokelab.runs.training_scans import check_contrasts


@dataclass(frozen=True)
class Cohort:
    """The cases one run is evaluated on."""

    dataset: str
    phantom: bool
    cases: tuple[Case, ...]
    spacing: str  # of the network's grid, in words
    absent: str = ""  # why there are no cases: the data are elsewhere
    own: bool = True  # a part of the run's own split, prepared as its training prepared it
    modalities: tuple[str, ...] = ()  # the images that are predicted each alone, where the run does that
    public: bool = False  # phantoms that were asked for as such: pictures of them may be shared without a word


class Cohorts:
    """The datasets of an evaluation, each read once for all its runs.

    Args:
        settings: of the evaluation; ``data`` and ``part`` are looked at.
        each: runs of one channel are applied to each modality of a dataset, whatever they were trained on.
    """

    def __init__(self, settings: Settings, *, each: bool = False) -> None:
        self.settings, self._each = settings, each
        self._read: dict[str, list[Case]] = {}
        self._chosen: dict[tuple[str, ...], tuple[Settings, list[Case]]] = {}

    def of(self, run: Run) -> Cohort:
        """The run's own cohort, or the one named on the command line.

        Of the dataset a run was trained on, wherever it lies now, its split's part is taken; of another dataset all
        labelled cases.

        Raises:
            StrokelabError: the dataset cannot be read, lacks cases of the split, or has other modalities.
        """
        own = described = run.settings["cohort"]
        if self.settings.get("data"):
            described, cases = self._other(run)
        else:
            cases = self.recorded(own, run.folder)
        part = self.settings["part"]
        kinds = {of_phantoms(described), of_phantoms(own)} - {None}
        same = described.get("dataset") == own.get("dataset") and len(kinds) < 2
        # Two folders of own files are two datasets of one kind: without a common case they are not the same.
        own_part = same and (described is own or not _known(run).isdisjoint(case.case_id for case in cases))
        if own_part:
            cases = part_of(run, cases, part, where=described["root"])
        cases = [case for case in cases if case.labelled]
        if not cases:
            raise ConfigError(
                run.folder,
                found=f"no case in the {part} part",
                expected="labelled cases to score",
                remedy="choose part=val or part=train, or a dataset with data=...",
            )
        dataset, phantom = str(described["dataset"]), bool(of_phantoms(described))
        images = self._images(run, cases, own=own_part)
        public = bool(described.get("phantom"))
        return Cohort(dataset, phantom, tuple(cases), _spacing(run), own=own_part, modalities=images, public=public)

    def _images(self, run: Run, cases: Sequence[Case], *, own: bool) -> tuple[str, ...]:
        """The images of these cases that the run predicts each alone; none where it is given all at once."""
        if not applied_to_each(run, self._each):
            return ()
        wanted = run.view.preparation.modalities if own else (self.settings.get("data") or {}).get("modalities") or ()
        if own and self._each:
            wanted = ()
        return tuple(wanted) or tuple(dict.fromkeys(name for case in cases for name in case.images))

    def elsewhere(self, run: Run, reason: str) -> Cohort:
        """The run's own cohort where its files cannot be read: a name without cases."""
        own = run.settings["cohort"]
        public = bool(own.get("phantom"))
        return Cohort(str(own.get("dataset")), bool(of_phantoms(own)), (), _spacing(run), absent=reason, public=public)

    def recorded(self, cohort: Settings, folder: Path) -> list[Case]:
        """The cohort a run was trained on, as its config describes it; plain data that only a reader gets to see.

        Args:
            cohort: the section ``cohort`` of the run's settings.
            folder: of the run, for messages.

        Raises:
            RunError: the description is damaged.
            ConfigError: it names no folder.
            DataError: the data are not where they were.
        """
        dataset, root, options = cohort.get("dataset"), cohort.get("root"), cohort.get("options") or {}
        if not isinstance(root, str) or not isinstance(dataset, str) or not isinstance(options, dict):
            raise RunError(
                folder / runs.CONFIG,
                found=f"cohort: {cohort}",
                expected="dataset, root and options",
                remedy="copy the run again, or name a dataset with data=...",
            )
        if not root:
            raise ConfigError(
                folder,
                found="a model that does not say where its data lie: it was packed, or imported",
                expected="a dataset to evaluate it on",
                remedy="name one with data=... data.root=FOLDER",
            )
        key = json.dumps([dataset, root, options], sort_keys=True, default=str)
        if key not in self._read:
            try:
                self._read[key] = read_cases(dataset, Path(root), **options)
            except (TypeError, ValueError) as error:
                raise RunError(
                    folder / runs.CONFIG,
                    found=f"cohort.options: {options} ({error})",
                    expected=f"options of the reader {dataset}",
                    remedy="copy the run again, or name a dataset with data=...",
                ) from error
        return self._read[key]

    def _other(self, run: Run) -> tuple[Settings, list[Case]]:
        """The dataset named on the command line, as a run with these modalities needs it.

        Raises:
            RunError: it has other images than the run was trained on.
        """
        node = self.settings["data"]
        named = tuple(str(name) for name in node.get("modalities") or run.view.preparation.modalities)
        wanted, view = run.modalities, run.view
        if applied_to_each(run, self._each):
            wanted, view = named, replace(view, preparation=Preparation(named, normalize="none"))
        if wanted not in self._chosen:
            check_contrasts(named, wanted, where=run.folder, data=str(node.get("root")))
            datamodule = build({**node, "modalities": list(wanted)}, view=view, split=None)
            try:
                self._chosen[wanted] = (datamodule.describe(), datamodule.cases)
            except MissingModalityError as error:
                check_contrasts(error.images, wanted, where=run.folder, data=error.where)
                raise
        return self._chosen[wanted]


def applied_to_each(run: Run, each: bool) -> bool:
    """Whether a run predicts each image of a case alone.

    Args:
        run: a run.
        each: whether this is asked for of runs of one channel that were trained on one modality.
    """
    return run.any_contrast or (each and len(run.view.preparation.channels) == 1)


def store_of(settings: Settings) -> PreparedStore:
    """Where prepared cases lie."""
    return PreparedStore(Path(settings["store"]) if settings["store"] else default_store())


def _known(run: Run) -> set[str]:
    """Ids of all cases in the run's split."""
    return {case_id for part in PARTS for case_id in getattr(run.split, part)}


def _spacing(run: Run) -> str:
    spacing = run.view.preparation.spacing
    return "native" if spacing is None else " x ".join(f"{value:g}" for value in spacing) + " mm"


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
