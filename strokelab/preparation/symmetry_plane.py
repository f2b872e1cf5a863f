"""The plane in which a head looks most like its reflection, by exhaustive search; knows arrays and millimetres alone.

A point p is (3,) mm from the middle of the volume, along the axes of its array. A plane holds the points with
``normal @ p == offset``.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[np.float64]

ANGLES_DEG = np.arange(-25.0, 26.0, 5.0)  # yaw, roll
OFFSETS_MM = np.array([-12.0, -6.0, 0.0, 6.0, 12.0])  # from the centre of the grey values, along the normal
_VOXEL_MM, _SIGMA_MM = 6.0, 3.0
_AROUND_MM = 12.0  # around the brain: what leaves it on one side is missed there
_POINTS = 3000  # are compared; more find no better plane


def reflection(normal: Array, offset: float) -> Array:
    """The reflection in a plane as a matrix (4, 4), mm."""
    matrix = np.eye(4)
    matrix[:3, :3] -= 2 * np.outer(normal, normal)
    matrix[:3, 3] = 2 * offset * normal
    return matrix


def best_reflection(
    image: NDArray[np.float32], brain: NDArray[np.bool_], spacing: tuple[float, float, float], axis: int
) -> Array:
    """The reflection under which an image is most like itself, of 605 (two angles and an offset).

    Args:
        image: (X, Y, Z), 0 outside the head.
        brain: (X, Y, Z), not empty: where the two are compared, and 12 mm around.
        spacing: mm.
        axis: of the array, that runs from left to right.

    Returns:
        Matrix (4, 4), mm.
    """
    smooth = ndimage.gaussian_filter(image, [_SIGMA_MM / mm for mm in spacing], truncate=3.0, mode="constant")
    steps = [max(1, int(_VOXEL_MM / mm)) for mm in spacing]
    first = [(n - 1) % step // 2 for n, step in zip(image.shape, steps, strict=True)]
    kept = tuple(slice(start, None, step) for start, step in zip(first, steps, strict=True))
    coarse = smooth[kept]
    mm = np.multiply(spacing, steps)
    middle = ((np.array(image.shape) - 1) / 2 - first) / steps  # of the volume, in coarse voxels
    reach = [2 * int(np.ceil(_AROUND_MM / side)) + 1 for side in spacing]
    near = ndimage.maximum_filter(brain, reach)[kept]
    places = np.argwhere(near)
    places = places[:: max(1, len(places) // _POINTS)]
    values = coarse[tuple(places.T)].astype(np.float64)
    points = (places - middle) * mm
    weights = np.abs(values) if np.any(values) else np.ones_like(values)
    centre = np.average(points, axis=0, weights=weights)
    straight = _normal(0.0, 0.0, axis)
    best, found = -np.inf, reflection(straight, float(straight @ centre))
    for yaw, roll in product(np.deg2rad(ANGLES_DEG), repeat=2):
        normal = _normal(yaw, roll, axis)
        offsets = normal @ centre + OFFSETS_MM
        distances = (points @ normal)[:, None] - offsets
        reflected = points[:, None] - 2 * distances[..., None] * normal
        at = (reflected / mm + middle).reshape(-1, 3).T
        shown = ndimage.map_coordinates(coarse, at, order=1, mode="constant").reshape(distances.shape)
        for offset, score in zip(offsets, _correlations(values, shown), strict=True):
            if score > best:
                best, found = score, reflection(normal, float(offset))
    return found


def _normal(yaw: float, roll: float, axis: int) -> Array:
    """The unit vector along an axis, turned about the two others, radians."""
    normal = np.empty(3)
    normal[axis] = np.cos(yaw) * np.cos(roll)
    normal[(axis + 1) % 3] = np.sin(yaw) * np.cos(roll)
    normal[(axis + 2) % 3] = np.sin(roll)
    return normal


def _correlations(values: Array, shown: NDArray[np.float32]) -> Array:
    """Pearson's, of (N,) with each column of (N, M); -inf where one of them is constant."""
    one = values - values.mean()
    others = shown - shown.mean(axis=0, dtype=np.float64)
    scale = np.sqrt((one @ one) * np.einsum("nm,nm->m", others, others))
    return np.where(scale > 0, one @ others / np.where(scale > 0, scale, 1), -np.inf)
