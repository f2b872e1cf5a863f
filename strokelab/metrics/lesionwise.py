"""Lesions found, missed and invented. Knows connected components; knows no voxel overlap beyond "at least one".

There is no one-to-one matching, as in the scorers of ATLAS and ISLES'22: a true lesion is found when enough of it (by
default one voxel) is predicted, a predicted one is false when it holds no true voxel. One predicted blob over five true
lesions is therefore five hits and nothing false.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strokelab.lesions import Neighbours, drop_small_lesions, label_lesions, lesion_sizes
from strokelab.metrics.overlap import Mask


@dataclass(frozen=True)
class LesionCounts:
    """Connected components of one comparison."""

    reference: int  # components of the reference, = tp + fn
    prediction: int  # components of the prediction; those that are not false need not equal tp
    tp: int  # components of the reference that were found
    fn: int  # components of the reference that were missed
    fp: int  # components of the prediction without a true voxel


def count_lesion_hits(
    prediction: Mask,
    reference: Mask,
    neighbours: Neighbours = 26,
    *,
    min_overlap: float = 0.0,
    min_size: int = 1,
) -> LesionCounts:
    """Compare two boolean masks (X, Y, Z) lesion by lesion; one labelling per mask, no loop over components.

    Args:
        prediction: boolean mask.
        reference: boolean mask of the same shape.
        neighbours: 26 (ISLES'22, SynthStroke, ours) or 6 (ATLAS since June 2022).
        min_overlap: share of a true lesion that must be predicted to count as found; 0 = one voxel.
        min_size: components with fewer voxels are left out of both masks first.
    """
    if min_size > 1:
        prediction = drop_small_lesions(prediction, min_size, neighbours).astype(bool)
        reference = drop_small_lesions(reference, min_size, neighbours).astype(bool)
    shared = np.flatnonzero(prediction & reference)
    covered, sizes = _voxels_by_lesion(reference, shared, neighbours, sizes=min_overlap > 0)
    touched, _ = _voxels_by_lesion(prediction, shared, neighbours)
    needed = np.maximum(1, np.round(min_overlap * sizes, 9))  # 0.07 x 100 is 7.000000000000001 in floating point
    found = int(np.count_nonzero(covered >= needed))
    false = int(np.count_nonzero(touched == 0))
    return LesionCounts(reference=len(covered), prediction=len(touched), tp=found, fn=len(covered) - found, fp=false)


def lesion_f1(counts: LesionCounts) -> float:
    """TP / (TP + (FP + FN) / 2); 1 when there is nothing to find and nothing found."""
    return _ratio(counts.tp, counts.tp + (counts.fp + counts.fn) / 2, counts)


def lesion_recall(counts: LesionCounts) -> float:
    """TP / (TP + FN); 1 when there is nothing to find and nothing found, else 0 for 0/0."""
    return _ratio(counts.tp, counts.tp + counts.fn, counts)


def lesion_precision(counts: LesionCounts) -> float:
    """TP / (TP + FP); 1 when there is nothing to find and nothing found, else 0 for 0/0."""
    return _ratio(counts.tp, counts.tp + counts.fp, counts)


def lesion_count_difference(counts: LesionCounts) -> int:
    """Absolute difference of the numbers of components (ALD of ISLES'22, SLC of ATLAS); says nothing about overlap."""
    return abs(counts.prediction - counts.reference)


def _voxels_by_lesion(
    mask: Mask, shared: NDArray[np.int64], neighbours: Neighbours, *, sizes: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each lesion (n,): its voxels at the flat places ``shared``; and all its voxels, where these are asked for."""
    labels, count = label_lesions(mask, neighbours)
    covered = np.bincount(labels.ravel()[shared], minlength=count + 1)[1:].astype(np.int64)
    return covered, lesion_sizes(labels, count) if sizes else np.zeros(count, dtype=np.int64)


def _ratio(numerator: int, denominator: float, counts: LesionCounts) -> float:
    if counts.tp + counts.fn + counts.fp == 0:
        return 1.0
    return numerator / denominator if denominator else 0.0
