"""Splits as csv files: the one a run writes, and those that others publish. Knows ids; opens no image."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from strokelab.contract import Case
from strokelab.errors import ConfigError, DataError
from strokelab.files import write_text

PARTS = ("train", "val", "test")
COLUMNS = ("case_id", "subject_id", "site", "part")
_SESSION = re.compile(r"sub-[A-Za-z0-9]+_ses-[A-Za-z0-9]+")


@dataclass(frozen=True)
class Split:
    """Case ids of the three parts, in the order of the cohort.

    Args:
        train: of the cases that train.
        val: of those that validate; may be empty.
        test: of those that test.
        about: (subject id, site or "") of each of them, for the file.
    """

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]
    about: Mapping[str, tuple[str, str]] = field(default_factory=dict, compare=False)

    @classmethod
    def of(cls, cases: Sequence[Case], part: Mapping[str, str]) -> Split:
        """From the part of each case id; cases without one are in none."""
        named = [case for case in cases if case.case_id in part]
        train, val, test = (tuple(c.case_id for c in named if part[c.case_id] == name) for name in PARTS)
        return cls(train, val, test, {case.case_id: (case.subject_id, case.site or "") for case in named})

    def write(self, path: Path) -> None:
        """Write ``case_id,subject_id,site,part``, one row a case, whole or not at all."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for part in PARTS:
            for case_id in getattr(self, part):
                writer.writerow([case_id, *self.about.get(case_id, ("", "")), part])
        write_text(path, text.getvalue())

    @classmethod
    def read(cls, path: Path) -> Split:
        """Read what ``write`` wrote.

        Raises:
            DataError: the file is missing, has other columns, or a part that does not exist.
        """
        rows = _read_csv(path)
        if not rows and path.read_text(encoding="utf-8-sig").strip() == ",".join(COLUMNS):
            return cls((), (), ())  # of a run that was packed or imported: who trained is not recorded
        _need(path, rows, COLUMNS)
        _check_names(path, rows, "case_id")
        _check_parts(path, (row["part"] for row in rows))
        train, val, test = (tuple(row["case_id"] for row in rows if row["part"] == name) for name in PARTS)
        return cls(train, val, test, {row["case_id"]: (row["subject_id"], row["site"]) for row in rows})


@dataclass(frozen=True)
class Rows:
    """What a file says about the cases of a cohort.

    Args:
        part: part or fold, by case id.
        has_parts: whether these are parts.
    """

    part: Mapping[str, str]
    has_parts: bool


def read_rows(path: Path, cases: Sequence[Case]) -> Rows:
    """Match the rows of a csv (``case_id,part`` or ``Name,Fold``) to cases.

    A name is a case id, or a file name that holds the ``sub-*_ses-*`` of one.

    Raises:
        DataError: the file is missing, has other columns, or names a case that does not exist or one twice.
    """
    rows = _read_csv(path)
    has_parts = bool(rows) and "part" in rows[0]
    name_column, part_column = ("case_id", "part") if has_parts else ("Name", "Fold")
    _need(path, rows, (name_column, part_column))
    _check_names(path, rows, name_column)
    exact = {case.case_id: case.case_id for case in cases}
    by_session = {_session(case.case_id): case.case_id for case in cases}
    found: dict[str, str] = {}
    for row in rows:
        name = row[name_column]
        case_id = exact.get(name) or by_session.get(_session(name))
        if case_id is None or case_id in found:
            raise DataError(
                path,
                found=f"{name!r}, " + ("which no case is called" if case_id is None else f"a second time ({case_id})"),
                expected=f"names of the {len(cases)} cases, each once, such as {next(iter(exact), '')!r}",
                remedy="remove the row, or check that file and dataset belong together",
            )
        found[case_id] = row[part_column]
    if has_parts:
        _check_parts(path, found.values())
    return Rows(found, has_parts)


def write_folds(path: Path, fold_of: Mapping[str, int]) -> None:
    """Write ``Name,Fold``, one row a case, in the order given: what ``split=from_file`` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("Name", "Fold"))
    writer.writerows(fold_of.items())
    write_text(path, text.getvalue())


def part_by_fold(path: Path, rows: Rows, fold: int) -> dict[str, str]:
    """Part of each case id: ``fold`` tests, the others train.

    Raises:
        ConfigError: no row has this fold.
    """
    folds = sorted(set(rows.part.values()))
    if str(fold) not in folds:
        raise ConfigError(
            "split.fold", found=str(fold), expected=f"one of the folds {folds} of {path}", remedy="set split.fold"
        )
    return {case_id: "test" if value == str(fold) else "train" for case_id, value in rows.part.items()}


def _session(name: str) -> str:
    match = _SESSION.search(name)
    return match.group() if match else name


def _read_csv(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            path,
            found=f"{type(error).__name__}: {error}",
            expected="a csv file with the columns Name,Fold or case_id,part",
            remedy="check split.path",
        ) from error
    # Under the key None stand the cells of a line that has more of them than the header.
    return [{key.strip(): (value or "").strip() for key, value in row.items() if key is not None} for row in rows]


def _need(path: Path, rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    if not rows or not set(columns) <= set(rows[0]):
        raise DataError(
            path,
            found=f"columns {sorted(rows[0])}" if rows else "no rows",
            expected=f"the columns {', '.join(columns)}",
            remedy="check split.path and the first line of the file",
        )


def _check_names(path: Path, rows: Sequence[Mapping[str, str]], column: str) -> None:
    """Every row has a name, and every name one row."""
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        name = row[column]
        if not name or name in first:
            twice = f"{name!r} in row {first.get(name)} and in row {number}"
            raise DataError(
                path,
                found=twice if name else f"row {number} without {column}",
                expected=f"a {column} in every row, each once",
                remedy="keep one of the two rows" if name else "fill the cell, or remove the row",
            )
        first[name] = number


def _check_parts(path: Path, parts: Iterable[str]) -> None:
    strange = sorted(set(parts) - set(PARTS))
    if strange:
        raise DataError(path, found=f"parts {strange}", expected=f"of {PARTS}", remedy="correct the column part")
