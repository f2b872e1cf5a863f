"""Tables of the page as files for a spreadsheet and a paper. Knows cells and files; computes no number."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from strokelab.files import write_json, write_text
from strokelab.report.cells import Cell, Table
from strokelab.report.latex import latex_table
from strokelab.scoring.tables import write_table

NOTE = ".report-files.json"
"""Which figures and tables in a folder a report wrote."""
_OURS = re.compile(r"(figures/[^/\\\0]+\.(png|pdf)|tables/[^/\\\0]+\.(csv|tex))")


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Every table that has a name as ``tables/<name>.csv`` and ``tables/<name>.tex``.

    Args:
        tables: of the page; those without a name are left out.
        folder: of the report; files of the same name are replaced, each whole or not at all.

    Returns:
        The paths, in the order of the tables.

    Raises:
        ValueError: two tables have one name.
    """
    named = [table for table in tables if table.name]
    twice = [name for name, count in Counter(table.name for table in named).items() if count > 1]
    if twice:
        raise ValueError(f"several tables called {', '.join(twice)}")
    paths = []
    for table in named:
        path = folder / "tables" / f"{table.name}.csv"
        write_table(as_frame(table), path)
        write_text(path.with_suffix(".tex"), latex_table(table))
        paths += [path, path.with_suffix(".tex")]
    return paths


def as_frame(table: Table) -> pd.DataFrame:
    """A table as columns: the text as shown and, where it says more or less than a number, the numbers behind it.

    Behind ``"Dice"`` (``"0.571 ± 0.196"``) stand ``"Dice [number]"``, the mean in full precision, and ``"Dice [sd]"``;
    behind ``"0.571 (0.512-0.630)"`` ``[number]``, ``[low]`` and ``[high]``; inf for infinity, nothing where there is
    none. Columns whose text is the number (counts, seeds) stand alone.
    """
    columns: dict[str, list[str] | list[float | None]] = {}
    for i, heading in enumerate(table.header):
        cells = [row[i] for row in table.rows]
        name = _unused(_plain(heading), columns)
        columns[name] = [_plain(cell.text) for cell in cells]
        if any(cell.number is not None and not _says(cell) for cell in cells):
            columns[_unused(f"{name} [number]", columns)] = [cell.number for cell in cells]
        for further in dict.fromkeys(key for cell in cells for key, _ in cell.further):
            columns[_unused(f"{name} [{further}]", columns)] = [dict(cell.further).get(further) for cell in cells]
    return pd.DataFrame(columns)


def _says(cell: Cell) -> bool:
    """Whether the text of a cell is its number, to the last digit."""
    try:
        return float(cell.text) == cell.number
    except ValueError:
        return False


def _plain(text: str) -> str:
    # Spaces that hold words together, and the minus sign, are for the page.
    return text.replace("\u00a0", " ").replace("−", "-")


def _unused(name: str, columns: dict[str, list[str] | list[float | None]]) -> str:
    number = 2
    free = name
    while free in columns:
        free, number = f"{name} ({number})", number + 1
    return free


def remove_stale(folder: Path, written: Sequence[Path]) -> None:
    """Remove what an earlier report left in the folder and this one does not have, and note what this one wrote.

    Only files that the note of the earlier report names are removed, and only figures and tables.

    Args:
        folder: of the report.
        written: figures and tables of the present report.
    """
    note = folder / NOTE
    names = sorted(path.relative_to(folder).as_posix() for path in written)
    try:
        before = json.loads(note.read_text(encoding="utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        before = []
    for name in before if isinstance(before, list) else []:
        # The note may be untrusted.
        if isinstance(name, str) and _OURS.fullmatch(name) and name not in names:
            path = folder / name
            if path.parent.resolve() == folder.resolve() / path.parent.name:
                path.unlink(missing_ok=True)
    write_json(note, {"files": names})
