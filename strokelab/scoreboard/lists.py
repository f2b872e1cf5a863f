"""Tables that people write: pairs of files, and participants with site and scanner. Knows text; opens no image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from strokelab.data.readers._tables import Table, read_table
from strokelab.errors import DataError

Line = Mapping[str, str]
"""Column in lower case -> cell as it is written, without blanks around it; missing cells (``n/a``, ``NA``) are ""."""
ROW = ""
"""The "column" of a line that holds the number of its row in the file."""


def read_lines(path: Path, *, needed: Sequence[str], known: Sequence[str] = ()) -> tuple[list[Line], list[str]]:
    """The lines of a table with a header (comma, semicolon or tab, or .xlsx), every cell as it is written.

    Args:
        path: the file.
        needed: columns it must have.
        known: columns that are read as well.

    Returns:
        The lines, each with the number of its row under ``ROW``, and the names of the columns that are not read.

    Raises:
        DataError: no such file, no table, a needed column is missing, or a column is there twice.
    """
    table = _read(path, needed, known)
    read = [name for name in table.columns if name in (*needed, *known)]
    lines: list[Line] = [
        {name: str(row.get(name, "")) for name in read} | {ROW: str(number)}
        for row, number in zip(table.rows, table.lines, strict=True)
        if any(name in row for name in read)
    ]
    return lines, [name for name in table.columns if name and name not in read]


def _read(path: Path, needed: Sequence[str], known: Sequence[str]) -> Table:
    table = read_table(path, text=lambda name: name in (*needed, *known), at_least=1)
    twice = [name for name, count in Counter(table.columns).items() if name and count > 1]
    missing = [name for name in needed if name not in table.columns]
    if missing or twice:
        raise DataError(
            path,
            found=f"the columns {list(table.columns)}",
            expected=f"the columns {', '.join(needed)}, each once" + (f"; optional: {', '.join(known)}" * bool(known)),
            remedy=f"add {missing[0]!r}" if missing else f"rename one of the columns {twice[0]!r}",
        )
    return table


def read_participants(path: Path) -> dict[str, Line]:
    """Subject (``sub-01``) -> site and scanner, from a BIDS ``participants.tsv`` or a .csv of the same columns.

    Raises:
        DataError: not such a table, or a subject twice.
    """
    about = ("site", "scanner")
    table = _read(path, ("participant_id",), about)
    if not table.rows or not set(about) & set(table.columns):
        raise DataError(
            path,
            found="neither a column site nor a column scanner" if table.rows else "no participant",
            expected="the columns participant_id and site or scanner",
            remedy="add them, or leave --participants away",
        )
    people = table.named("participant_id")
    table.by(lambda row: str(row["participant_id"]).removeprefix("sub-"), "participant_id")
    return {
        f"sub-{name.removeprefix('sub-')}": {column: str(row.get(column, "")) for column in about}
        for name, row in people.items()
    }
