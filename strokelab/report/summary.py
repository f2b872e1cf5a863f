"""From case rows to the numbers a page prints: means, spreads and intervals per group. Knows no HTML and no figure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from strokelab.metrics.profiles import CASE_METRICS, find_profile
from strokelab.metrics.thresholds import dice_at_thresholds, from_rows, max_dice_common
from strokelab.report.material import Evaluation
from strokelab.statistics.aggregate import has_failed, over_folds, over_sites, summarize, tally
from strokelab.statistics.bootstrap import MICRO_DICE, bootstrap_intervals, interval_of_best_column

UNKNOWN = "unknown"
HEADLINE = ("dice", "recall", "precision", "lesion_f1", "hd95", "volume_difference")
"""The metrics of every results table, and those two models are tested on."""

GROUPS = ("site", "scanner", "fold")
"""What cases may be told apart by, beside model and run."""

RESAMPLES, SEED, CLUSTER = 1000, 0, "subject"
"""Of every bootstrap of the report."""

MDSC, MDSC_COMMON = "mdsc", "mdsc_common"

_OF_FOLDS = ("folds", "fold_mean", "fold_sd", "folds_infinite")
_COUNTS = ("tp", "fp", "fn", "tn")


def with_sites(cases: pd.DataFrame) -> pd.DataFrame:
    """The case table with a name for sites (and scanners, and folds) that are not known; one dtype, text."""
    named = {}
    for column in (name for name in GROUPS if name in cases.columns):
        values = cases[column].astype(object)
        known = values.notna() & (values.astype(str).str.strip() != "")
        named[column] = values.map(_label).where(known, UNKNOWN)
    return cases.assign(**named)


def measured(cases: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    """Those of the metrics that the table has a value of, in the order given."""
    return [metric for metric in metrics if metric in cases.columns and cases[metric].notna().any()]


def told_apart(cases: pd.DataFrame, column: str) -> bool:
    """Whether a column of ``GROUPS`` holds several groups that no other table shows.

    Folds that are the sites (leave one site out) stand in the table by site already.
    """
    if column not in cases.columns or cases[column].nunique() < 2:
        return False
    return column != "fold" or len(cases[["site", "fold"]].drop_duplicates()) > cases["site"].nunique()


def summary_table(evaluation: Evaluation) -> pd.DataFrame:
    """Long form, the file ``summary.csv``: one row per level, group of that level and metric.

    Levels are ``model`` (all runs of a model), ``run``, ``site`` (of a model), and ``scanner`` and ``fold`` where they
    are ``told_apart``. Columns: ``n`` to ``failed`` and the macro mean over sites (levels model and run) as in
    ``statistics.aggregate.over_sites``; the mean over folds (level model) as in ``over_folds``; ``low`` and ``high``,
    the 95 % bootstrap interval of the mean, from so many ``clusters`` (subjects); ``median_low`` and ``median_high``
    for metrics with infinite values. ``micro_dice`` has in ``mean`` the Dice of the pooled voxel counts.
    ``cases``, ``subjects`` and ``runs`` count what a group's rows are of (``n`` counts rows with a finite value).
    ``mdsc_common``, where probabilities are known, is the best mean Dice that one ``threshold`` for all cases of a
    model reaches.
    """
    cases = with_sites(evaluation.cases)
    # A site or fold that is not known is none to average over.
    raw = cases.assign(**{name: cases[name].where(cases[name] != UNKNOWN) for name in GROUPS if name in cases.columns})
    metrics = [*CASE_METRICS, *measured(cases, [MDSC, *evaluation.own_metrics])]
    tables = []
    for level in ("model", "run", *GROUPS):
        by = list(dict.fromkeys(["model", level]))
        if level in ("model", "run"):
            lines = over_sites(raw, metrics, by=by)
        elif level == "site" or told_apart(cases, level):
            lines = summarize(cases, metrics, by=by)
        else:
            continue
        lines = _with_intervals(lines, cases, metrics, by)
        if level == "model":
            if told_apart(cases, "fold"):
                folds = over_folds(raw, metrics, by=by)[[*by, "metric", *_OF_FOLDS]]
                lines = lines.merge(folds, on=[*by, "metric"], how="left")
            lines = pd.concat([lines, _common_thresholds(evaluation)], ignore_index=True)
        tables.append(lines.merge(_tallies(cases, by), on=by, how="left").assign(level=level))
    # Columns that are empty throughout (no site known, every case failed) trouble pandas' concat, but stay.
    every = dict.fromkeys(column for lines in tables for column in lines.columns)
    table = pd.concat([lines.dropna(axis="columns", how="all") for lines in tables], ignore_index=True)
    table = table.reindex(columns=list(every))
    keys = ["level", "model", "run", *(name for name in GROUPS if name == "site" or name in table.columns), "metric"]
    front = [*keys, "n", "mean", "sd", "low", "high", "median", "median_low", "median_high"]
    return table.reindex(columns=[*front, *(column for column in table.columns if column not in front)])


def _tallies(cases: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """Cases, subjects and runs of every group; ``n`` of a metric counts rows, of which a case may have several."""
    counts = [(name, tally(rows)) for name, rows in cases.groupby(by, sort=False)]
    return pd.DataFrame(
        [(*name, own.cases, own.subjects, own.runs) for name, own in counts],
        columns=[*by, "cases", "subjects", "runs"],
    )


def line_of(table: pd.DataFrame, metric: str = "dice", **where: str) -> pd.Series:
    """The row of ``summary_table`` for a level, a metric and what else is named."""
    chosen = table["metric"] == metric
    for column, value in where.items():
        chosen &= table[column] == value
    return table[chosen].iloc[0]


def lines_of(table: pd.DataFrame, level: str) -> dict[tuple[str, str, str], pd.Series]:
    """The rows of a level of ``summary_table`` by (group, model, metric); the group of level model is the model."""
    own = table[table["level"] == level]
    return {(line[level], line["model"], line["metric"]): line for _, line in own.iterrows()}


def _with_intervals(lines: pd.DataFrame, cases: pd.DataFrame, metrics: list[str], by: list[str]) -> pd.DataFrame:
    wanted = [*metrics, MICRO_DICE] if _counted(cases) else metrics
    found = bootstrap_intervals(cases, wanted, by=by, cluster=CLUSTER, resamples=RESAMPLES, seed=SEED)
    ends, keys = ["low", "high"], [*by, "metric"]
    means = found.loc[found["statistic"] == "mean", [*keys, *ends, "clusters"]]
    medians = found.loc[found["statistic"] == "median", [*keys, *ends]]
    medians = medians.rename(columns={end: f"median_{end}" for end in ends})
    pooled = found.loc[found["statistic"] == "micro", [*keys, "n", "estimate", *ends, "clusters", "failed"]]
    lines = lines.merge(means, on=keys, how="left").merge(medians, on=keys, how="left")
    if pooled.empty:
        return lines
    zeros = dict.fromkeys(("infinite", "undefined"), 0)
    return pd.concat([lines, pooled.rename(columns={"estimate": "mean"}).assign(**zeros)], ignore_index=True)


def _counted(cases: pd.DataFrame) -> bool:
    """Whether every scored row holds its voxel counts."""
    good = cases[~has_failed(cases)]
    return len(good) > 0 and all(name in cases.columns and good[name].notna().all() for name in _COUNTS)


def _common_thresholds(evaluation: Evaluation) -> pd.DataFrame:
    """One row per model whose probabilities are known: the best single threshold for all of its cases."""
    rows = []
    empty = find_profile(evaluation.profile).empty_value
    for model in evaluation.models:
        counts, subjects = [], []
        for run in evaluation.runs:
            if run.model != model or run.probabilities is None:
                continue
            subject = dict(zip(run.cases["case"], run.cases[CLUSTER], strict=True))
            for case, own in run.probabilities.groupby("case", sort=True):
                counts.append(from_rows(own))
                known = subject.get(case)
                subjects.append(f"case {case}" if pd.isna(known) else f"{CLUSTER} {known}")
        if not counts:
            continue
        values = np.array([dice_at_thresholds(one, empty) for one in counts])
        usable = np.isfinite(values).all(axis=1)
        kept = [one for one, good in zip(counts, usable, strict=True) if good]
        owners = [name for name, good in zip(subjects, usable, strict=True) if good]
        if not kept:
            continue
        dice, low, high = interval_of_best_column(values[usable], owners, resamples=RESAMPLES, seed=SEED)
        rows.append(
            {"model": model, "metric": MDSC_COMMON, "n": len(kept), "mean": dice, "low": low, "high": high}
            | {"threshold": max_dice_common(kept, empty)[1], "clusters": len(set(owners))}
            | {"infinite": 0, "undefined": len(counts) - len(kept), "failed": 0}
        )
    return pd.DataFrame(rows)


def _label(value: object) -> str:
    # A column of whole numbers with gaps is read as floats: fold 3.0 is fold 3.
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
