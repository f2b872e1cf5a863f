"""Every threshold of a probability map at once, from one histogram. Knows maps and masks; knows no post-processing.

The histogram (``ProbabilityCounts``) is all that Dice at any of the 99 thresholds, the maximal Dice and a calibration
curve need, so that a case table can carry it and no map has to be read twice. A voxel belongs to a mask when
``p >= threshold``, compared in the map's own precision: what the histogram says is what thresholding would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.errors import DataError
from strokelab.metrics.profiles import Profile, find_profile

THRESHOLDS: NDArray[np.float64] = np.arange(1, 100) / 100
"""The grid of the maximal Dice: 0.01, 0.02 .. 0.99."""

_BINS = len(THRESHOLDS) + 1
_COLUMNS = ("bin", "lesion", "healthy", "mass")
_ROUNDING = 1e-3  # interpolation leaves 0..1 by a few units in the last place, never by more


@dataclass(frozen=True, eq=False)
class ProbabilityCounts:
    """Voxels of one case by probability; bin k holds those that reach exactly k thresholds (bin 0: p < 0.01)."""

    lesion: NDArray[np.int64]  # (100,), voxels of the reference
    healthy: NDArray[np.int64]  # (100,), all other voxels
    mass: NDArray[np.float64]  # (100,), sum of the probabilities of both


def count_probabilities(probability: NDArray[Any], reference: NDArray[Any]) -> ProbabilityCounts:
    """The histogram of a lesion probability map over the reference and over the rest, in one pass.

    Args:
        probability: lesion probability (X, Y, Z), 0 to 1, any float precision; a mask counts as 0 and 1.
        reference: mask (X, Y, Z), non-zero = lesion.

    Raises:
        DataError: the shapes differ, or a value is not finite or lies outside 0..1.
    """
    probability, true = _checked(probability, reference)
    thresholds = THRESHOLDS.astype(probability.dtype)
    # Most voxels of a brain reach no threshold: only the others are sorted into bins.
    reached = probability >= thresholds[0]
    values, is_lesion = probability[reached], true[reached]
    bins = np.searchsorted(thresholds, values, side="right")
    lesion = np.bincount(bins[is_lesion], minlength=_BINS)
    healthy = np.bincount(bins, minlength=_BINS) - lesion
    mass: NDArray[np.float64] = np.bincount(bins, weights=values, minlength=_BINS).astype(np.float64)
    lesion[0] = int(np.count_nonzero(true)) - int(lesion.sum())
    healthy[0] = probability.size - len(values) - int(lesion[0])
    mass[0] = np.sum(probability, dtype=np.float64, where=~reached)
    return ProbabilityCounts(lesion.astype(np.int64), healthy.astype(np.int64), mass)


def dice_at_thresholds(counts: ProbabilityCounts, empty_value: float = 1.0) -> NDArray[np.float64]:
    """Dice (99,) of the masks ``p >= t`` for every t of ``THRESHOLDS``.

    Args:
        counts: the histogram of one case.
        empty_value: Dice where mask and reference are both empty.
    """
    hits, alone = (_at_least(voxels) for voxels in (counts.lesion, counts.healthy))
    either = hits + alone + counts.lesion.sum()
    dice: NDArray[np.float64] = np.full(len(THRESHOLDS), empty_value)
    np.divide(2 * hits, either, out=dice, where=either > 0)
    return dice


def max_dice(counts: ProbabilityCounts, empty_value: float = 1.0) -> tuple[float, float]:
    """Maximal Dice (mDSC) of one case and the threshold that reaches it: an upper bound, not a result.

    Of several best thresholds the one nearest to 0.5 is named, then the lower one. Tomita et al. 2020 give no grid;
    ours is ``THRESHOLDS``.

    Args:
        counts: the histogram of the case.
        empty_value: as for ``dice_at_thresholds``; NaN makes the maximum NaN where mask and reference can be empty.
    """
    return _best(dice_at_thresholds(counts, empty_value))


def max_dice_common(counts: Sequence[ProbabilityCounts], empty_value: float = 1.0) -> tuple[float, float]:
    """The largest mean Dice over cases that one threshold for all of them reaches, and that threshold.

    Never above the mean of ``max_dice`` and never below the mean Dice at a threshold of the grid.

    Args:
        counts: the histograms of all cases; none gives NaN for both.
        empty_value: as for ``dice_at_thresholds``; NaN leaves a case out at the thresholds where it is undefined.
    """
    if not counts:
        return float("nan"), float("nan")
    table = np.array([dice_at_thresholds(one, empty_value) for one in counts])
    defined = ~np.isnan(table)
    cases = defined.sum(axis=0)
    mean = np.divide(
        np.where(defined, table, 0).sum(axis=0), cases, out=np.full(len(THRESHOLDS), -1.0), where=cases > 0
    )
    dice, threshold = _best(mean)
    return (dice, threshold) if dice >= 0 else (float("nan"), float("nan"))


def max_dice_exact(probability: NDArray[Any], reference: NDArray[Any], empty_value: float = 1.0) -> tuple[float, float]:
    """Maximal Dice over every threshold in (0, 1], not only those of the grid, and the highest that reaches it.

    One sort over the voxels above 0 (the profile ``tomita``); 1 is named where no threshold gives a mask.

    Args:
        probability: as for ``count_probabilities``.
        reference: as for ``count_probabilities``; lesion voxels of probability 0 count as missed.
        empty_value: Dice when the reference is empty and a threshold exists that leaves the mask empty.

    Raises:
        DataError: as ``count_probabilities``.
    """
    probability, true = _checked(probability, reference)
    total = int(np.count_nonzero(true))
    positive = probability > 0
    values, is_lesion = probability[positive], true[positive]
    if total == 0:
        return (0.0, 1.0) if values.max(initial=0) >= 1 else (empty_value, 1.0)
    if not len(values):
        return 0.0, 1.0
    order = np.argsort(-values)
    falling = values[order]
    hits = np.cumsum(is_lesion[order])
    ends = np.append(falling[1:] != falling[:-1], True)  # a threshold takes equal voxels together
    predicted = np.arange(1, len(falling) + 1)
    dice = 2 * hits[ends] / (predicted[ends] + total)
    best = int(np.argmax(dice))
    return float(dice[best]), float(falling[ends][best])


def of_probabilities(
    probability: NDArray[Any], reference: NDArray[Any], profile: str | Profile
) -> tuple[dict[str, float], pd.DataFrame]:
    """The maximal Dice of a case with its threshold, as the case table names them, and ``to_rows`` of its histogram.

    Args:
        probability: as for ``count_probabilities``.
        reference: as for ``count_probabilities``.
        profile: over which thresholds the maximum runs, and Dice where both are empty.
    """
    counts, kind = count_probabilities(probability, reference), find_profile(profile)
    if kind.exact_mdsc:
        best, threshold = max_dice_exact(probability, reference, kind.empty_value)
    else:
        best, threshold = max_dice(counts, kind.empty_value)
    return {"mdsc": best, "mdsc_threshold": threshold}, to_rows(counts)


def to_rows(counts: ProbabilityCounts) -> pd.DataFrame:
    """The histogram as a table with the columns bin, lesion, healthy, mass; bins without a voxel are left out."""
    held = np.flatnonzero(counts.lesion + counts.healthy)
    columns = (held, counts.lesion[held], counts.healthy[held], counts.mass[held])
    return pd.DataFrame(dict(zip(_COLUMNS, columns, strict=True)))


def from_rows(frame: pd.DataFrame) -> ProbabilityCounts:
    """The histogram of one case from the table of ``to_rows``, in any order and with further columns.

    Raises:
        DataError: a column is missing, or a bin is listed twice or is none of 0..99.
    """
    missing = [name for name in _COLUMNS if name not in frame]
    bins = frame["bin"].to_numpy() if "bin" in frame else np.empty(0)
    if missing or len(np.unique(bins)) != len(bins) or not np.isin(bins, np.arange(_BINS)).all():
        raise DataError(
            "table of probabilities",
            found=f"no column {missing[0]!r}" if missing else f"bins {sorted(bins.tolist())}",
            expected=f"the columns {', '.join(_COLUMNS)}, each bin of 0..{_BINS - 1} at most once per case",
            remedy="score the run again, or select the rows of a single case first",
        )
    lesion, healthy, mass = np.zeros(_BINS, np.int64), np.zeros(_BINS, np.int64), np.zeros(_BINS)
    for filled, name in zip((lesion, healthy, mass), _COLUMNS[1:], strict=True):
        filled[bins.astype(np.int64)] = frame[name].to_numpy()
    return ProbabilityCounts(lesion, healthy, mass)


def _checked(probability: NDArray[Any], reference: NDArray[Any]) -> tuple[NDArray[np.floating[Any]], NDArray[np.bool_]]:
    """Map and mask of one shape, both seen in the memory order of the map, in which reading is fastest."""
    values = np.asarray(probability)
    values = values if np.issubdtype(values.dtype, np.floating) else values.astype(np.float64)
    true = np.asarray(reference) != 0
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    problem = ""
    if values.shape != true.shape:
        problem = f"a map of shape {values.shape} for a mask of shape {true.shape}"
    elif not (np.isfinite(low) and np.isfinite(high)):
        problem = "values that are NaN or infinite"
    elif low < -_ROUNDING or high > 1 + _ROUNDING:
        problem = f"values from {low:g} to {high:g}"
    if problem:
        raise DataError(
            "probability",
            found=problem,
            expected="a probability, 0 to 1, for every voxel of the reference",
            remedy="give the lesion class's probability (softmax or sigmoid applied) on the reference's grid",
        )
    axes = np.argsort([-abs(stride) for stride in values.strides], kind="stable")
    return values.transpose(axes), true.transpose(axes)


def _at_least(voxels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Voxels (99,) that reach each threshold."""
    above: NDArray[np.int64] = np.cumsum(voxels[:0:-1])[::-1]
    return above


def _best(dice: NDArray[np.float64]) -> tuple[float, float]:
    largest = dice.max()  # NaN when one value is
    ties = np.flatnonzero((dice == largest) | np.isnan(dice))
    nearest = ties[np.argmin(np.abs(2 * (ties + 1) - len(dice) - 1))]
    return float(largest), float(THRESHOLDS[nearest])
