"""Teachers predict the masks of unlabelled cases, case by case and resumable: the folder that ``data.pseudo`` reads.

A fold's masks come from the teachers that have seen none of its test cases, so that students of this fold can be
tested on them; the masks ``all`` come from every teacher. Each teacher predicts each case once.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from strokelab import __version__
from strokelab.contract import Case, PreparedCase
from strokelab.data.pseudo import COLUMNS, EVERY, LABELS, TEACHERS
from strokelab.errors import DataError, RunError
from strokelab.files import file_digest, locked, make_folder, write_json, write_text
from strokelab.inference.ensemble import means_of
from strokelab.inference.postprocess import threshold
from strokelab.nifti import SUFFIXES, read_grid, read_voxels, write_volume
from strokelab.preparation.store import PreparedStore
from strokelab.self_training.teachers import SchemeScore, Teacher

if TYPE_CHECKING:
    from rich.console import Console

    from strokelab.runs import Run

HARD = 0.5  # Huo 2022: a voxel is lesion from this probability on; no confidence threshold


@dataclass(frozen=True)
class Labelling:
    """What is to be labelled, by whom, with what.

    Args:
        folder: where masks and tables go.
        teachers: of the chosen scheme, one per fold.
        scores: of all schemes, the chosen one first.
        cases: unlabelled.
        store: of prepared cases.
        device: where the teachers predict.
        workers: processes that prepare.
        allow: prefixes of the user's own classes in the runs' configs.
    """

    folder: Path
    teachers: Sequence[Teacher]
    scores: Sequence[SchemeScore]
    cases: Sequence[Case]
    store: PreparedStore
    device: str = "cpu"
    workers: int = 1
    allow: tuple[str, ...] = ()

    @cached_property
    def shares(self) -> dict[str, list[int]]:
        """See ``sharers``."""
        return sharers(self.teachers)


def sharers(teachers: Sequence[Teacher]) -> dict[str, list[int]]:
    """Label set -> places of the teachers that may have a share in its masks.

    Those of a fold have seen none of its test cases. Sets without an allowed teacher are left out.
    """
    sets = {
        f"fold{teacher.fold}": [
            place for place, other in enumerate(teachers) if other.seen.isdisjoint(teacher.split.test)
        ]
        for teacher in teachers
    }
    return {name: places for name, places in sets.items() if places} | {EVERY: [*range(len(teachers))]}


def write_pseudo_labels(work: Labelling, console: Console) -> str:
    """Predict whatever masks are missing, then the table of all.

    Returns:
        The digest of the table, by which a training knows its masks again.

    Raises:
        DataError: a case cannot be read or prepared, or the folder not be written to; masks written before stay.
        RunError: masks of other teachers lie there.
    """
    make_folder(work.folder)
    with locked(work.folder / ".lock"):
        _begin(work)
        missing = [case for case in work.cases if not all(path.is_file() for path in _places(work, case).values())]
        if missing:
            _draw(work, missing, console)
        table = work.folder / LABELS
        if missing or not table.is_file():
            write_text(table, _table(work))
        return file_digest(table)


def _begin(work: Labelling) -> None:
    """Say whose masks these are, before there is one."""
    told = {
        "strokelab": __version__,
        "scheme": work.scores[0].scheme,
        "cross_validation": [asdict(score) for score in work.scores],
        "threshold": HARD,
        "folds": {
            name: {
                "runs": [str(work.teachers[place].folder.name) for place in places],
                "weights": [file_digest(work.teachers[place].checkpoint) for place in places],
                "seen": sorted(set().union(*(work.teachers[place].seen for place in places))),
                "persons": sorted(set().union(*(work.teachers[place].subjects for place in places))),
            }
            for name, places in work.shares.items()
        },
    }
    path = work.folder / TEACHERS
    if not path.is_file():
        write_json(path, told)
        return
    try:
        before: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict) or before.get("folds") != told["folds"]:
        raise RunError(
            work.folder,
            found="pseudo-labels by other teachers than those of this command",
            expected="an empty folder, or masks by the same teachers",
            remedy="remove the folder to have them made anew, with the students that learned from them",
        )


def _draw(work: Labelling, cases: Sequence[Case], console: Console) -> None:
    from rich.progress import track

    from strokelab.runs import load_run

    taught = [load_run(teacher.folder, device=work.device, allow=work.allow) for teacher in work.teachers]
    prepared = zip(*(_prepared(work, run, cases) for run in taught), strict=True)
    scheme = work.scores[0].scheme
    title = f"Pseudo-labels by {len(taught)} runs of {scheme}"
    shares = {name: dict.fromkeys(places, 1.0) for name, places in work.shares.items()}
    for case, forms in track(zip(cases, prepared, strict=True), title, total=len(cases), console=console):
        grid, paths = read_grid(case.reference_image), _places(work, case)
        # On the native grid and in single precision, as the masks were made that a stopped command goes on with.
        finished = (run.scores(form).finished(classes=False) for run, form in zip(taught, forms, strict=True))
        scores = (found.restored(form.steps) for found, form in zip(finished, forms, strict=True))
        for name, mean in means_of(enumerate(scores), shares, dtype=np.float32):
            write_volume(paths[name], threshold(mean.lesion, HARD), grid)


def _prepared(work: Labelling, run: Run, cases: Sequence[Case]) -> Iterator[PreparedCase]:
    """The cases as a run sees them, opened one by one; runs that see them alike share the stored arrays."""
    for stored in work.store.prepare(cases, partial(run.preparation_of, store=work.store.folder), workers=work.workers):
        yield stored.load()


def _places(work: Labelling, case: Case) -> Mapping[str, Path]:
    if any(letter in case.case_id for letter in "/\\\0"):
        raise DataError(
            case.case_id, found="a case id with a slash", expected="one that can name a file", remedy="rename the case"
        )
    return {name: work.folder / name / f"{case.case_id}{SUFFIXES[1]}" for name in work.shares}


def _table(work: Labelling) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name in work.shares:
        for case in work.cases:
            path = _places(work, case)[name]
            voxels, grid = read_voxels(path)
            count = int(np.count_nonzero(voxels))
            place = path.relative_to(work.folder).as_posix()
            volume = f"{count * grid.voxel_volume_mm3 / 1000:.3f}"
            writer.writerow([name, case.case_id, place, count, volume, file_digest(path)])
    return text.getvalue()
