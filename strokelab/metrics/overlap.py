"""Voxel overlap and volume from four counts. Knows numbers and masks; knows no spacing, surface or lesion.

Everything is a function of ``Counts``, so that a table of counts is enough to compute any of it again, and adding
counts of several cases gives their pooled (micro) value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Counts:
    """Voxels of one comparison; Python integers, since unsigned ones wrap round when subtracted."""

    tp: int  # in both masks
    fp: int  # in the prediction alone
    fn: int  # in the reference alone
    tn: int  # in neither

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)

    @property
    def prediction(self) -> int:
        """Voxels of the prediction."""
        return self.tp + self.fp

    @property
    def reference(self) -> int:
        """Voxels of the reference."""
        return self.tp + self.fn


def count(prediction: Mask, reference: Mask, size: int | None = None) -> Counts:
    """Counts of two boolean masks of one shape.

    Args:
        prediction: boolean mask of any shape.
        reference: boolean mask of the same shape.
        size: voxels of the whole grid when the masks are a crop of it that holds all lesions.
    """
    hits = int(np.count_nonzero(prediction & reference))
    alone, missed = int(np.count_nonzero(prediction)) - hits, int(np.count_nonzero(reference)) - hits
    return Counts(hits, alone, missed, (prediction.size if size is None else size) - hits - alone - missed)


def dice(counts: Counts, empty_value: float = 1.0) -> float:
    """2 TP / (2 TP + FP + FN), which is also the voxel F1; ``empty_value`` when both masks are empty.

    Of summed counts it is the micro-Dice (microDSC of Tomita et al. 2020), which large lesions dominate.
    """
    return _ratio(2 * counts.tp, 2 * counts.tp + counts.fp + counts.fn, counts, empty_value)


def jaccard(counts: Counts, empty_value: float = 1.0) -> float:
    """TP / (TP + FP + FN); ``empty_value`` when both masks are empty."""
    return _ratio(counts.tp, counts.tp + counts.fp + counts.fn, counts, empty_value)


def precision(counts: Counts, empty_value: float = 1.0) -> float:
    """TP / (TP + FP), the positive predictive value; ``empty_value`` when both masks are empty, else 0 for 0/0."""
    return _ratio(counts.tp, counts.tp + counts.fp, counts, empty_value)


def recall(counts: Counts, empty_value: float = 1.0) -> float:
    """TP / (TP + FN), the sensitivity; ``empty_value`` when both masks are empty, else 0 for 0/0."""
    return _ratio(counts.tp, counts.tp + counts.fn, counts, empty_value)


def specificity(counts: Counts, empty_value: float = 1.0) -> float:
    """TN / (TN + FP); ``empty_value`` when both masks are empty, 0 when the reference fills the grid."""
    return _ratio(counts.tn, counts.tn + counts.fp, counts, empty_value)


def volume_difference(counts: Counts) -> int:
    """Signed difference prediction - reference, voxels."""
    return counts.fp - counts.fn


def relative_volume_difference(counts: Counts) -> float:
    """Absolute volume difference as a share of the reference volume; NaN for an empty reference."""
    return abs(volume_difference(counts)) / counts.reference if counts.reference else float("nan")


def _ratio(numerator: int, denominator: int, counts: Counts, empty_value: float) -> float:
    """Nothing to find and nothing found is ``empty_value``; any other 0/0 is 0."""
    if counts.tp + counts.fp + counts.fn == 0:
        return empty_value
    return numerator / denominator if denominator else 0.0
