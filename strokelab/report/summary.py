"""From case rows to the numbers a page prints: over cases, over sites, beside a paper. Knows no HTML and no figure."""

from __future__ import annotations

import pandas as pd

from strokelab.report.material import Evaluation
from strokelab.statistics.aggregate import over_sites, summarize

UNKNOWN_SITE = "unknown"


def with_sites(cases: pd.DataFrame) -> pd.DataFrame:
    """The case table with a name for sites that are not known."""
    return cases.assign(site=cases["site"].astype(object).where(cases["site"].notna(), UNKNOWN_SITE).astype(str))


def summary_table(evaluation: Evaluation) -> pd.DataFrame:
    """Long form, the file ``summary.csv``: one row per level, model, run, site and metric.

    Levels are ``model`` (all runs of a model), ``run`` and ``site`` (of a model). Columns as in
    ``statistics.aggregate.over_sites``; the macro columns are empty for level ``site``.
    """
    cases = with_sites(evaluation.cases)
    levels = {
        "model": over_sites(evaluation.cases, by=["model"]),
        "run": over_sites(evaluation.cases, by=["model", "run"]),
        "site": summarize(cases, by=["model", "site"]),
    }
    table = pd.concat([lines.assign(level=level) for level, lines in levels.items()], ignore_index=True)
    keys = ["level", "model", "run", "site", "metric"]
    return table[[*keys, *(column for column in table.columns if column not in keys)]]


def line_of(table: pd.DataFrame, metric: str = "dice", **where: str) -> pd.Series:
    """The row of ``summary_table`` for a level, a metric and what else is named."""
    chosen = table["metric"] == metric
    for column, value in where.items():
        chosen &= table[column] == value
    return table[chosen].iloc[0]
