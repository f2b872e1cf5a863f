"""Distances between the surfaces of two masks, in every variant in use. Knows masks and spacing; knows no lesions.

The surface of a mask is what one erosion takes away, everything outside the grid counting as background. Both masks
empty: all distances 0. One of them empty: all distances infinite, since any number would depend on the field of view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from strokelab.metrics.overlap import Mask

Spacing = tuple[float, float, float]
_Statistic = Callable[[NDArray[np.float64], NDArray[np.float64]], Any]


@dataclass(frozen=True)
class Distances:
    """From every surface voxel of one mask to the nearest surface voxel of the other.

    Infinite where the other mask is empty, of length 0 where the own mask is.
    """

    from_prediction: NDArray[np.float64]  # (number of surface voxels,), mm
    from_reference: NDArray[np.float64]


def surface(mask: Mask, neighbours: Literal[6, 26] = 6) -> Mask:
    """Voxels of a mask (X, Y, Z) that vanish under one erosion with its 6 face, or all 26, neighbours."""
    padded = np.pad(mask, 1)
    if neighbours == 6:
        core = padded[1:-1, 1:-1, 1:-1]
        inside = core & padded[:-2, 1:-1, 1:-1] & padded[2:, 1:-1, 1:-1] & padded[1:-1, :-2, 1:-1]
        inside &= padded[1:-1, 2:, 1:-1] & padded[1:-1, 1:-1, :-2] & padded[1:-1, 1:-1, 2:]
        return mask & ~inside
    inside = padded[:-2] & padded[1:-1] & padded[2:]  # the 3 x 3 x 3 cube is separable
    inside = inside[:, :-2] & inside[:, 1:-1] & inside[:, 2:]
    return mask & ~(inside[..., :-2] & inside[..., 1:-1] & inside[..., 2:])


def surface_distances(
    prediction: Mask, reference: Mask, spacing_mm: Spacing, *, neighbours: Literal[6, 26] = 6
) -> Distances:
    """Directed distances both ways between two masks (X, Y, Z).

    Args:
        prediction: boolean mask.
        reference: boolean mask of the same shape.
        spacing_mm: voxel spacing along X, Y, Z in mm; (1, 1, 1) gives distances in voxels.
        neighbours: element of the erosion that defines the surface.
    """
    one, other = surface(prediction, neighbours), surface(reference, neighbours)
    return both_ways(one, other, spacing_mm)


def both_ways(one: Mask, other: Mask, spacing_mm: Spacing) -> Distances:
    """From every set voxel of each mask (X, Y, Z) to the nearest set voxel of the other, mm, in C order."""
    points, goals = (_points(mask, spacing_mm) for mask in (one, other))
    shared = one & other  # at distance 0 without a search
    return Distances(_nearest(points, goals, shared[one]), _nearest(goals, points, shared[other]))


def hausdorff(distances: Distances) -> float:
    """The larger of the two directed maxima (HD)."""
    return _both(distances, lambda a, b: max(a.max(), b.max()))


def hausdorff_95(distances: Distances, *, pooled: bool = False) -> float:
    """95th percentile instead of the maximum (HD95), with linear interpolation.

    Args:
        distances: both directions.
        pooled: take one percentile over both directions together (MedPy's way), not the larger of the two directed
            percentiles (MONAI's way, the stricter one).
    """
    if pooled:
        return _both(distances, lambda a, b: np.percentile(np.concatenate([a, b]), 95))
    return _both(distances, lambda a, b: max(np.percentile(a, 95), np.percentile(b, 95)))


def average_distance(distances: Distances, *, pooled: bool = True) -> float:
    """Average symmetric surface distance (ASSD).

    Args:
        distances: both directions.
        pooled: mean over all surface voxels of both masks (MONAI's way), not the mean of the two directed means
            (MedPy's way). The area-weighted variant is ``surfels.average_distance_by_area``.
    """
    if pooled:
        return _both(distances, lambda a, b: np.concatenate([a, b]).mean())
    return _both(distances, lambda a, b: (a.mean() + b.mean()) / 2)


def _points(mask: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    # The flat search is several times faster than np.argwhere on a sparse mask.
    indices = np.unravel_index(np.flatnonzero(mask), mask.shape)
    points = np.empty((len(indices[0]), 3))
    for axis in range(3):
        np.multiply(indices[axis], spacing_mm[axis], out=points[:, axis])
    return points


def _nearest(points: NDArray[np.float64], goals: NDArray[np.float64], shared: Mask) -> NDArray[np.float64]:
    if len(goals) == 0:
        return np.full(len(points), np.inf)
    distances = np.zeros(len(points))
    if not shared.all():
        tree = cKDTree(goals, compact_nodes=False, balanced_tree=False)
        distances[~shared] = tree.query(points[~shared])[0]
    return distances


def _both(distances: Distances, statistic: _Statistic) -> float:
    a, b = distances.from_prediction, distances.from_reference
    if len(a) == 0 and len(b) == 0:
        return 0.0
    if len(a) == 0 or len(b) == 0:
        return float("inf")
    return float(statistic(a, b))
