"""A ranking of teams beside the published one. Knows scores and places; reads no file."""

from __future__ import annotations

import math

import pandas as pd

from strokelab.report.cells import Cell, Table, number_cell
from strokelab.report.paper_tables import Number, PaperTable


def ranking_beside(table: PaperTable, ranks: pd.DataFrame) -> Table:
    """Every team of a leaderboard with its ranks, score and place; beside a team that the paper prints, the paper's.

    Args:
        table: with the columns ``challenge_score`` and ``final_rank``.
        ranks: of ``statistics.leaderboard.weighted_ranks``.
    """
    printed = {row.method.casefold(): row.values for row in table.rows}
    sets = [str(name) for name in ranks.columns if str(name).startswith("rank_")]
    rows = []
    for line in ranks.to_dict("records"):
        cells = [Cell(str(line["team"]), heading=True), *(number_cell(float(line[name]), 2) for name in sets)]
        for key, own, places in (("challenge_score", "score", 3), ("final_rank", "place", 0)):
            theirs = printed.get(str(line["team"]).casefold(), {}).get(key)
            cells.append(number_cell(theirs.mean if isinstance(theirs, Number) else math.nan, places))
            cells.append(number_cell(float(line[own]), places))
        rows.append(tuple(cells))
    titles = [title for name in ("challenge_score", "final_rank") for title in _twice(table.columns[name])]
    header = ("Team", *(f"Mean rank, {name.removeprefix('rank_')} set" for name in sets), *titles)
    notes = (
        "Teams are ranked by every metric of a set, ties share the mean rank; ranks are averaged over the metrics, "
        "then over the sets, the hidden one four times as heavy. A team without a line of a set has no score.",
        *table.footnotes,
    )
    return Table(f"{table.title}, from a leaderboard", header, tuple(rows), notes, name=f"paper_{table.name}")


def _twice(heading: str) -> tuple[str, str]:
    return f"{heading}, paper", f"{heading}, from the csv"
