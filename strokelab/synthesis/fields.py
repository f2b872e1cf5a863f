"""Smooth random fields over a virtual grid, evaluated on a box of it: cubic B-splines, Legendre sums.

A field belongs to the whole grid, whichever box of it is evaluated. Knows no images.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.errors import ConfigError
from strokelab.synthesis.axis_products import Box, Span

Range = tuple[float, float]
Size = tuple[int, int, int]
Floats = NDArray[np.floating[Any]]


def checked(owner: object, *, least: float = -math.inf, most: float = math.inf, names: tuple[str, ...]) -> None:
    """Hold settings against their limits: numbers, or ranges whose lower end comes first.

    Args:
        owner: the settings.
        least: smallest value allowed, at either end of a range.
        most: largest value allowed.
        names: of its fields.

    Raises:
        ConfigError: a value beyond a limit, not a number, or a range in the wrong order.
    """
    for name in names:
        value = getattr(owner, name)
        ends = [value] if isinstance(value, int | float) else list(value)
        ranged = not isinstance(value, int | float)
        right = all(isinstance(end, int | float) and least <= end <= most for end in ends)  # NaN is in no range
        if not right or (ranged and (len(ends) != 2 or ends[0] > ends[1])):
            raise ConfigError(
                f"{type(owner).__name__}.{name}",
                found=str(value if not ranged else ends),
                expected=f"{'two numbers, the smaller one first' if ranged else 'a number'}, {least:g} to {most:g}",
                remedy="correct the setting",
            )


def points_sampled(stream: np.random.Generator, limits: Range) -> tuple[int, int, int]:
    """Control points along x, y and z, each uniform over the whole numbers of the range, both ends included."""
    x, y, z = (int(stream.integers(int(limits[0]), int(limits[1]), endpoint=True)) for _ in range(3))
    return x, y, z


def spline_weights(points: int, side: int, span: Span) -> Tensor:
    """What each control point weighs at some voxels of an axis: (voxels, points) float32, rows sum to 1.

    The first and last control point lie at the centres of the axis' first and last voxel; beyond them they are
    repeated. So a field never leaves the range of its coefficients.

    Args:
        points: control points, at least 2.
        side: voxels of the whole axis.
        span: the voxels wanted.
    """
    at = torch.arange(*span, dtype=torch.float64) * ((points - 1) / max(1, side - 1))
    first = at.floor().clamp_max_(points - 2)
    t = at - first
    cubic = torch.stack([(1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3], 1) / 6
    columns = (first.long()[:, None] + torch.arange(-1, 3)).clamp_(0, points - 1)
    return torch.zeros(len(at), points, dtype=torch.float64).scatter_add_(1, columns, cubic).float()


def spline_field(coefficients: Floats, grid: Size, box: Box, device: torch.device) -> Tensor:
    """Cubic B-spline fields on a box: (..., X, Y, Z) float32.

    Args:
        coefficients: (..., points along x, along y, along z).
        grid: voxels of the whole grid.
        box: the part wanted.
        device: of the result.
    """
    field = torch.as_tensor(coefficients, dtype=torch.float32, device=device)
    wide = [
        spline_weights(points, side, span).to(device)
        for points, side, span in zip(field.shape[-3:], grid, box, strict=True)
    ]
    field = wide[1] @ (field @ wide[2].T)
    return (wide[0] @ field.flatten(-2)).view(*field.shape[:-3], len(wide[0]), *field.shape[-2:])


def legendre_terms(degree: int) -> list[tuple[int, int, int]]:
    """All (i, j, k) with i + j + k <= degree: 120 for degree 7."""
    return [(i, j, k) for i in range(degree + 1) for j in range(degree + 1 - i) for k in range(degree + 1 - i - j)]


def legendre_sum(coefficients: Floats, degree: int, grid: Size, box: Box) -> Tensor:
    """The sum of c_ijk P_i(x) P_j(y) P_k(z) on a box, coordinates -1..1 over the whole grid: (X, Y, Z) float64.

    Args:
        coefficients: one for each of ``legendre_terms(degree)``, in that order.
        degree: the largest i + j + k.
        grid: voxels of the whole grid.
        box: the part wanted.
    """
    cube = np.zeros((degree + 1,) * 3)
    cube[tuple(np.transpose(legendre_terms(degree)))] = coefficients
    for side, span in zip(grid, box, strict=True):
        at = np.arange(*span) * (2 / max(1, side - 1)) - 1
        values = np.polynomial.legendre.legvander(at, degree)
        cube = np.tensordot(cube, values, axes=([0], [1]))  # consumes the leading axis, appends the sampled one
    return torch.from_numpy(np.ascontiguousarray(cube))
