"""The papers' tables with our numbers beside theirs. Knows the material and the papers; knows no HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from strokelab.metrics.profiles import CASE_METRICS
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.paper_tables import PaperRow, PaperTable, site_number
from strokelab.report.summary import with_sites
from strokelab.report.tables import NOTHING, Cell, Table, plain_number
from strokelab.statistics.aggregate import over_sites, summarize

_SAME_AS = {"f1": "dice"}  # voxel F1 and Dice are one number
_TUNED_SITE = "5"  # the site the SG-Net paper chose its settings on
_PAPER_SCORES = (*CASE_METRICS, "f1")  # printed with four digits, costs with two


@dataclass(frozen=True)
class Ours:
    """What stands beside a paper's row: column -> (mean, SD), and what it is made of."""

    values: dict[str, tuple[float, float | None]]
    basis: str  # in words, e.g. "27 cases, 3 runs"


def comparison(evaluation: Evaluation, table: PaperTable, rows: list[tuple[PaperRow, Ours | None]]) -> Table:
    """A published table with our numbers beside it; columns that we have nothing for are left out."""
    columns = [key for key in table.columns if any(own and key in own.values for _, own in rows)]
    header = ["Method"] + ["Site"] * any(row.site for row, _ in rows)
    for key in columns:
        header += [f"{table.columns[key]}, paper", f"{table.columns[key]}, ours"]
    body = []
    for row, own in rows:
        cells = [Cell(row.method, heading=True)]
        if "Site" in header:
            cells.append(Cell(str(row.site or NOTHING)))
        for key in columns:
            printed, mine = row.values.get(key), own.values.get(key) if own else None
            places = 4 if key in _PAPER_SCORES else 2
            cells += [Cell(_mean_sd(printed, places)), Cell(_mean_sd(mine, places), ours=mine is not None)]
        body.append((*cells, Cell(own.basis if own else NOTHING, words=True)))
    scanners = dict.fromkeys(f"Site {row.site}: {row.site_note}" for row, _ in rows if row.site and row.site_note)
    ours_protocol = "; ".join(f"{key}: {value}" for key, value in evaluation.protocol.items())
    notes = [f"Paper: {table.citation}. Protocol: {'; '.join((*table.protocol, *scanners))}."]
    notes.append(f"Ours: {evaluation.dataset}{'; ' + ours_protocol if ours_protocol else ''}.")
    if table.over == "sites":
        notes += [
            f"{model} over the sites other than Site {_TUNED_SITE}: Dice {_mean_sd(rest, 4)}."
            for model in evaluation.models
            if (rest := without_site(evaluation, model, _TUNED_SITE)) is not None
        ]
    return Table(table.title, (*header, "Ours is made of"), tuple(body), notes=(*notes, *table.footnotes))


def tables_of_interest(evaluation: Evaluation) -> list[tuple[PaperTable, list[tuple[PaperRow, Ours | None]]]]:
    """The published tables that have at least one of our runs in them, each row with ours or None.

    Rows about a site are kept only when we have that site.
    """
    kind = "phantom" if evaluation.phantom else evaluation.dataset
    chosen = []
    for table in evaluation.papers:
        if kind not in table.datasets or not _needed(table, evaluation.runs):
            continue
        rows = [(row, ours(table, row, evaluation.runs)) for row in table.rows]
        sites = {row.site for row, own in rows if own}
        if sites:
            chosen.append((table, [(row, own) for row, own in rows if row.site is None or row.site in sites]))
    return chosen


def ours(table: PaperTable, row: PaperRow, runs: Sequence[RunMaterial]) -> Ours | None:
    """Our numbers in the terms of a published row, or None when no run of ours is of that kind.

    Only cases from sites the run was not trained on count.
    """
    matching = [run for run in runs if row.parts is not None and run.parts == row.parts]
    kept = [(run, rows) for run in matching if len(rows := _unseen(run, row.site))]
    if not kept:
        return None
    values: dict[str, tuple[float, float | None]] = {}
    for column in table.columns:
        metric = _SAME_AS.get(column, column)
        if metric in CASE_METRICS:
            value = _over(table.over, [rows for _, rows in kept], metric)
            if value is not None:
                values[column] = value
        elif metric in kept[0][0].cost:
            values[column] = float(kept[0][0].cost[metric]), None
    if not values:
        return None
    together = pd.concat([rows[["case", "site"]] for _, rows in kept])
    counts = [(together["case"].nunique(), "case"), (together["site"].nunique(), "site"), (len(kept), "run")]
    if row.site is not None:
        del counts[1]
    return Ours(values, ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts))


def without_site(evaluation: Evaluation, model: str, site: str, metric: str = "dice") -> tuple[float, float] | None:
    """Macro mean and SD of a model over the sites other than one; None when that one, or every other one, is absent."""
    cases = evaluation.cases
    cases = cases[(cases["model"] == model) & cases["site"].notna()]
    inside = cases["site"].map(str).map(site_number) == site
    if not inside.any() or inside.all():
        return None
    line = over_sites(cases[~inside], [metric]).iloc[0]
    return float(line["site_mean"]), float(line["site_sd"])


def _needed(table: PaperTable, runs: Sequence[RunMaterial]) -> bool:
    return not table.needs or any(run.parts is not None and table.needs in run.parts for run in runs)


def _unseen(run: RunMaterial, site: str | None) -> pd.DataFrame:
    cases = with_sites(run.cases)
    cases = cases[~cases["site"].isin(run.sites)]
    return cases if site is None else cases[cases["site"].map(site_number) == site]


def _over(over: str, tables: Sequence[pd.DataFrame], metric: str) -> tuple[float, float | None] | None:
    """Mean and SD over what the published table runs over; None when nothing was scored."""
    if over == "models":
        means = pd.DataFrame({metric: [summarize(rows, [metric]).iloc[0]["mean"] for rows in tables]})
        line = summarize(means.assign(case=means.index), [metric]).iloc[0]
        mean, sd = line["mean"], line["sd"]
    else:
        # Seeds of one case first: the SD is then one over cases or sites, not over repeats.
        cases = pd.concat(tables).groupby("case", as_index=False).agg({metric: "mean", "site": "first"})
        line = over_sites(cases, [metric]).iloc[0]
        mean, sd = (line["site_mean"], line["site_sd"]) if over == "sites" else (line["mean"], line["sd"])
    if not np.isfinite(mean):
        return None
    return float(mean), float(sd) if np.isfinite(sd) else None


def _mean_sd(value: tuple[float, float | None] | None, places: int) -> str:
    if value is None:
        return NOTHING
    mean, sd = value
    spread = "" if sd is None or math.isnan(sd) else f" ± {plain_number(sd, places)}"
    return plain_number(mean, places) + spread
