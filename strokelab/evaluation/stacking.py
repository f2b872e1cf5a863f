"""What the runs of a sweep found in cases they had not seen, as channels of a second training. Writes a folder.

Each run predicts the test part of its own split. Its masks become one more channel of these cases, named as the run
is; runs of several folds have one name, so that together they leave a mask of every case.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from strokelab import runs
from strokelab.contract import Case
from strokelab.errors import DataError, RunError
from strokelab.evaluation.cohort import Cohorts, part_of
from strokelab.evaluation.sweep import Finished, gather_all, unfinished
from strokelab.files import make_folder, write_text
from strokelab.nifti import SUFFIXES, read_grid, read_lesion, write_volume
from strokelab.preparation.store import PreparedStore

if TYPE_CHECKING:
    from rich.console import Console

TABLE = "cases.csv"
_PLAIN = ("case", "subject", "site", "label", "brain")


@dataclass
class _Stack:
    """Cases with the masks that were written so far."""

    folder: Path
    cases: dict[str, Case] = field(default_factory=dict)
    masks: dict[str, dict[str, Path]] = field(default_factory=dict)  # channel -> case -> file


def stack(
    sweep: Path,
    out: Path,
    *,
    store: PreparedStore,
    console: Console,
    device: str = "cpu",
    allow: Sequence[str] = (),
) -> Path:
    """Write ``OUT/cases.csv``, which ``data=folder data.root=OUT/cases.csv`` reads, and the masks it names.

    Args:
        sweep: whose members are all finished.
        out: a folder that is not there yet, or empty.
        store: of prepared cases.
        console: for progress.
        device: where the runs predict.
        allow: prefixes of the user's own classes in the runs' configs.

    Returns:
        The csv: a row for each labelled case, a column for each of its images and for each name of a run.

    Raises:
        RunError: a member is not finished, two runs of one name test one case, or a case lacks a channel.
        DataError: the folder holds something, or cases cannot be read or prepared.
    """
    from rich.progress import track

    found = gather_all([str(sweep)])
    if left := unfinished(found.members):
        raise RunError(
            sweep,
            found=f"{len(left)} of {len(found.members)} members not finished, first {left[0]}",
            expected="a finished member for every channel and fold",
            remedy="let the sweep finish, or continue its members",
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(out, found="a folder with files", expected="an empty one", remedy="choose another folder")
    made, cohorts = _Stack(make_folder(out)), Cohorts({"data": None, "part": "test"})
    for one in track(found.finished, f"Masks by {len(found.finished)} runs", console=console):
        _predict(made, one, cohorts, store, device=device, allow=allow)
    _check_whole(made, sweep)
    table = out / TABLE
    write_text(table, _table(made))
    return table


def _predict(
    made: _Stack, one: Finished, cohorts: Cohorts, store: PreparedStore, *, device: str, allow: Sequence[str]
) -> None:
    run = runs.load_run(one.folder, device=device, allow=allow)
    described = run.settings["cohort"]
    every = part_of(run, cohorts.recorded(described, run.folder), "test", where=described["root"])
    cases = [case for case in every if case.labelled]
    masks = made.masks.setdefault(run.name, {})
    for case, stored in zip(cases, store.prepare(cases, run.view.preparation, progress=False), strict=True):
        if case.case_id in masks:
            raise RunError(
                one.folder,
                found=f"a second run {run.name} that tests {case.case_id}",
                expected="one for each case: the folds of one split, one seed",
                remedy="give runs that differ in more than the fold a name of their own",
            )
        prediction = run.predict_prepared(stored.load())
        place = made.folder / run.name / f"{case.case_id}{SUFFIXES[0]}"
        masks[case.case_id] = write_volume(place, prediction.mask, prediction.grid)
        made.cases.setdefault(case.case_id, case)


def _check_whole(made: _Stack, sweep: Path) -> None:
    for channel, masks in made.masks.items():
        if missing := [case_id for case_id in made.cases if case_id not in masks]:
            raise RunError(
                sweep,
                found=f"no mask {channel} of {len(missing)} of {len(made.cases)} cases, first {missing[0]}",
                expected="every channel of every case: runs with the same folds",
                remedy="train the missing folds",
            )


def _table(made: _Stack) -> str:
    """The csv; masks of several files are united, by the rule of their dataset."""
    images = list(dict.fromkeys(name for case in made.cases.values() for name in case.images))
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_PLAIN, *images, *made.masks], lineterminator="\n")
    writer.writeheader()
    for case_id, case in made.cases.items():
        grid = read_grid(case.reference_image)
        label = made.folder / "labels" / f"{case_id}{SUFFIXES[0]}"
        write_volume(label, read_lesion(case.lesions, grid, case.reference_image), grid)
        known: Mapping[str, str | Path | None] = {
            "case": case_id,
            "subject": case.subject_id,
            "site": case.site or "",
            "label": label.relative_to(made.folder),
            "brain": case.brain or "",
            **case.images,
            **{channel: masks[case_id].relative_to(made.folder) for channel, masks in made.masks.items()},
        }
        writer.writerow(known)
    return text.getvalue()
