"""A lesion is a connected component; this is the one implementation of that sentence."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

Neighbours = Literal[6, 18, 26]
Mask = NDArray[Any]

_ROUNDING = 1e-3
"""How far header scaling may take a label off its whole number."""


def label_lesions(mask: Mask, neighbours: Neighbours = 26) -> tuple[NDArray[np.integer[Any]], int]:
    """Connected components of a mask (X, Y, Z), non-zero = lesion.

    Returns:
        The labels (X, Y, Z), 0 = background, 1..n = lesions, and n.
    """
    lesion = np.asarray(mask) != 0
    try:
        labels, count = cc3d.connected_components(lesion, connectivity=neighbours, return_N=True)
    except RuntimeError:
        # cc3d 4.1 reserves a label for every eighth voxel, which is too few where isolated voxels fill a volume with
        # odd lengths, e.g. the first and third of three; a border makes it enough.
        labels, count = cc3d.connected_components(np.pad(lesion, 1), connectivity=neighbours, return_N=True)
        labels = labels[1:-1, 1:-1, 1:-1]
    return labels, int(count)


def lesion_sizes(labels: NDArray[np.integer[Any]], count: int) -> NDArray[np.int64]:
    """Voxels of each lesion 1..count, in label order."""
    return np.bincount(labels.ravel(), minlength=count + 1)[1:].astype(np.int64)


def count_lesions(mask: Mask, neighbours: Neighbours = 26) -> int:
    """Number of connected components of a mask (X, Y, Z)."""
    return label_lesions(mask, neighbours)[1]


def label_volumes(voxels: Mask) -> dict[int, int]:
    """Voxels of every label of a label map (X, Y, Z); empty for what is a mask.

    A mask holds 0 and one other value, whatever that is, or shares of one: values that are no whole numbers, or a
    scale up to 100 or 255 with values in its middle, as interpolation leaves them. Several other whole numbers are
    labels: half of the largest of them means nothing.
    """
    values, counts = np.unique(voxels[voxels > 0], return_counts=True)
    if len(values) < 2 or np.abs(values - np.rint(values)).max() > _ROUNDING:
        return {}
    labels: dict[int, int] = {}
    for value, count in zip(np.rint(values).astype(int).tolist(), counts.tolist(), strict=True):
        labels[value] = labels.get(value, 0) + count
    labels.pop(0, None)
    highest = max(labels, default=0)
    scale = highest in (100, 255) and any(0.1 * highest < value < 0.9 * highest for value in labels)
    return {} if len(labels) < 2 or scale else labels


def drop_small_lesions(mask: Mask, min_voxels: float, neighbours: Neighbours = 26) -> NDArray[np.uint8]:
    """The mask (X, Y, Z) as 0/1 without the components of fewer than ``min_voxels`` voxels."""
    labels, count = label_lesions(mask, neighbours)
    keep = np.concatenate([[False], lesion_sizes(labels, count) >= min_voxels])
    kept: NDArray[np.uint8] = keep[labels].astype(np.uint8)
    return kept
