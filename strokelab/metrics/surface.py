"""Distances between the surfaces of two masks, in every variant in use. Knows masks and spacing; knows no lesions.

The surface of a mask is what one erosion takes away, everything outside the grid counting as background. Both masks
empty: all distances 0. One of them empty: all distances infinite, since any number would depend on the field of view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.metrics.nearest import Spacing, both_ways
from strokelab.metrics.overlap import Mask

_Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Distances:
    """From every element of the surface of one mask to the nearest element of the other's.

    Infinite where the other mask is empty, of length 0 where the own mask is.
    """

    from_prediction: _Values  # (number of surface elements,), mm
    from_reference: _Values
    prediction_weights: _Values | None = None  # area of each element, mm^2; None: voxels, each counting once
    reference_weights: _Values | None = None


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
    """Directed distances both ways between the surface voxels of two masks (X, Y, Z).

    Args:
        prediction: boolean mask.
        reference: boolean mask of the same shape.
        spacing_mm: voxel spacing along X, Y, Z in mm; (1, 1, 1) gives distances in voxels.
        neighbours: element of the erosion that defines the surface; 26 in SUNet's code.
    """
    one, other = surface(prediction, neighbours), surface(reference, neighbours)
    return Distances(*both_ways(one, other, spacing_mm))


def hausdorff(distances: Distances) -> float:
    """The larger of the two directed maxima (HD)."""
    return _combined(distances, _maximum, max)


def hausdorff_95(distances: Distances, *, pooled: bool = False) -> float:
    """95th percentile instead of the maximum (HD95).

    Linear interpolation between voxels; of weighted elements the smallest distance within which 95 % of the area lies
    (the surface-distance library's).

    Args:
        distances: both directions.
        pooled: take one percentile over both directions together (MedPy's way), not the larger of the two directed
            percentiles (MONAI's way, the stricter one).
    """
    return _combined(distances, _percentile_95, max, pooled=pooled)


def average_distance(distances: Distances, *, pooled: bool = True) -> float:
    """Average symmetric surface distance (ASSD).

    Args:
        distances: both directions; of weighted elements each mean is weighted by area.
        pooled: mean over all elements of both surfaces (MONAI's way), not the mean of the two directed means (MedPy's
            way, and with areas that of Tomita et al. 2020).
    """
    return _combined(distances, _mean, lambda a, b: (a + b) / 2, pooled=pooled)


def _maximum(values: _Values, weights: _Values | None) -> float:
    return float(values.max())


def _percentile_95(values: _Values, weights: _Values | None) -> float:
    if weights is None:
        return float(np.percentile(values, 95))
    order = np.argsort(values, kind="stable")
    covered = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(covered, 0.95 * covered[-1])])


def _mean(values: _Values, weights: _Values | None) -> float:
    return float(np.average(values, weights=weights))


def _combined(
    distances: Distances,
    statistic: Callable[[_Values, _Values | None], float],
    combine: Callable[[float, float], float],
    *,
    pooled: bool = False,
) -> float:
    """A statistic over both directions together, or of each and then combined."""
    a, b = distances.from_prediction, distances.from_reference
    if len(a) == 0 or len(b) == 0:
        return 0.0 if len(a) == len(b) else float("inf")
    weights = distances.prediction_weights, distances.reference_weights
    if pooled:
        either = None if weights[0] is None or weights[1] is None else np.concatenate([weights[0], weights[1]])
        return statistic(np.concatenate([a, b]), either)
    return combine(statistic(a, weights[0]), statistic(b, weights[1]))
