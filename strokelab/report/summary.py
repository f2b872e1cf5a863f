"""From case rows to the numbers a page prints: over cases, over sites, beside a paper. Knows no HTML and no figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from strokelab.report.material import METRIC_COLUMNS, Evaluation, RunMaterial, finite
from strokelab.report.paper_tables import PaperRow, PaperTable, site_number

UNKNOWN_SITE = "unknown"
_SAME_AS = {"f1": "dice"}  # voxel F1 and Dice are one number


@dataclass(frozen=True)
class Statistic:
    """Mean and sample SD (n - 1) over what is finite; how much was not finite stands beside it."""

    mean: float  # NaN over nothing, inf when there are only infinite values
    sd: float  # NaN for fewer than two values
    median: float  # over finite and infinite values
    n: int  # finite values
    infinite: int = 0
    missing: int = 0  # NaN: failed or undefined

    @classmethod
    def of(cls, values: pd.Series) -> Statistic:
        """Of a column of numbers."""
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        known = numbers[~np.isnan(numbers)]
        kept = finite(values)
        infinite = int(known.size - kept.size)
        mean = float(kept.mean()) if kept.size else (float("inf") if infinite else float("nan"))
        return cls(
            mean=mean,
            sd=float(kept.std(ddof=1)) if kept.size > 1 else float("nan"),
            median=float(np.median(known)) if known.size else float("nan"),
            n=int(kept.size),
            infinite=infinite,
            missing=int(numbers.size - known.size),
        )


@dataclass(frozen=True)
class Ours:
    """What stands beside a paper's row: column -> (mean, SD), and what it is made of."""

    values: dict[str, tuple[float, float | None]]
    basis: str  # in words, e.g. "27 cases, 3 runs"


def with_sites(cases: pd.DataFrame) -> pd.DataFrame:
    """The case table with a name for sites that are not known."""
    return cases.assign(site=cases["site"].astype(object).where(cases["site"].notna(), UNKNOWN_SITE).astype(str))


def macro(cases: pd.DataFrame, metric: str) -> Statistic:
    """Mean and SD over site means, every site with one voice however many scans it has."""
    return Statistic.of(with_sites(cases).replace([np.inf, -np.inf], np.nan).groupby("site")[metric].mean())


def summary_table(evaluation: Evaluation) -> pd.DataFrame:
    """Long form, the file ``summary.csv``: one row per level, model, run, site and metric.

    Levels are ``model`` (all runs of a model), ``run`` and ``site`` (of a model). ``macro_mean`` and ``macro_sd`` run
    over site means and are empty for level ``site``.
    """
    cases = with_sites(evaluation.cases)
    groups: list[tuple[str, str, str, str, pd.DataFrame]] = []
    for model in evaluation.models:
        own = cases[cases["model"] == model]
        groups.append(("model", model, "", "", own))
        groups += [("run", model, str(run), "", rows) for run, rows in own.groupby("run", sort=False)]
        groups += [("site", model, "", str(site), rows) for site, rows in own.groupby("site")]
    lines = []
    for level, model, run, site, rows in groups:
        for metric in METRIC_COLUMNS:
            value = Statistic.of(rows[metric])
            over_sites = macro(rows, metric) if level != "site" else None
            lines.append(
                {
                    "level": level,
                    "model": model,
                    "run": run,
                    "site": site,
                    "metric": metric,
                    "n": value.n,
                    "mean": value.mean,
                    "sd": value.sd,
                    "median": value.median,
                    "infinite": value.infinite,
                    "missing": value.missing,
                    "sites": over_sites.n if over_sites else 1,
                    "macro_mean": over_sites.mean if over_sites else np.nan,
                    "macro_sd": over_sites.sd if over_sites else np.nan,
                }
            )
    return pd.DataFrame(lines)


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

    Only cases from sites the run was not trained on count. A case seen by several runs (seeds) is averaged first, so
    that the SD is one over cases or sites as the table says, not over repeats.
    """
    matching = [run for run in runs if row.parts is not None and run.parts == row.parts]
    kept = [(run, rows) for run in matching if len(rows := _unseen(run, row.site))]
    if not kept:
        return None
    values: dict[str, tuple[float, float | None]] = {}
    for column in table.columns:
        metric = _SAME_AS.get(column, column)
        if metric in METRIC_COLUMNS:
            statistic = _over(table.over, [rows for _, rows in kept], metric)
            if statistic.n:
                values[column] = statistic.mean, (statistic.sd if np.isfinite(statistic.sd) else None)
        elif metric in kept[0][0].cost:
            values[column] = float(kept[0][0].cost[metric]), None
    if not values:
        return None
    together = pd.concat([rows[["case", "site"]] for _, rows in kept])
    counts = [(together["case"].nunique(), "case"), (together["site"].nunique(), "site"), (len(kept), "run")]
    if row.site is not None:
        del counts[1]
    return Ours(values, ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts))


def without_site(evaluation: Evaluation, model: str, site: str, metric: str = "dice") -> Statistic | None:
    """Macro mean of a model over the sites other than one; None when that site, or every other one, is absent."""
    cases = with_sites(evaluation.cases)
    cases = cases[cases["model"] == model]
    inside = cases["site"].map(site_number) == site
    return macro(cases[~inside], metric) if inside.any() and not inside.all() else None


def _needed(table: PaperTable, runs: Sequence[RunMaterial]) -> bool:
    return not table.needs or any(run.parts is not None and table.needs in run.parts for run in runs)


def _unseen(run: RunMaterial, site: str | None) -> pd.DataFrame:
    cases = with_sites(run.cases)
    cases = cases[~cases["site"].isin(run.sites)]
    return cases if site is None else cases[cases["site"].map(site_number) == site]


def _over(over: str, tables: Sequence[pd.DataFrame], metric: str) -> Statistic:
    if over == "models":
        return Statistic.of(pd.Series([Statistic.of(rows[metric]).mean for rows in tables]))
    cases = pd.concat(tables).groupby("case").agg({metric: "mean", "site": "first"})
    return macro(cases, metric) if over == "sites" else Statistic.of(cases[metric])
