"""Tables that people write: pairs of files, and participants with site and scanner. Knows text; opens no image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from strokelab.errors import DataError

Line = Mapping[str, str]
"""Column in lower case -> cell without blanks around it; empty and ``n/a`` cells are ""."""


def read_lines(path: Path, *, needed: Sequence[str], known: Sequence[str] = ()) -> tuple[list[Line], list[str]]:
    """The lines of a table with a header (comma, semicolon or tab), every cell as it is written.

    Args:
        path: the file.
        needed: columns it must have.
        known: columns that are read as well.

    Returns:
        The lines, and the names of the columns that nobody reads.

    Raises:
        DataError: no such file, no table, a needed column is missing, or a column is there twice.
    """
    if not path.is_file():
        raise DataError(path, found="no such file", expected="a .csv or .tsv table", remedy="check the path")
    try:
        with path.open(encoding="utf-8-sig") as handle:
            header = handle.readline()
        table = pd.read_csv(
            path,
            sep=max(",;\t", key=header.count),
            header=None,  # pandas would rename a column that is there twice
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skipinitialspace=True,
        )
    except (OSError, ValueError) as error:
        raise DataError(
            path,
            found=f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            expected="a table with one header line, in UTF-8",
            remedy="save it again as .csv",
        ) from error
    columns = [str(name).strip().lower() for name in table.iloc[0]]
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    missing = [name for name in needed if name not in columns]
    if missing or twice:
        raise DataError(
            path,
            found=f"the columns {columns}",
            expected=f"the columns {', '.join(needed)}, each once" + (f"; optional: {', '.join(known)}" * bool(known)),
            remedy=f"add {missing[0]!r}" if missing else f"rename one of the columns {twice[0]!r}",
        )
    read = {name for name in columns if name in (*needed, *known)}
    lines = [
        {name: _cell(cell) for name, cell in zip(columns, row, strict=True) if name in read}
        for row in table.iloc[1:].itertuples(index=False)
    ]
    return [line for line in lines if any(line.values())], [name for name in columns if name and name not in read]


def read_participants(path: Path) -> dict[str, Line]:
    """Person (``sub-01``) -> site and scanner, from a BIDS ``participants.tsv`` or a .csv of the same columns.

    Raises:
        DataError: not such a table, or a person twice.
    """
    lines, _ = read_lines(path, needed=("participant_id",), known=("site", "scanner"))
    if not lines or not ({"site", "scanner"} & set(lines[0])):
        raise DataError(
            path,
            found="no participant" if not lines else "neither a column site nor a column scanner",
            expected="the columns participant_id and site or scanner",
            remedy="add them, or leave --participants away",
        )
    people = {f"sub-{line['participant_id'].removeprefix('sub-')}": line for line in lines}
    if len(people) < len(lines):
        counts = Counter(line["participant_id"] for line in lines)
        twice = ", ".join(name for name, count in counts.items() if count > 1)
        raise DataError(path, found=f"twice: {twice}", expected="one line per person", remedy="keep one of them")
    return people


def _cell(cell: object) -> str:
    text = "" if cell is None or cell != cell else str(cell).strip()  # a short line ends in NaN
    return "" if text.lower() == "n/a" else text
