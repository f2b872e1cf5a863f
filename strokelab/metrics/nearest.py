"""From every set voxel of one mask to the nearest set voxel of another. Knows masks and spacing; knows no surface.

Most voxels of two similar surfaces have each other within a few steps: those are found by looking at the neighbouring
places, nearest first; a k-d tree answers for the rest. Both ways are exact.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import groupby, product
from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from strokelab.metrics.overlap import Mask

Spacing = tuple[float, float, float]

_Shell = tuple[float, NDArray[np.intp]]  # a distance in mm and all steps (n, 3) in voxels that are this long
_REACH = 3.0  # smallest spacings; 123 places where voxels are cubes
_LOOKS_PER_QUERY = 500  # a look at one place takes about this part of the time of a query of the tree


def both_ways(one: Mask, other: Mask, spacing_mm: Spacing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances from the voxels of each of two masks (X, Y, Z) to the other, mm.

    Args:
        one: boolean mask.
        other: boolean mask of the same shape.
        spacing_mm: voxel spacing along X, Y, Z.

    Returns:
        For each set voxel of ``one``, and for each of ``other``, in C order, the distance to the nearest set voxel of
        the other mask; infinite where that is empty.
    """
    places, others = _places(one), _places(other)
    return _to_nearest(places, other, others, spacing_mm), _to_nearest(others, one, places, spacing_mm)


def one_way(one: Mask, other: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    """As ``both_ways``, from the voxels of ``one`` alone."""
    return _to_nearest(_places(one), other, _places(other), spacing_mm)


def _to_nearest(
    places: NDArray[np.intp], goals: Mask, goal_places: NDArray[np.intp], spacing_mm: Spacing
) -> NDArray[np.float64]:
    distances = np.full(places.shape[1], np.inf)
    if places.size == 0 or goal_places.size == 0:
        return distances
    far = _settle_near(distances, places, goals, spacing_mm)
    if len(far):
        # Built fast rather than balanced: each tree is asked once.
        tree = cKDTree(_in_mm(goal_places, spacing_mm), leafsize=32, compact_nodes=False, balanced_tree=False)
        distances[far] = tree.query(_in_mm(places[:, far], spacing_mm))[0]
    return distances


def _settle_near(
    distances: NDArray[np.float64], places: NDArray[np.intp], goals: Mask, spacing_mm: Spacing
) -> NDArray[np.intp]:
    """Fill in the distances of the places (3, n) that have a goal close by; returns the indices of the others."""
    shells, reach = _shells(spacing_mm)
    padded = np.pad(goals, [(r, r) for r in reach])
    flat = padded.ravel()
    strides = np.array(padded.strides)  # in voxels: a boolean takes a byte
    starts = strides @ (places + np.array(reach)[:, None])
    left = np.arange(len(distances))
    for length, steps in shells:
        jumps = steps @ strides
        at = starts[left]
        hit = flat[at + jumps[0]]
        for jump in jumps[1:]:
            hit |= flat[at + jump]
        distances[left[hit]] = length
        left = left[~hit]
        if length > 0 and np.count_nonzero(hit) * _LOOKS_PER_QUERY < len(at) * len(jumps):
            break
    return left


@lru_cache(maxsize=32)
def _shells(spacing_mm: Spacing) -> tuple[list[_Shell], tuple[int, int, int]]:
    """All steps up to ``_REACH`` by rising length, and how many voxels they reach along each axis."""
    radius = _REACH * min(spacing_mm)
    x, y, z = (ceil(radius / length) for length in spacing_mm)
    steps = np.array(list(product(*(range(-r, r + 1) for r in (x, y, z)))))
    lengths = np.sqrt(np.sum((steps * np.array(spacing_mm)) ** 2, axis=1))
    order = [i for i in np.argsort(lengths, kind="stable").tolist() if lengths[i] <= radius]
    shells = [(length, steps[list(same)]) for length, same in groupby(order, key=lambda i: float(lengths[i]))]
    return shells, (x, y, z)


def _places(mask: Mask) -> NDArray[np.intp]:
    """Indices (3, n) of the set voxels; the flat search is several times faster than np.nonzero on a sparse mask."""
    return np.stack(np.unravel_index(np.flatnonzero(mask), mask.shape))


def _in_mm(places: NDArray[np.intp], spacing_mm: Spacing) -> NDArray[np.float64]:
    return np.ascontiguousarray((places * np.array(spacing_mm)[:, None]).T)
