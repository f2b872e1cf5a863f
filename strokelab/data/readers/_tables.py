"""Metadata tables (.csv, .xlsx) as rows of plain values. Knows nothing of images; tables are always optional."""

from __future__ import annotations

import csv
import io
import math
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from strokelab.errors import DataError, DataWarning

Row = dict[str, str | float]
"""Column name, trimmed and in lower case -> value; empty cells are absent."""


def read_table(path: Path, *, lower: bool = True) -> list[Row]:
    """The rows of a ``.csv`` (comma, semicolon or tab) or ``.xlsx`` (first sheet) file.

    Numbers become float, except where leading zeros say that they are names. The header is the first line with at
    least two filled cells; its names are trimmed and, with ``lower``, put in lower case.

    Raises:
        DataError: the file is missing or cannot be read, or is .xlsx while openpyxl is not installed.
    """
    if not path.is_file():
        raise DataError(path, found="no such file", expected="a .csv or .xlsx table", remedy="check the path")
    lines = _excel_lines(path) if path.suffix.lower() in (".xlsx", ".xlsm") else _csv_lines(path)
    header: list[str] | None = None
    rows: list[Row] = []
    for line in lines:
        cells = [_cell(cell) for cell in line]
        if header is None:
            if sum(cell is not None for cell in cells) >= 2:
                header = [" ".join(as_name(cell).split()) for cell in cells]
                header = [name.lower() for name in header] if lower else header
            continue
        row = {name: cell for name, cell in zip(header, cells, strict=False) if name and cell is not None}
        if row:
            rows.append(row)
    if header is None:
        raise DataError(
            path, found="no line with two or more cells", expected="a table with a header", remedy="save it again"
        )
    return rows


def find_table(given: str | Path | None, *, root: Path, folders: Sequence[Path], pattern: str, lost: str) -> list[Row]:
    """The rows of the table named in the options, or of the first in ``folders`` whose name matches ``pattern``.

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
    return []


def as_name(value: str | float | None) -> str:
    """A cell as a name: the number 7.0 is ``"7"``, an empty cell is ``""``."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else str(value)
    return value or ""


def whole_number(value: object) -> int | None:
    """The last group of digits of a cell as a number (31806.0, "031806" and "sub-strokecase0007" all work)."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) else None
    digits = re.findall(r"\d+", str(value))
    return int(digits[-1]) if digits else None


def _tables_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    kinds = (".csv", ".xlsx", ".xlsm")
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in kinds and not p.name.startswith((".", "~$")))


def _csv_lines(path: Path) -> list[list[str]]:
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
    try:
        return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error as error:
        raise _unreadable(path, error) from error


def _excel_lines(path: Path) -> list[Iterable[Any]]:
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
            return [tuple(line) for line in book.worksheets[0].iter_rows(values_only=True)]
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


def _cell(value: Any) -> str | float | None:
    if value is None:
        return None
    if isinstance(value, int | float):
        return float(value) if math.isfinite(value) else None
    text = str(value).strip()
    if not text:
        return None
    return float(text) if re.fullmatch(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", text) else text
