"""Affine and elastic deformation as one coordinate field (SynthStroke, section 3, step 4). Knows no images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.augment.warp import rotation_matrix
from strokelab.buildable import buildable
from strokelab.synthesis.axis_products import Box
from strokelab.synthesis.fields import Range, Size, checked, points_sampled, spline_weights


@dataclass(frozen=True)
class Warp:
    """Where each voxel of the grid is read: ``centre + matrix @ (voxel - centre) + shift + d(voxel)``, in voxels.

    Args:
        matrix: (3, 3).
        shift: (3,), in shares of the grid's sides.
        elastic: (3, points, points, points): control points of d, in shares of the grid's sides; None = no d.
    """

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    elastic: NDArray[np.float64] | None = None

    def positions(self, grid: Size, box: Box, low: Size, device: torch.device) -> Tensor:
        """Where the voxels of a box are read: (3, X, Y, Z) float32.

        The last axis of the spline's product is put together with the affine part: one pass over the memory makes both.

        Args:
            grid: voxels of the whole grid.
            box: the part wanted.
            low: the voxel of the grid that positions count from.
            device: of the result.
        """
        centre = [(side - 1) / 2 for side in grid]
        away = [torch.arange(*span, dtype=torch.float64) - half for span, half in zip(box, centre, strict=True)]
        shape = [len(part) for part in away]
        matrix = torch.from_numpy(self.matrix)
        out = torch.empty(3, *shape, device=device)
        wide = None
        if self.elastic is not None:
            points = self.elastic.shape[1:]
            weights = [spline_weights(*each) for each in zip(points, grid, box, strict=True)]
            sides = torch.tensor(grid, dtype=torch.float32).view(3, 1, 1, 1)
            control = torch.as_tensor(self.elastic, dtype=torch.float32) * sides
            wide = (weights[1].to(device) @ (control.to(device) @ weights[2].to(device).T)).flatten(2)
        ones = torch.ones(shape[0], 1)
        for axis in range(3):
            offset = centre[axis] + float(self.shift[axis]) * grid[axis] - low[axis]
            plane = matrix[axis, 1] * away[1][:, None] + matrix[axis, 2] * away[2] + offset
            left = [ones, away[0][:, None].float()]
            right = [plane.flatten()[None], torch.full((1, shape[1] * shape[2]), float(matrix[axis, 0]))]
            both = [torch.cat(left, 1).to(device), torch.cat(right).float().to(device)]
            if wide is not None:
                both = [torch.cat([both[0], weights[0].to(device)], 1), torch.cat([both[1], wide[axis]])]
            torch.mm(both[0], both[1], out=out[axis].view(shape[0], -1))
        return out


@buildable(training="data", most={"points": 64, "zoom": 4}, least={"points": 2, "zoom": 0.25})
@dataclass(frozen=True, kw_only=True)
class Deformation:
    """Random affine and elastic deformations; the defaults are the paper's ranges (low, high), uniform.

    Args:
        rotation: degrees, about each axis.
        shear: of each pair of axes.
        zoom: factor on coordinates along each axis.
        translation: shares of the field of view, along each axis.
        points: control points of the elastic part along each axis, whole numbers.
        strength: largest control value of the elastic part, shares of the field of view; sampled once for a sample,
            the values then within plus and minus that.

    Raises:
        ConfigError: a range beyond its limits or in the wrong order.
    """

    rotation: Range = (-15.0, 15.0)
    shear: Range = (-0.012, 0.012)
    zoom: Range = (0.85, 1.15)
    translation: Range = (-0.1, 0.1)
    points: Range = (2, 10)
    strength: Range = (0.0, 0.05)

    def __post_init__(self) -> None:
        checked(self, least=-180, most=180, names=("rotation",))
        checked(self, least=-1, most=1, names=("shear", "translation"))
        checked(self, least=0.25, most=4, names=("zoom",))
        checked(self, least=2, most=64, names=("points",))
        checked(self, least=0, most=1, names=("strength",))

    def sampled(self, stream: np.random.Generator) -> Warp:
        """One deformation."""
        turns = np.radians(stream.uniform(*self.rotation, 3))
        matrix = (
            rotation_matrix(turns) @ _shear(stream.uniform(*self.shear, 3)) @ np.diag(stream.uniform(*self.zoom, 3))
        )
        shift = stream.uniform(*self.translation, 3)
        points = points_sampled(stream, self.points)
        strength = stream.uniform(*self.strength)
        return Warp(matrix, shift, stream.uniform(-strength, strength, (3, *points)))


def _shear(shears: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3): ones on the diagonal, the shears of xy, xz and yz above it."""
    matrix: NDArray[np.float64] = np.eye(3)
    matrix[[0, 0, 1], [1, 2, 2]] = shears
    return matrix
