"""Bootstrap intervals of a case table's metrics: what might other patients of the same kind have given?

Knows rows and columns; knows no voxels. Cases are sampled with replacement, all scans of a patient together, and every
metric is averaged over the same resamples (Tomita et al. 2020: 1000 of them, percentiles 2.5 and 97.5).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from strokelab.statistics.aggregate import KEYS, check_rows, has_failed
from strokelab.statistics.resampling import (
    Statistic,
    bootstrap,
    means,
    medians,
    percentile_interval,
    pooled_dice,
    together,
)

MICRO_DICE = "micro_dice"

POOLED = ("tp", "fp", "fn")
_COLUMNS = ("metric", "statistic", "n", "clusters", "estimate", "low", "high", "infinite", "undefined", "failed")


def bootstrap_intervals(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    by: Sequence[str] = (),
    cluster: str = "subject",
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Estimates with their bootstrap intervals, one row per group, metric and statistic.

    The statistic is the ``mean`` of the finite values; metrics with an infinite value anywhere also get the ``median``
    over finite and infinite values; ``micro_dice`` is the Dice of pooled voxel counts, statistic ``micro``.

    Args:
        table: a case table.
        metrics: columns, and ``"micro_dice"`` if wanted.
        by: columns that make groups; a missing value is a group of its own.
        cluster: column of what is resampled together; a row without it, or a table without the column, goes by case.
        resamples: how many.
        seed: of the draws; a group's intervals depend on its own rows only, in any order.
        level: share of the resampled values inside the interval.

    Returns:
        The columns of ``by``; ``metric``; ``statistic``; ``n`` values in it, from so many ``clusters``; ``estimate``;
        ``low`` and ``high`` (NaN for a single cluster, which says nothing about others); the numbers of ``infinite``,
        ``undefined`` (NaN without an error) and ``failed`` (with an error) rows.

    Raises:
        DataError: a case is listed twice, or a column is missing.
        ConfigError: no resamples, or a level outside 0 .. 1.
    """
    columns = [metric for metric in metrics if metric != MICRO_DICE]
    check_rows(table, (*by, *columns, *(POOLED if len(columns) < len(metrics) else ())))
    good = table[~has_failed(table)]
    unbounded = {metric for metric in columns if np.isinf(good[metric].to_numpy(dtype=float)).any()}
    groups = table.groupby(list(by), dropna=False, sort=True, observed=True) if by else [((), table)]
    lines = []
    for key, rows in groups:
        labels = dict(zip(by, key, strict=True))
        scored, codes = in_clusters(rows[~has_failed(rows)], cluster)
        parts = list(_parts(scored, codes, metrics, unbounded))
        statistic = together([part.statistic for part in parts])
        estimates, samples = bootstrap(statistic, codes, resamples=resamples, seed=seed)
        ends = zip(*percentile_interval(samples, level), strict=True)
        failed = len(rows) - len(scored)
        for part, estimate, (low, high) in zip(parts, estimates, ends, strict=True):
            lines.append({**labels, **part.line(estimate, low, high), "failed": failed})
    return pd.DataFrame(lines, columns=[*by, *_COLUMNS])


def interval_of_best_column(
    values: ArrayLike, clusters: Sequence[str], *, resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Interval of the largest column mean, the column chosen anew in every resample.

    With the Dice of each case at each threshold this is the interval of ``mDSC_common`` (one threshold for all cases).

    Args:
        values: (cases, columns), finite.
        clusters: (cases,) whom a case belongs to; the same name is resampled together.
        resamples: how many.
        seed: of the draws.
        level: share of the resampled values inside the interval.

    Returns:
        Estimate, lower and upper end; the ends are NaN for a single cluster.

    Raises:
        ConfigError: no resamples, or a level outside 0 .. 1.
    """
    table = np.asarray(values, dtype=np.float64)
    rows = np.lexsort((*table.T[::-1], np.asarray(clusters, dtype=str)))
    names, codes = np.unique(np.asarray(clusters, dtype=str)[rows], return_inverse=True)
    columns = means(table[rows], codes)
    best, samples = bootstrap(
        lambda weights: columns(weights).max(axis=1, keepdims=True), codes, resamples=resamples, seed=seed
    )
    low, high = percentile_interval(samples, level)
    return (float(best[0]), float(low[0]), float(high[0])) if len(names) > 1 else (float(best[0]), np.nan, np.nan)


def in_clusters(rows: pd.DataFrame, cluster: str) -> tuple[pd.DataFrame, NDArray[np.intp]]:
    """Rows in an order of their own, whatever the order they came in, and the number of each row's cluster.

    Args:
        rows: of a case table.
        cluster: column that names the cluster, as for ``cluster_names``.

    Returns:
        The rows sorted by cluster and case with a fresh index, and (rows,) numbers 0 .. clusters - 1.
    """
    names = cluster_names(rows, cluster)
    order = np.lexsort([*(_text(rows[key]) for key in reversed(KEYS) if key in rows.columns), names])
    _, codes = np.unique(names[order], return_inverse=True)
    return rows.iloc[order].reset_index(drop=True), codes.astype(np.intp)


def cluster_names(rows: pd.DataFrame, cluster: str) -> NDArray[np.str_]:
    """Whom each row belongs to: ``"subject sub-07"``; ``"case sub-07_T1w"``, the case itself, where that is missing."""
    cases = "case " + rows["case"].astype(str)
    known = rows[cluster] if cluster in rows.columns else pd.Series(np.nan, index=rows.index)
    return _text(cases.where(known.isna(), f"{cluster} " + known.astype(str)))


def format_interval(line: pd.Series, digits: int = 2) -> str:
    """A cell of a table, from a row of ``bootstrap_intervals`` or anything with ``estimate``, ``low`` and ``high``.

    Args:
        line: the row.
        digits: decimals.

    Returns:
        ``"0.64 (0.51-0.76)"``, with what is not in it behind the interval: ``"31.1 (20.0-44.5; 7 inf)"``; ``"to"``
        instead of the hyphen where an end is negative; ``"0.64"`` without an interval, ``"–"`` without a value.
    """
    estimate, low, high = (float(line[name]) for name in ("estimate", "low", "high"))
    if np.isnan(estimate):
        text, interval = "–", ""
    else:
        text = f"{estimate:.{digits}f}"
        between = " to " if min(low, high) < 0 else "-"
        interval = "" if np.isnan(low) else f"{low:.{digits}f}{between}{high:.{digits}f}"
    inside = "infinite" if line.get("statistic") != "median" else ""  # the median counts infinite values as values
    words = {inside: "inf", "undefined": "undefined", "failed": "failed"}
    notes = [f"{int(line[name])} {word}" for name, word in words.items() if line.get(name, 0)]
    brackets = "; ".join(part for part in (interval, ", ".join(notes)) if part)
    return f"{text} ({brackets})" if brackets else text


@dataclass(frozen=True)
class _Part:
    """One line to be: a statistic of one metric, and what is and is not in it."""

    metric: str
    name: str
    statistic: Statistic
    n: int
    clusters: int
    infinite: int = 0
    undefined: int = 0

    def line(self, estimate: float, low: float, high: float) -> dict[str, float | str]:
        if self.name == "mean" and not self.n and self.infinite:
            estimate = np.inf
        if self.clusters < 2:
            low = high = np.nan
        counts = {"n": self.n, "clusters": self.clusters, "infinite": self.infinite, "undefined": self.undefined}
        return {"metric": self.metric, "statistic": self.name, "estimate": estimate, "low": low, "high": high, **counts}


def _parts(rows: pd.DataFrame, codes: NDArray[np.intp], metrics: Sequence[str], unbounded: set[str]) -> Iterator[_Part]:
    for metric in metrics:
        if metric == MICRO_DICE:
            micro = pooled_dice(rows[list(POOLED)].to_numpy(dtype=float), codes)
            yield _Part(metric, "micro", micro, len(rows), len(np.unique(codes)))
            continue
        values = rows[metric].to_numpy(dtype=float)
        finite, known = np.isfinite(values), ~np.isnan(values)
        left_out = {"infinite": int((known & ~finite).sum()), "undefined": int((~known).sum())}
        mean = means(values[:, None], codes)
        yield _Part(metric, "mean", mean, int(finite.sum()), len(np.unique(codes[finite])), **left_out)
        if metric in unbounded:
            median = medians(values, codes)
            yield _Part(metric, "median", median, int(known.sum()), len(np.unique(codes[known])), **left_out)


def _text(column: pd.Series) -> NDArray[np.str_]:
    return column.to_numpy(dtype=object).astype(str)
