"""Two masks of one case, of which neither is the reference: by name, from a table, or two visits of one subject."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from strokelab.contract import LesionFile
from strokelab.data import read_cases
from strokelab.data.subjects import subjects_of
from strokelab.errors import DataError
from strokelab.files import natural_key
from strokelab.nifti import stem
from strokelab.scoreboard.finding import Named, find_masks
from strokelab.scoreboard.lists import ROW, Line, read_lines
from strokelab.scoreboard.matching import match
from strokelab.scoreboard.names import case_ids
from strokelab.scoreboard.references import described, reference_of_case
from strokelab.scoreboard.score import Reference


@dataclass(frozen=True)
class Twin:
    """Two masks of one case."""

    case: str
    first: Reference | None  # None: the case is only on the other side, which makes a failed row
    second: Reference | None
    subject: str
    site: str | None = None
    one_grid: bool = False  # masks on two grids are of two scans that nobody brought together


@dataclass(frozen=True)
class Twins:
    """All pairs, what the two sides are called, and what has to be said about how they were found."""

    pairs: tuple[Twin, ...]
    first: str
    second: str
    notes: tuple[str, ...] = ()


def twins_in(first: str | Path, second: str | Path, *, graded: bool = False) -> Twins:
    """Masks of two raters, models or pipelines, matched by name as predictions and references are.

    Args:
        first: file, folder or quoted pattern.
        second: the same.
        graded: they are probability maps that will get a threshold.

    Raises:
        DataError: names are ambiguous, or none fits.
    """
    ours, theirs = find_masks(first, graded=graded), find_masks(second, graded=graded)
    matched = match(ours, theirs)
    named: list[tuple[Named, Named | None, Named | None]]
    named = [(one, one, partner) for one, partner in zip(ours.files, matched.partners, strict=True)]
    named += [(one, None, one) for one in matched.extra]
    cases = case_ids([one.name for one, _, _ in named])
    pairs = [
        _twin(case, one, _alone(case, left), _alone(case, right))
        for case, (one, left, right) in zip(cases, named, strict=True)
    ]
    titles = _titles(Path(first), Path(second))
    notes = (*ours.aside(titles[0]), *theirs.aside(titles[1]))
    return Twins(_sorted(pairs), *titles, notes)


def twins_of_table(path: Path) -> Twins:
    """The pairs of a table with the columns case, first, second and, if known, subject and site.

    Paths are relative to the table; several masks of one side are separated by semicolons and united.

    Raises:
        DataError: not such a table, a line without a case, or a case twice.
    """
    lines, unused = read_lines(path, needed=("case", "first", "second"), known=("subject", "site"))
    first: dict[str, str] = {}
    wrong = "" if lines else "no line below the header"
    for line in lines:
        case = line["case"]
        if not case or case in first:
            wrong = f"case {case!r} in row {first[case]} and in row" if case else "no case in row"
            wrong = f"{wrong} {line[ROW]}"
            break
        first[case] = line[ROW]
    if wrong:
        raise DataError(path, found=wrong, expected="one line per case", remedy="correct the table")
    notes = (f"columns of {path.name} that are not read: {', '.join(unused)}",) if unused else ()
    return Twins(_sorted([_of_line(line, path.parent) for line in lines]), "first", "second", notes)


def retests(dataset: str, root: Path, *, values: Sequence[int] | None = None) -> Twins:
    """Consecutive visits of each subject of a dataset on one grid: first and second, second and third, and so on.

    So every visit is compared with its neighbours in time, and no pair is there twice. Subjects scanned once are
    counted in a note. Visits on different grids were never brought together and make failed rows. ``values`` are the
    label values that mean lesion; None: the dataset's own rule.

    Raises:
        DataError: the dataset cannot be read there, or no subject in it was scanned twice with a mask.
        ConfigError: there is no such dataset.
    """
    cases = read_cases(dataset, root, **({} if values is None else {"values": values}))
    subjects = subjects_of([case for case in cases if case.labelled])
    pairs = []
    for subject, visits in subjects.items():
        for earlier, later in pairwise(visits):
            first, second = (reference_of_case(case, dataset) for case in (earlier, later))
            name = f"{earlier.case_id} {later.case_id.removeprefix(f'{subject}_')}"
            pairs.append(Twin(name, first, second, subject=subject, site=earlier.site, one_grid=True))
    if not pairs:
        raise DataError(
            root,
            found=f"{len(subjects)} subjects with a mask, each scanned once",
            expected="subjects scanned twice",
            remedy="compare two folders of masks: strokelab agreement FIRST SECOND",
        )
    once = sum(len(visits) == 1 for visits in subjects.values())
    notes = [f"{once} of {len(subjects)} subjects were scanned once and are in no pair"] if once else []
    unlabelled = len(cases) - sum(len(visits) for visits in subjects.values())
    notes += [f"{unlabelled} scans have no mask"] if unlabelled else []
    return Twins(tuple(pairs), "earlier visit", "later visit", tuple(notes))


def _twin(case: str, named: Named, first: Reference | None, second: Reference | None) -> Twin:
    known = described(first or second or Reference(case, ()), named.name.subject)
    return Twin(case, first, second, subject=known.subject, site=known.site)


def _alone(case: str, one: Named | None) -> Reference | None:
    return None if one is None else Reference(case, (LesionFile(one.path),))


def _of_line(line: Line, folder: Path) -> Twin:
    sides = []
    for column in ("first", "second"):
        names = [name.strip() for name in line[column].split(";") if name.strip()]
        files = tuple(LesionFile(folder / name) for name in names)
        sides.append(Reference(line["case"], files) if files else None)
    subject = line.get("subject") or line["case"]
    return Twin(line["case"], sides[0], sides[1], subject=subject, site=line.get("site") or None)


def _titles(first: Path, second: Path) -> tuple[str, str]:
    one, other = (stem(path) if path.is_file() else path.resolve().name for path in (first, second))
    return (one, other) if one != other else ("first", "second")


def _sorted(pairs: Sequence[Twin]) -> tuple[Twin, ...]:
    return tuple(sorted(pairs, key=lambda pair: natural_key(pair.case)))
