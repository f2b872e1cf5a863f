"""The bootstrap itself: drawing clusters with replacement, and a statistic of all resamples at once.

Knows arrays and group numbers; knows no case table and no metric. A cluster is what is sampled together, e.g. all scans
of a patient. A resample is a row of weights: how often each cluster was drawn; the rows of a cluster share its weight.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from strokelab.errors import ConfigError
from strokelab.seeding import stream

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], Floats]
"""From weights (b, clusters) to the k numbers of each resample (b, k)."""

_CELLS_AT_ONCE = 1 << 21  # of the matrix resamples x rows: 16 MiB as float64


def bootstrap(statistic: Statistic, codes: NDArray[np.intp], *, resamples: int, seed: int) -> tuple[Floats, Floats]:
    """A statistic of the data as they are, and of resamples of their clusters, n clusters at a time.

    The draws depend on the seed and the number of clusters alone: every statistic of the same cases sees the same
    resamples, and no group changes with its neighbours in a table.

    Args:
        statistic: e.g. ``means(values, codes)``.
        codes: (rows,) number of each row's cluster, 0 .. clusters - 1, every number in use.
        resamples: how many.
        seed: of the draws.

    Returns:
        The estimate (k,), and the values of the resamples (resamples, k).

    Raises:
        ConfigError: there is not one resample.
    """
    if resamples < 1:
        raise ConfigError(
            "resamples", found=str(resamples), expected="1 or more", remedy="leave the default of 1000 resamples"
        )
    clusters = int(codes.max()) + 1 if len(codes) else 0
    estimate = statistic(np.ones((1, clusters)))[0]
    if clusters == 0:
        return np.full_like(estimate, np.nan), np.full((resamples, len(estimate)), np.nan)
    chunks = _draw(clusters, rows=len(codes), resamples=resamples, generator=stream(seed, "bootstrap"))
    return estimate, np.concatenate([statistic(weights) for weights in chunks])


def nested_bootstrap(
    statistic: Statistic, groups: NDArray[np.intp], owners: NDArray[np.intp], *, resamples: int, seed: int
) -> tuple[Floats, Floats]:
    """Two levels: clusters as in ``bootstrap``, the very same ones, and within each copy of one its units anew.

    Args:
        statistic: from weights (b, units). Those of a group sum to how often its cluster was sampled.
        groups: (units,) rising number of each unit's group, 0 .. groups - 1; a group's units are sampled from each
            other, as many as it has, for each copy of its cluster.
        owners: (groups,) number of each group's cluster, 0 .. clusters - 1, every number in use.
        resamples: how many.
        seed: of the sampling; one unit per group gives what ``bootstrap`` gives.

    Returns:
        As ``bootstrap``; the estimate gives the units of a group equal weights.

    Raises:
        ConfigError: there is not one resample.
    """
    sizes = np.bincount(groups)
    streams = {int(size): stream(seed, "bootstrap", "within", int(size)) for size in np.unique(sizes)}

    def within(weights: Floats) -> Floats:
        result = np.empty((len(weights), len(groups)))
        for size, generator in streams.items():
            mine = np.flatnonzero(sizes == size)
            copies = weights[:, owners[mine]].astype(np.int64)
            sampled = generator.multinomial(size * copies, np.full(size, 1 / size))
            result[:, sizes[groups] == size] = sampled.reshape(len(weights), -1) / size
        return result

    equal = statistic(1 / sizes[groups][None])[0]
    samples = bootstrap(lambda weights: statistic(within(weights)), owners, resamples=resamples, seed=seed)[1]
    return equal, samples


def together(statistics: Sequence[Statistic]) -> Statistic:
    """Several statistics side by side, from the same resamples."""
    return lambda weights: np.concatenate([statistic(weights) for statistic in statistics], axis=1, dtype=np.float64)


def means(values: ArrayLike, codes: NDArray[np.intp]) -> Statistic:
    """The mean of every column over its finite values; NaN in a resample that holds none.

    Args:
        values: (rows, k).
        codes: (rows,) number of each row's cluster.
    """
    table = np.asarray(values, dtype=np.float64)
    finite = np.isfinite(table)
    # Deviations from a value of the column itself: constant columns stay constant to the last bit.
    centre: Floats = np.array([_middle(column[known]) for column, known in zip(table.T, finite.T, strict=True)])
    sums = _per_cluster(np.where(finite, table - centre, 0.0), codes)
    counts = _per_cluster(finite, codes)

    def statistic(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore"):
            average: Floats = weights @ sums / (weights @ counts) + centre
            return average

    return statistic


def medians(values: ArrayLike, codes: NDArray[np.intp]) -> Statistic:
    """The median of one column over finite and infinite values; NaN in a resample that holds neither.

    Args:
        values: (rows,).
        codes: (rows,) number of each row's cluster.
    """
    column = np.asarray(values, dtype=np.float64)
    rising = np.argsort(column, kind="stable")[: np.count_nonzero(~np.isnan(column))]  # NaN sorts last
    owner = codes[rising]
    ordered: Floats = np.append(column[rising], np.nan)

    def statistic(weights: Floats) -> Floats:
        drawn = np.cumsum(weights[:, owner], axis=1)  # (b, values): how many stand here or before
        total = weights[:, owner].sum(axis=1, keepdims=True)
        # The value at place p of the drawn list is the first whose count exceeds p; no values at all: the NaN.
        lower = ordered[(drawn <= np.maximum(total - 1, 0) // 2).sum(axis=1)]
        upper = ordered[(drawn <= total // 2).sum(axis=1)]
        middle: Floats = np.where(lower == upper, lower, (lower + upper) / 2)
        return middle[:, None]

    return statistic


def pooled_dice(counts: ArrayLike, codes: NDArray[np.intp]) -> Statistic:
    """Dice of voxel counts pooled over all rows of a resample; 1 where they are all zero.

    Args:
        counts: (rows, 3) voxels: true positives, false positives, false negatives.
        codes: (rows,) number of each row's cluster.
    """
    sums = _per_cluster(np.asarray(counts, dtype=np.float64), codes)

    def statistic(weights: Floats) -> Floats:
        hits, false_hits, misses = (weights @ sums).T
        voxels = 2 * hits + false_hits + misses
        return np.where(voxels == 0, 1.0, 2 * hits / np.maximum(voxels, 1))[:, None]

    return statistic


def percentile_interval(samples: Floats, level: float = 0.95) -> tuple[Floats, Floats]:
    """The middle share of the resampled values, column by column; percentiles interpolated linearly.

    Args:
        samples: (resamples, k); NaN is left out, infinities stand at the ends.
        level: share of the values inside.

    Returns:
        Lower and upper ends (k,), NaN for a column of NaN.

    Raises:
        ConfigError: the level does not lie between 0 and 1.
    """
    if not 0 < level < 1:
        raise ConfigError("level", found=str(level), expected="a share between 0 and 1", remedy="use 0.95")
    ordered = np.sort(samples, axis=0)
    last = np.maximum(np.count_nonzero(~np.isnan(ordered), axis=0) - 1, 0)
    return _at(ordered, last * (1 - level) / 2), _at(ordered, last * (1 + level) / 2)


def _draw(clusters: int, *, rows: int, resamples: int, generator: np.random.Generator) -> Iterator[Floats]:
    """Weights (b, clusters) in chunks; the numbers do not depend on where the chunks are cut."""
    size = max(1, _CELLS_AT_ONCE // max(rows, clusters))
    for start in range(0, resamples, size):
        b = min(size, resamples - start)
        drawn = generator.integers(clusters, size=(b, clusters)) + np.arange(0, b * clusters, clusters)[:, None]
        yield np.bincount(drawn.ravel(), minlength=b * clusters).reshape(b, clusters).astype(np.float64)


def _per_cluster(values: NDArray[np.generic], codes: NDArray[np.intp]) -> Floats:
    sums = np.zeros((int(codes.max()) + 1 if len(codes) else 0, values.shape[1]))
    np.add.at(sums, codes, values)
    return sums


def _middle(values: Floats) -> float:
    return float(np.partition(values, len(values) // 2)[len(values) // 2]) if len(values) else 0.0


def _at(ordered: Floats, position: Floats) -> Floats:
    """Values at fractional places of rising columns; between two infinities lies infinity, not NaN."""
    below = np.floor(position).astype(np.intp)
    above = np.ceil(position).astype(np.intp)
    low, high = (np.take_along_axis(ordered, place[None], axis=0)[0] for place in (below, above))
    with np.errstate(invalid="ignore"):
        between: Floats = low + (high - low) * (position - below)
    return np.where((low == high) | (below == above), low, between)
