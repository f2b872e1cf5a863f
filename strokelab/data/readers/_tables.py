"""Tables (.csv, .tsv, .xlsx) as rows of plain values. Knows nothing of images.

Names (cases, subjects, sites, sessions, folds ...) are text exactly as it is written: ``2.10`` is not ``2.1``.
"""

from __future__ import annotations

import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strokelab.errors import DataError, DataWarning

Row = dict[str, str | float]
"""Column name -> value; missing cells are absent."""

MISSING = ("", "n/a", "na", "nan")
"""What stands in a cell of which nothing is known, in lower case and without blanks around it."""

_EXACT = 10**15
"""From here on a spreadsheet program no longer keeps every digit of a whole number."""

_NAMES = re.compile(
    r"case|subject|participant|patient|person|site|cent(er|re)|hospital|session|visit|fold|scanner|cohort"
    r"|(^|[^a-z])(ids?|sub|ses|run|name|file|label|brain|group)($|[^a-z])",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Table:
    """The rows of a file below its header, each with the number of its line."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    lines: tuple[int, ...]  # from 1, as a spreadsheet program shows them

    def by(self, key: Callable[[Row], str | None], what: str = "case") -> dict[str, Row]:
        """The rows by a key; rows whose key is None are left out.

        Raises:
            DataError: two rows have one key; both are named.
        """
        first: dict[str, int] = {}
        found: dict[str, Row] = {}
        for row, line in zip(self.rows, self.lines, strict=True):
            if (name := key(row)) is None:
                continue
            if name in found:
                raise DataError(
                    self.path,
                    found=f"{what} {name!r} twice: in row {first[name]} and in row {line}",
                    expected=f"one row for each {what}",
                    remedy="keep one of the two rows",
                )
            first[name], found[name] = line, row
        return found

    def named(self, column: str) -> dict[str, Row]:
        """The rows by a column that every one of them fills.

        Raises:
            DataError: a row lacks it, or two rows have one name.
        """
        for row, line in zip(self.rows, self.lines, strict=True):
            if column not in row:
                raise DataError(
                    self.path,
                    found=f"row {line} without a {column}",
                    expected=f"a {column} in every row ('NA', 'n/a' and 'NaN' are missing values, not names)",
                    remedy="fill the cell, or remove the row",
                )
        return self.by(lambda row: str(row[column]), column)


def names_something(column: str) -> bool:
    """Whether the cells of a column are names by its title, e.g. ``case``, ``Subject ID``, ``site``, ``Fold``."""
    return _NAMES.search(column) is not None


def read_table(
    path: Path, *, lower: bool = True, text: Callable[[str], bool] = names_something, at_least: int = 2
) -> Table:
    """The rows of a ``.csv`` or ``.tsv`` (comma, semicolon or tab) or ``.xlsx`` (first sheet) file.

    The header is the first line with enough filled cells; its names are trimmed and, with ``lower``, put in lower case.
    Cells lose the blanks around them; empty ones, ``n/a``, ``NA`` and ``NaN`` are missing.

    Args:
        path: the file.
        lower: put the names of columns in lower case.
        text: whether a column, given by its name, is text as it is written; in other columns numbers become float,
            except where leading zeros say that they are names.
        at_least: filled cells of a header.

    Raises:
        DataError: the file is missing or cannot be read; a column of names is there twice; a name in .xlsx is stored
            as a number or date that may not be what was typed; openpyxl for .xlsx is not installed.
    """
    if not path.is_file():
        raise DataError(path, found="no such file", expected="a .csv or .xlsx table", remedy="check the path")
    lines = _excel_lines(path) if path.suffix.lower() in (".xlsx", ".xlsm") else _csv_lines(path)
    header: list[str] | None = None
    rows: list[Row] = []
    numbers: list[int] = []
    for number, cells in lines:
        if header is None:
            titles = [" ".join(_title(cell).split()) for cell in cells]
            if sum(map(bool, titles)) >= at_least:
                header = [title.lower() for title in titles] if lower else titles
                _check_header(path, header, text)
            continue
        row: Row = {}
        for name, cell in zip(header, cells, strict=False):
            value = None if not name else _name(cell, path, number, name) if text(name) else _value(cell)
            if value is not None:
                row[name] = value
        if row:
            rows.append(row)
            numbers.append(number)
    if header is None:
        raise DataError(
            path,
            found=f"no line with {'two or more cells' if at_least > 1 else 'a filled cell'}",
            expected="a table with a header",
            remedy="save it again",
        )
    return Table(path, tuple(header), tuple(rows), tuple(numbers))


def find_table(
    given: str | Path | None, *, root: Path, folders: Sequence[Path], pattern: str, lost: str
) -> Table | None:
    """The table named in the options, or the first in ``folders`` whose name matches ``pattern``; None: there is none.

    A table that was found, not named, and cannot be read is left out with a warning that says what is lost.

    Args:
        given: the path from the options, relative to ``root``; None: look for a table.
        root: the dataset's folder.
        folders: where to look, not recursively.
        pattern: matches the whole file name, in any case.
        lost: what stays unknown without the table.

    Raises:
        DataError: the named table is missing or cannot be read.
    """
    if given is not None:
        return read_table(root / given)
    wanted = re.compile(pattern, re.IGNORECASE)
    found = [path for folder in folders for path in _tables_in(folder) if wanted.fullmatch(path.name)]
    for path in sorted(found, key=lambda path: path.suffix.lower() != ".csv"):  # a .csv needs no extra package
        try:
            return read_table(path)
        except DataError as error:
            warnings.warn(f"{path}: {error.found}; {lost} ({error.remedy})", DataWarning, stacklevel=3)
    return None


def is_missing(text: str) -> bool:
    """Whether a cell says that nothing is known: empty, ``n/a``, ``NA``, ``NaN``."""
    return text.strip().lower() in MISSING


def whole_number(value: object) -> int | None:
    """The last group of digits of a cell as a number (31806.0, "031806" and "sub-strokecase0007" all work)."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    text = re.sub(r"^(\d+)\.0+$", r"\1", str(value))  # a whole number as another program wrote it
    digits = re.findall(r"[0-9]+", text)
    return int(digits[-1]) if digits and len(digits[-1]) < 1000 else None


def _check_header(path: Path, header: Sequence[str], text: Callable[[str], bool]) -> None:
    twice = [name for name, count in Counter(header).items() if count > 1 and name and text(name)]
    if twice:
        raise DataError(
            path,
            found=f"the column {twice[0]!r} twice",
            expected="every column of names once",
            remedy="rename or remove one of the two",
        )


def _tables_in(folder: Path) -> list[Path]:
    kinds = (".csv", ".xlsx", ".xlsm")
    try:
        there = sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError:  # beside the root may lie what one may not see
        return []
    return [path for path in there if path.suffix.lower() in kinds and not path.name.startswith((".", "~$"))]


def _csv_lines(path: Path) -> Iterable[tuple[int, Sequence[Any]]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")  # what older spreadsheet programs write
    first = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [(reader.line_num, line) for line in reader]
    except csv.Error as error:
        raise _unreadable(path, error) from error


def _excel_lines(path: Path) -> Iterable[tuple[int, Sequence[Any]]]:
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(
            path,
            found="an Excel table, and openpyxl is not installed",
            expected="openpyxl for .xlsx files",
            remedy="pip install 'strokelab[excel]', or save the table as .csv beside it",
        ) from error
    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            return list(enumerate((tuple(line) for line in book.worksheets[0].iter_rows(values_only=True)), start=1))
        finally:
            book.close()
    except Exception as error:  # openpyxl lets errors of zip, XML and its own through
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        path,
        found=f"not readable as a table ({type(error).__name__}: {error})",
        expected="a .csv or .xlsx table",
        remedy="save it again as .csv",
    )


def _title(cell: Any) -> str:
    return "" if cell is None else str(cell)


def _name(cell: Any, path: Path, line: int, column: str) -> str | None:
    """A cell as it was typed; of Excel's numbers only whole ones are known to be."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return str(int(cell))
    if cell is None or isinstance(cell, str) or (isinstance(cell, int) and not isinstance(cell, bool)):
        text = "" if cell is None else str(cell).strip()
        return None if is_missing(text) else text
    raise DataError(
        path,
        found=f"in row {line}, column {column!r}: the {type(cell).__name__} {cell}, which may have been typed another "
        "way (2.10 becomes 2.1)",
        expected="names as text",
        remedy="format the column as text and type these cells again, or save the table as .csv with the names as text",
    )


def _value(cell: Any) -> str | float | None:
    if isinstance(cell, int | float):
        try:
            return float(cell) if math.isfinite(cell) else None
        except OverflowError:
            return str(cell)
    text = "" if cell is None else str(cell).strip()
    if is_missing(text):
        return None
    number = float(text) if re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", text) else math.inf
    return number if math.isfinite(number) else text
