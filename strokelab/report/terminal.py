"""The results table at the end of a command. Knows a case table; draws with rich."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from rich import box
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from strokelab.report.cells import Table as Page
from strokelab.report.cells import counted
from strokelab.report.outside import outside_notes
from strokelab.report.significance import comparisons, number_of_tests, sentence, worth_telling
from strokelab.statistics.aggregate import tally

COLUMNS = {"dice": "Dice", "recall": "recall", "precision": "precision", "hd95": "HD95 mm", "lesion_f1": "lesion F1"}

_MOST_COMPARISONS = 3  # the report has them all


def results_table(cases: pd.DataFrame, title: str, *, models: Mapping[str, str] | None = None) -> Table:
    """Mean±SD per run over all cases and, where there are several, per site; infinite distances are counted.

    The column of cases counts each once; how many rows they stand in is said below where it differs.

    With several models the paired comparison stands underneath: difference, interval and p as in the report.

    Args:
        cases: a case table as ``scoring.score_cases`` gives it; several runs may stand under one name.
        title: above the table.
        models: model of each run; default: every run is a model of its own.
    """
    # As narrow as legible: eighty columns hold it, only long names of runs are folded.
    layout = {"box": box.SIMPLE_HEAD, "padding": (0, 1, 0, 0), "pad_edge": False}
    table = Table(title=escape(title), title_justify="left", title_style="bold", **layout)  # type: ignore[arg-type]
    table.add_column("run, site", overflow="fold", min_width=9)
    table.add_column("cases", justify="right", no_wrap=True)
    for heading in COLUMNS.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for run, rows in cases.groupby("run", sort=False):
        sites = list(rows.groupby(rows["site"].fillna("unknown"), sort=True))
        table.add_row(
            f"[bold]{escape(str(run))}[/]", str(tally(rows).cases), *_cells(rows), end_section=len(sites) == 1
        )
        for index, (site, part) in enumerate(sites if len(sites) > 1 else ()):
            last = index == len(sites) - 1
            table.add_row(
                f"  {escape(str(site))}", str(tally(part).cases), *_cells(part), end_section=last, style="dim"
            )
    lines = [*_repeats(cases), *outside_notes(cases, "run"), *comparison_lines(cases, models)]
    if lines:
        table.caption, table.caption_justify, table.caption_style = Text("\n".join(lines)), "left", ""
    return table


def page_table(table: Page) -> Table:
    """A table of the page, its notes underneath; the paper's number and ours share a column, ours in the second line.

    Args:
        table: of the page.
    """
    shown = Table(
        title=escape(table.caption), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False
    )
    columns = _columns(table.header)
    for heading, places in columns.items():
        numbers = any(row[place].number is not None for row in table.rows for place in places)
        name = f"{escape(heading)}\n[bold]ours[/]" if len(places) > 1 else escape(heading)
        shown.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*("\n".join(escape(row[place].text) for place in places) for places in columns.values()))
    if table.notes:
        shown.caption, shown.caption_justify, shown.caption_style = Text("\n".join(table.notes)), "left", "dim"
    return shown


def _columns(header: Sequence[str]) -> dict[str, list[int]]:
    """Heading -> the columns that stand in it: a paper's and ours, or one alone."""
    found: dict[str, list[int]] = {}
    for place, heading in enumerate(header):
        found.setdefault(heading.removesuffix(", paper").removesuffix(", ours"), []).append(place)
    return found


def comparison_lines(cases: pd.DataFrame, models: Mapping[str, str] | None = None) -> list[str]:
    """The comparisons worth telling, in sentences; none for one model, or where no case is shared.

    Args:
        cases: a case table.
        models: as for ``results_table``.
    """
    if "dice" not in cases.columns:
        return []  # every case failed
    # Members of a sweep may stand under one name: a case that comes again is a repeat of it.
    repeat = cases.groupby(["run", "case"]).cumcount().astype(str)
    model = cases["run"].map(models) if models is not None else cases["run"]
    named = cases.assign(model=model, run=cases["run"].astype(str) + " " + repeat)
    found = comparisons(named)
    best = named.groupby("model", sort=False)["dice"].mean().dropna().sort_values(ascending=False, kind="stable").index
    rows = [row for row in worth_telling(found, list(named["model"].unique()), list(best)) if row["n"]]
    lines = [sentence(row, number_of_tests(found)) for row in rows[:_MOST_COMPARISONS]]
    more = len(rows) - len(lines)
    return [*lines, f"{counted(more, 'more comparison')}: see the report."] if more else lines


def _repeats(cases: pd.DataFrame) -> list[str]:
    """That rows are more than cases, where they are."""
    if not cases.duplicated(["run", "case"]).any():
        return []
    counts = tally(cases)
    return [
        f"{counted(counts.cases, 'case')} in {counted(counts.rows, 'row')}: a case counts once for every run of it."
    ]


def _cells(rows: pd.DataFrame) -> list[str]:
    """Empty where every case of these rows failed."""
    return [_cell(rows[column]) if column in rows else "-" for column in COLUMNS]


def _cell(values: pd.Series) -> str:
    numbers = [float(value) for value in values if not math.isnan(float(value))]
    finite = pd.Series([value for value in numbers if math.isfinite(value)], dtype=float)
    infinite = f" +{len(numbers) - len(finite)}∞" if len(numbers) > len(finite) else ""
    if finite.empty:
        return infinite.strip() or "-"
    digits = 1 if finite.abs().max() >= 10 else 3
    spread = f"±{finite.std():.{min(digits, 2)}f}" if len(finite) > 1 else ""
    return f"{finite.mean():.{digits}f}{spread}{infinite}"
