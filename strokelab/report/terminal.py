"""The results table at the end of a command. Knows a case table; draws with rich."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

COLUMNS = ("dice", "recall", "precision", "hd95", "lesion_f1")


def results_table(cases: pd.DataFrame, title: str) -> Table:
    """Mean and SD per run and site, and over all cases; infinite distances are counted, not averaged.

    Args:
        cases: a case table as ``scoring.score_cases`` gives it.
        title: above the table.
    """
    table = Table(title=title, title_justify="left")
    for name, justify in (("run", "left"), ("site", "left"), ("cases", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for run, rows in cases.groupby("run", sort=False):
        sites = list(rows.groupby(rows["site"].fillna("unknown"), sort=True))
        for site, part in sites:
            table.add_row(str(run), str(site), str(len(part)), *(_cell(part[column]) for column in COLUMNS))
        if len(sites) > 1:
            cells = (_cell(rows[column]) for column in COLUMNS)
            table.add_row(str(run), "[bold]all[/]", str(len(rows)), *cells, end_section=True)
    return table


def _cell(values: pd.Series) -> str:
    numbers = values.astype(float)
    finite = numbers[numbers.abs() != float("inf")].dropna()
    if finite.empty:
        return "-"
    spread = f" ± {finite.std():.3f}" if len(finite) > 1 else ""
    infinite = int((numbers.abs() == float("inf")).sum())
    return f"{finite.mean():.3f}{spread}" + (f" ({infinite} inf)" if infinite else "")
