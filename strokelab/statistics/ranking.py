"""Ranking of methods as challenges do it, and how firm it is. Knows rows, columns and which way a metric is better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from strokelab.errors import DataError
from strokelab.metrics.profiles import METRICS
from strokelab.statistics.repeats import average_repeats
from strokelab.statistics.resampling import Floats, bootstrap, means


def rank(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    column: str = "model",
    cluster: str = "subject",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Mean rank of every method: per metric over the cases, then over the metrics; 1 is best, ties share the mean rank.

    Only cases that every method has a row for are ranked. Repeats (seeds, runs) are averaged first. A case in which
    a method has nothing but errors ranks it last; an infinite distance is worse than every finite one (the order of
    ``hd`` is that of ``hd_penalised``, infinity at the grid's diagonal). A case in which a metric is undefined for a
    method leaves this metric's ranking for all of them.

    Args:
        table: a case table.
        metrics: columns; which way is better is said by ``metrics.profiles.METRICS``.
        column: what is ranked.
        cluster: what the bootstrap resamples together.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        Sorted by place: ``column``; ``mean_rank``; ``place``; ``rank_<metric>`` for each; over resamples of the cases
        ``holds_place`` (share with the same place), ``first_share`` (share in first place, ties divided), ``place_low``
        and ``place_high`` (95 % interval); the numbers of ``cases`` ranked, ``failed`` of them for this method,
        ``not_shared`` (cases of this method that another lacks) and ``undefined`` (case and metric pairs left out).

    Raises:
        DataError: a case is listed twice, a column is missing or has missing values, or a metric has no direction.
    """
    metrics = list(metrics)
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown or not metrics:
        raise DataError(
            "metrics to rank by",
            found=", ".join(unknown) or "none",
            expected=f"some of {', '.join(METRICS)}",
            remedy="name metrics of that list; it says which way each is better",
        )
    cases = average_repeats(table, metrics, column=column, cluster=cluster)
    methods = list(cases.index.unique(level=0))
    if not methods:
        raise DataError(
            "case table", found="no rows", expected="cases to rank by", remedy="score at least one case of each method"
        )
    tables = [cases.loc[method] for method in methods]
    shared = sorted(set.intersection(*(set(rows.index) for rows in tables)))
    ranked = [rows.loc[shared] for rows in tables]
    values = np.stack([rows[metrics].to_numpy(dtype=float) for rows in ranked])
    failed = np.stack([rows["good"].to_numpy() == 0 for rows in ranked])
    ranks = _ranks(values, failed, np.array([METRICS[metric].higher_is_better for metric in metrics]))

    _, codes = np.unique(ranked[0]["cluster"].to_numpy(dtype=object).astype(str), return_inverse=True)
    shape = (len(methods), len(metrics))
    per_metric = means(ranks.transpose(1, 0, 2).reshape(len(shared), len(methods) * len(metrics)), codes)
    estimate, samples = bootstrap(per_metric, codes, resamples=resamples, seed=seed)
    mean_ranks = _over_metrics(np.vstack([estimate, samples]).reshape(-1, *shape))
    places = _places(mean_ranks)
    resampled = places[1:]
    best = resampled == resampled.min(axis=1, keepdims=True)
    result = pd.DataFrame({column: methods, "mean_rank": mean_ranks[0], "place": places[0]})
    for i, metric in enumerate(metrics):
        result[f"rank_{metric}"] = estimate.reshape(shape)[:, i]
    result["holds_place"] = (resampled == places[0]).mean(axis=0)
    result["first_share"] = (best / np.maximum(best.sum(axis=1, keepdims=True), 1)).mean(axis=0)
    result["place_low"], result["place_high"] = _middle_places(resampled)
    result["cases"], result["failed"] = len(shared), failed.sum(axis=1)
    result["not_shared"] = [len(rows) - len(shared) for rows in tables]
    result["undefined"] = int(np.isnan(ranks).any(axis=0).sum())
    return result.sort_values("place", kind="stable", ignore_index=True)


def _ranks(values: Floats, failed: NDArray[np.bool_], higher_is_better: NDArray[np.bool_]) -> Floats:
    """Ranks among the methods, (methods, cases, metrics), from values of that shape; NaN where one is undefined."""
    cost = np.round(np.where(higher_is_better, -values, values), 10)
    cost[np.isinf(cost)] = np.finfo(np.float64).max
    cost[failed] = np.inf
    ranks: Floats = stats.rankdata(cost, axis=0, nan_policy="omit")
    ranks[:, np.isnan(cost).any(axis=0)] = np.nan
    return ranks


def _over_metrics(ranks: Floats) -> Floats:
    """Mean over the last axis without NaN, to 10 decimals, so that equal ranks tie however they were added up."""
    known = ~np.isnan(ranks)
    with np.errstate(invalid="ignore"):
        mean: Floats = np.where(known, ranks, 0.0).sum(axis=-1) / known.sum(axis=-1)
    return mean.round(10)


def _places(mean_ranks: Floats) -> Floats:
    """Places (resamples, methods) by mean rank; NaN for a resample without ranks."""
    return np.asarray(stats.rankdata(mean_ranks, axis=1), dtype=np.float64)


def _middle_places(places: Floats) -> tuple[Floats, Floats]:
    """2.5th and 97.5th percentile of each method's places; places are not interpolated."""
    known = places[~np.isnan(places).any(axis=1)]
    if len(known) == 0:
        nowhere = np.full(places.shape[1], np.nan)
        return nowhere, nowhere
    low, high = np.quantile(known, [0.025, 0.975], axis=0, method="inverted_cdf")
    return low, high
