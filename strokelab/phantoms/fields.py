"""Smooth random fields on world-aligned grids. Knows millimetres; knows no anatomy and no images.

A field is a cubic B-spline over a lattice that is fixed in the world: the same stream gives the same field at every
voxel spacing, so that a subject at 4 mm is the subject at 1 mm seen coarsely.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strokelab.grid import Grid

Volume = NDArray[np.float32]
Axes = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
REACH_MM = 160.0  # the lattice covers -REACH..REACH on every axis
_MEAN_SQUARE = 151 / 315  # of the cubic B-spline's weights, averaged over the phase


def axes_of(grid: Grid) -> Axes:
    """World coordinates (mm) of the voxel centres along each axis of an axis-aligned grid."""
    x, y, z = (grid.matrix[i, i] * np.arange(grid.shape[i]) + grid.matrix[i, 3] for i in range(3))
    return x, y, z


def smooth_field(stream: np.random.Generator, axes: Axes, pitch_mm: float) -> Volume:
    """A random field (X, Y, Z) of mean 0 and standard deviation 1 whose features are about ``pitch_mm`` wide."""
    count = int(np.ceil(2 * REACH_MM / pitch_mm)) + 4
    field = stream.standard_normal((count, count, count), dtype=np.float32)
    for axis in axes:  # each pass consumes the leading axis and appends the sampled one
        field = np.tensordot(field, _basis(axis, pitch_mm, count), axes=([0], [1]))
    return field.astype(np.float32) * np.float32(_MEAN_SQUARE**-1.5)


def _basis(positions: NDArray[np.float64], pitch_mm: float, count: int) -> NDArray[np.float32]:
    """Cubic B-spline weights (positions, count)."""
    at = (np.clip(positions, -REACH_MM, REACH_MM) + REACH_MM) / pitch_mm
    first = np.floor(at).astype(int)
    t = at - first
    weights = np.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    basis = np.zeros((len(positions), count), dtype=np.float32)
    np.put_along_axis(basis, first[:, None] + np.arange(4), weights.astype(np.float32), axis=1)
    return basis
