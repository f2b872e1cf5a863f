"""The case table and its probabilities as files. Knows columns and types; knows no run and no metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from strokelab.errors import DataError
from strokelab.files import replacing
from strokelab.foreign_text import as_cell, from_cell, printable

ORIGIN = ("run", "case", "subject", "site", "dataset", "scanner", "fold", "seed")
"""Columns that say what was scored."""
RECIPE = ("checkpoint", "weights", "inference", "postprocessing", "profile", "version")
"""Columns that say how it was predicted and scored; equal recipes give equal rows."""
PROBABILITY_COLUMNS = ("run", "case", "bin", "lesion", "healthy", "mass")

_WORDS = (
    *(name for name in (*ORIGIN, *RECIPE) if name != "seed"),
    "note",
    "error",
    "prediction",
    "reference",
    "modality",
)


@dataclass(frozen=True, eq=False)
class Scores:
    """What scoring gives.

    Args:
        cases: one row per (run, case): ``ORIGIN``, ``RECIPE``, lesion_ml, the metrics and counts of ``score_row``,
            mdsc and mdsc_threshold, lesion_outside where windows leave voxels out, and ``error``, "" unless the case
            could not be predicted or scored.
        probabilities: ``PROBABILITY_COLUMNS``, see ``metrics.thresholds.to_rows``; on the grid of the reference.
    """

    cases: pd.DataFrame
    probabilities: pd.DataFrame

    def named(self, run: str) -> Scores:
        """The same scores under another name of the run."""
        return Scores(typed(self.cases.assign(run=run)), typed(self.probabilities.assign(run=run)))


def joined(shares: Sequence[Scores], order: Sequence[str]) -> Scores:
    """One table of several, as if one process had scored all cases, to the last bit of the files.

    Args:
        shares: scores of disjoint cases, of one run.
        order: all case ids, in the order of the rows wanted.
    """
    place = {case_id: index for index, case_id in enumerate(order)}

    def stacked(tables: list[pd.DataFrame]) -> pd.DataFrame:
        tables = [table for table in tables if len(table)]
        if not tables:
            return pd.DataFrame()
        tables.sort(key=lambda table: place[str(table["case"].iloc[0])])  # columns come in order of appearance
        rows = pd.concat(tables, ignore_index=True)
        return typed(rows.iloc[rows["case"].map(place).argsort(kind="stable")].reset_index(drop=True))

    probabilities = stacked([share.probabilities for share in shares])
    empty = shares[0].probabilities if probabilities.empty else probabilities
    return Scores(stacked([share.cases for share in shares]), empty)


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """A table as CSV, whole or not at all; in a spreadsheet no name becomes a formula."""
    safe = table.rename(columns=as_cell)
    for name in safe.select_dtypes(exclude=["number", "bool"]):
        safe[name] = safe[name].map(as_cell)
    with replacing(path) as temporary:
        safe.to_csv(temporary, index=False)
    return path


def write_scores(scores: Scores, cases: Path, probabilities: Path) -> None:
    """Both tables as CSV; numbers are written so that reading gives the same bits."""
    write_table(scores.probabilities, probabilities)  # first: where there is a case table, the other is beside it
    write_table(scores.cases, cases)


def read_scores(cases: Path, probabilities: Path) -> Scores:
    """What ``write_scores`` wrote, to the last bit.

    Raises:
        DataError: a file is missing or no table, or lacks a column; tables of earlier versions do.
    """
    return Scores(
        typed(_read(cases, (*ORIGIN, *RECIPE, "error"))),
        typed(_read(probabilities, PROBABILITY_COLUMNS)),
    )


def typed(table: pd.DataFrame) -> pd.DataFrame:
    """A copy whose words are text or None and whose ``error`` is text: the same when made, and when read again."""
    table = table.copy()
    for name in _WORDS:
        if name in table:
            words = table[name].astype(object)
            table[name] = words.where(words.notna() & (words != ""), None)
    if "error" in table:
        table["error"] = table["error"].where(table["error"].notna(), "")
    return table


def _read(path: Path, needed: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])  # a site may be called NA
    except (OSError, ValueError) as error:
        gone = isinstance(error, FileNotFoundError)
        raise DataError(
            path,
            found="no such file" if gone else f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}",
            expected="a table as train.py and evaluate.py write it",
            remedy="score the run again",
        ) from error
    missing = [name for name in needed if name not in table.columns]
    if missing:
        raise DataError(
            path,
            found=f"no column {missing[0]!r}",
            expected=f"the columns {list(needed)}",
            remedy="score the run again",
        )
    for name in [name for name in table.columns if name in _WORDS]:
        table[name] = table[name].map(lambda text: printable(from_cell(text)), na_action="ignore")
    for name in [name for name in table.columns if name not in _WORDS]:
        try:
            table[name] = _numbers(table[name])
        except ValueError as error:
            raise DataError(
                path, found=f"column {name}: {error}", expected="numbers", remedy="score the run again"
            ) from error
    return table


def _numbers(words: pd.Series) -> pd.Series:
    """Whole numbers where all are, else floats to the last bit, which not every version of ``read_csv`` gives."""
    try:
        return words.astype("int64")
    except (ValueError, TypeError):
        return words.astype(object).astype("float64")
