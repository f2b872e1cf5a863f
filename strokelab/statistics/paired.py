"""Is one method better than another on the same cases? Wilcoxon signed-rank test, Holm correction, stars.

Knows rows and columns; knows no voxels. Rules: pairs go by case id; nothing is intersected silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats as scipy_stats

from strokelab.errors import DataError
from strokelab.statistics.detectable import detectable_difference
from strokelab.statistics.rank_sums import p_of_rank_sums
from strokelab.statistics.repeats import average_repeats
from strokelab.statistics.resampling import bootstrap, means, percentile_interval

FEW_PAIRS = 6
"""With fewer non-zero differences the test cannot reach p = 0.05, whatever they are."""

_EXACT, _EXACT_TIED = 50, 13  # pairs; SciPy's permutation test of tied pairs gives the same p, a thousand times slower

_STARS = ((0.0001, "****"), (0.001, "***"), (0.01, "**"), (0.05, "*"))
_COLUMNS = (
    *("first", "second", "metric", "n", "only_first", "only_second", "failed", "failed_rows", "infinite", "undefined"),
    *("repeats", "mean_first", "mean_second", "difference", "low", "high"),
    *("statistic", "method", "nonzero", "p", "p_holm", "stars", "few", "detectable"),
)


@dataclass(frozen=True)
class Wilcoxon:
    """Result of the signed-rank test between two methods."""

    statistic: float  # the smaller of the two rank sums; NaN without pairs
    p: float  # two-sided
    n: int  # pairs with a value on both sides
    nonzero: int  # of them, pairs that differ
    method: str  # "exact", "normal" (approximation), "none" (nothing differs)
    few: bool  # fewer than 6 non-zero pairs


def wilcoxon(a: ArrayLike, b: ArrayLike) -> Wilcoxon:
    """Two-sided Wilcoxon signed-rank test of pairs.

    Differences are rounded to 10 decimals and zeros dropped; ties share the mean rank. Infinite differences take the
    largest ranks, infinity minus infinity is zero. The p-value is exact for up to 50 pairs without ties and up to 13
    with ties, otherwise the normal approximation with tie correction, as SciPy chooses. All differences zero: p = 1;
    no pairs: p is NaN.

    Args:
        a: one value per pair; NaN on either side drops the pair.
        b: the same pairs in the same order.

    Returns:
        Statistic, p and what they rest on; p is the same for (b, a).

    Raises:
        DataError: the two do not have the same length.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(
            "Wilcoxon test",
            found=f"{first.size} values against {second.size}",
            expected="pairs, one value of each method per case",
            remedy="pair the values by case id, e.g. with paired.compare",
        )
    differences = _differences(first, second)
    differences = differences[~np.isnan(differences)]
    nonzero = differences[differences != 0]
    n, k = len(differences), len(nonzero)
    if k == 0:
        return Wilcoxon(0.0 if n else float("nan"), 1.0 if n else float("nan"), n, 0, "none", few=True)
    # The test depends on signs and ranks alone; as ranks, infinities are numbers.
    ranks = scipy_stats.rankdata(np.abs(nonzero))
    positive = float(ranks[nonzero > 0].sum())
    statistic = min(positive, float(ranks.sum()) - positive)
    tied = len(np.unique(ranks)) < k
    if k <= (_EXACT_TIED if tied else _EXACT):
        p, method = float(p_of_rank_sums(ranks)[round(2 * positive)]), "exact"
    else:
        p, method = float(scipy_stats.wilcoxon(np.sign(nonzero) * ranks, method="auto").pvalue), "normal"
    return Wilcoxon(statistic, p, n, k, method, few=k < FEW_PAIRS)


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's step-down correction for several comparisons, in the order given; NaN stays NaN and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    corrected = np.full_like(p, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    rising = known[np.argsort(p[known], kind="stable")]
    steps = p[rising] * np.arange(len(rising), 0, -1)
    corrected[rising] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def stars(p: float) -> str:
    """``"****"`` for p <= 0.0001, ``"***"`` <= 0.001, ``"**"`` <= 0.01, ``"*"`` <= 0.05, else ``"ns"``; "" for NaN."""
    if np.isnan(p):
        return ""
    return next((text for limit, text in _STARS if p <= limit), "ns")


def compare(
    table: pd.DataFrame,
    metrics: Sequence[str],
    *,
    column: str = "model",
    unit: str = "case",
    cluster: str = "subject",
    resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Every two values of a column against each other on the cases they share, one row per pair and metric.

    Args:
        table: a case table; several rows of one case within one value (seeds, runs) are averaged first.
        metrics: columns to compare; those the table lacks are an error.
        column: what is compared.
        unit: what is paired: the case, or e.g. ``site``: means over a site's shared cases, one pair per site.
        cluster: what the bootstrap resamples together (pairs of another unit stand for themselves).
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Returns:
        ``first``, ``second``, ``metric`` and ``n`` pairs tested. Counts of cases: ``only_first`` and ``only_second``,
        that one side lacks; ``failed``, where one side has nothing but errors (``failed_rows``: all rows of the two
        with an error, repeats missing from a case's average too); ``infinite`` on a side, in the test by rank but in
        no mean; ``undefined`` on a side (or of unknown ``unit``), left out; ``repeats``, the most rows averaged into
        a case. Over the finite pairs ``mean_first``, ``mean_second``, ``difference`` (first - second) with its 95 %
        bootstrap interval ``low``, ``high``. Of the test ``statistic``, ``method``, ``nonzero``, ``p``; ``p_holm``
        corrected over the whole table and its ``stars``; ``few`` (see ``Wilcoxon``); ``detectable``, the result of
        ``detectable_difference``.

    Raises:
        DataError: a case is listed twice in a run, a column is missing, or ``column`` has missing values.
    """
    keep = () if unit == "case" else (unit,)
    cases = average_repeats(table, metrics, column=column, cluster=cluster, keep=keep)
    lines = []
    for first, second in combinations(cases.index.unique(level=0), 2):
        pairs = _pair(cases.loc[first], cases.loc[second], list(metrics), unit)
        difference = means(np.where(pairs.finite, pairs.differences, np.nan), pairs.codes)
        estimates, samples = bootstrap(difference, pairs.codes, resamples=resamples, seed=seed)
        low, high = percentile_interval(samples)
        for i, metric in enumerate(metrics):
            line = {"first": first, "second": second, "metric": metric, **pairs.counts, **_test(pairs, i)}
            spread = len(np.unique(pairs.codes[pairs.finite[:, i]])) > 1  # one cluster says nothing about others
            ends = {"low": low[i], "high": high[i]} if spread else {}
            lines.append({**line, "difference": estimates[i], **ends})
    result = pd.DataFrame(lines, columns=list(_COLUMNS))
    result["p_holm"] = holm(result["p"].to_numpy(dtype=float))
    result["stars"] = [stars(p) for p in result["p_holm"]]
    return result


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Values of two methods side by side, (pairs, metrics); NaN where a pair has none on either side."""

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    codes: NDArray[np.intp]  # (pairs,) number of the cluster
    counts: dict[str, int]  # of what is and is not in all metrics alike
    infinite: NDArray[np.intp]  # (metrics,) cases
    undefined: NDArray[np.intp]  # (metrics,) cases

    @property
    def finite(self) -> NDArray[np.bool_]:
        return np.isfinite(self.first) & np.isfinite(self.second)

    @property
    def differences(self) -> NDArray[np.float64]:
        return _differences(self.first, self.second)


def _pair(first: pd.DataFrame, second: pd.DataFrame, metrics: list[str], unit: str) -> _Pairs:
    shared = first.index.intersection(second.index).sort_values()
    scored = shared[((first.loc[shared, "good"] > 0) & (second.loc[shared, "good"] > 0)).to_numpy()]
    counts = {
        "only_first": len(first) - len(shared),
        "only_second": len(second) - len(shared),
        "failed": len(shared) - len(scored),
        "failed_rows": int(first["failed"].sum() + second["failed"].sum()),
        "repeats": int(max(first["good"].max(), second["good"].max())),
    }
    sides = [side.loc[scored, metrics].to_numpy(dtype=float) for side in (first, second)]
    nowhere = np.zeros(len(scored), dtype=bool) if unit == "case" else first.loc[scored, unit].isna().to_numpy()
    undefined = np.isnan(sides[0]) | np.isnan(sides[1]) | nowhere[:, None]
    infinite = ~undefined & (np.isinf(sides[0]) | np.isinf(sides[1]))
    left_out = undefined if unit == "case" else undefined | infinite
    sides = [np.where(left_out, np.nan, side) for side in sides]
    names = first.loc[scored, "cluster"]
    if unit != "case":
        sides = [pd.DataFrame(side).groupby(first.loc[scored, unit].to_numpy()).mean().to_numpy() for side in sides]
        names = pd.Series(range(len(sides[0])))
    _, codes = np.unique(names.to_numpy(), return_inverse=True)
    return _Pairs(sides[0], sides[1], codes.astype(np.intp), counts, infinite.sum(axis=0), undefined.sum(axis=0))


def _test(pairs: _Pairs, i: int) -> dict[str, object]:
    """What a line says about metric i, but for the bootstrap."""
    first, second, finite = pairs.first[:, i], pairs.second[:, i], pairs.finite[:, i]
    test = wilcoxon(first, second)
    return {
        "n": test.n,
        "infinite": int(pairs.infinite[i]),
        "undefined": int(pairs.undefined[i]),
        "mean_first": float(first[finite].mean()) if finite.any() else float("nan"),
        "mean_second": float(second[finite].mean()) if finite.any() else float("nan"),
        "statistic": test.statistic,
        "method": test.method,
        "nonzero": test.nonzero,
        "p": test.p,
        "few": test.few,
        "detectable": detectable_difference(pairs.differences[finite, i]),
    }


def _differences(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """First minus second to 10 decimals (0.05 and 0.05000001 shall tie); infinity minus infinity is zero."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(first) & (first == second), 0.0, np.round(first - second, 10))
