"""One change of place for a whole patch: where each of its voxels is read. Knows geometry; knows no images.

A warp maps an output voxel o to the source position ``matrix @ (o + d(o))``, both measured in voxels from the common
centre of patch and source box; d is a smooth random shift. Rotation, zoom and elastic deformation are thus one
sampling grid, and how far it reaches is known before anything is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
IDENTITY: Matrix = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_CHUNK = 1 << 17
"""Voxels of a chunk on a processor: its coordinates and corners then stay in the cache of a core."""


@dataclass(frozen=True)
class Elastic:
    """A smooth random shift of each voxel.

    Args:
        sigma: standard deviation of the smoothing, voxels (x, y, z).
        shift: the largest shift along each axis, voxels; unused where there is a ``magnitude``.
        seed: of the noise that is smoothed.
        magnitude: what the smoothed noise is multiplied by, voxels: U(-1, 1) at every voxel, under a Gaussian of unit
            sum (MONAI's ``Rand3DElastic``); None: it is rescaled to ``shift``.
    """

    sigma: tuple[float, float, float]
    shift: tuple[float, float, float]
    seed: int
    magnitude: float | None = None


@dataclass(frozen=True)
class Warp:
    """Rotation, zoom and elastic deformation as one.

    Args:
        matrix: source offset from output offset, rows and columns x, y, z.
        elastic: the shift before it; None = none.
    """

    matrix: Matrix = IDENTITY
    elastic: Elastic | None = None

    @classmethod
    def of(cls, matrix: NDArray[np.float64], elastic: Elastic | None = None) -> Warp:
        """From a matrix (3, 3) as an array."""
        rows = [(float(row[0]), float(row[1]), float(row[2])) for row in matrix]
        return cls((rows[0], rows[1], rows[2]), elastic)

    def source(self, patch: tuple[int, int, int], taps: int) -> tuple[int, int, int]:
        """The smallest box, concentric with the patch and never below it, that holds all voxels the warp reads.

        Args:
            patch: voxels (x, y, z).
            taps: source voxels of one sample along an axis: 2 for linear, 4 for cubic interpolation.
        """
        shift = self.elastic.shift if self.elastic else (0.0, 0.0, 0.0)
        half = [(side - 1) / 2 + reach for side, reach in zip(patch, shift, strict=True)]
        reaches = [sum(abs(entry) * length for entry, length in zip(row, half, strict=True)) for row in self.matrix]
        # A thousandth of a voxel for rounding: the upper neighbour of the outermost sample must exist, too.
        margins = [
            max(0, math.floor(reach - (side - 1) / 2 + 1e-3) + taps // 2)
            for reach, side in zip(reaches, patch, strict=True)
        ]
        return (patch[0] + 2 * margins[0], patch[1] + 2 * margins[1], patch[2] + 2 * margins[2])


def rotation_matrix(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3, 3): rotation by three angles (radians) about x, y and z, one after the other."""
    matrix: NDArray[np.float64] = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = math.cos(angle)
        turn[first, second], turn[second, first] = -math.sin(angle), math.sin(angle)
        matrix = turn @ matrix
    return matrix


def sampling_positions(
    warp: Warp, patch: tuple[int, int, int], source: tuple[int, int, int], device: torch.device
) -> Iterator[tuple[slice, tuple[Tensor, Tensor, Tensor]]]:
    """Where the patch is read in its source box, some slices at a time (all at once on a GPU).

    Yields:
        A slice of z, and the source coordinates (x, y, z) of its voxels in voxels from the box's first one, each
        (slices, Y, X) float32.
    """
    out_x, out_y, out_z = (torch.arange(side, dtype=torch.float32, device=device) - (side - 1) / 2 for side in patch)
    # (Y, X) planes and (Z, 1, 1) columns: their sum is the affine part.
    planes = [row[0] * out_x + row[1] * out_y[:, None] for row in warp.matrix]
    columns = [(row[2] * out_z + (side - 1) / 2)[:, None, None] for row, side in zip(warp.matrix, source, strict=True)]
    shifts = None if warp.elastic is None else smooth_shift(warp.elastic, patch, device)
    step = patch[2] if device.type != "cpu" else max(1, _CHUNK // (patch[0] * patch[1]))
    for first in range(0, patch[2], step):
        part = slice(first, min(first + step, patch[2]))
        x, y, z = (plane + column[part] for plane, column in zip(planes, columns, strict=True))
        if shifts is not None:
            for position, row in zip((x, y, z), warp.matrix, strict=True):
                for entry, shift in zip(row, shifts, strict=True):
                    if entry != 0:
                        position.add_(shift[part], alpha=entry)
        yield part, (x, y, z)


def smooth_shift(elastic: Elastic, patch: tuple[int, int, int], device: torch.device) -> Tensor:
    """Uniform noise, smoothed by a Gaussian and rescaled to the largest shift of each axis, or by the magnitude.

    Noise lies on a lattice as coarse as the smoothing allows (one standard deviation), beyond the borders, too, so
    that shifts are as strong there as inside; kernel and interpolation are one small matrix product per axis.

    Returns:
        (3, Z, Y, X) float32: the shift along x, y and z, voxels.
    """
    kernels = [_smoothing(side, sigma, device) for side, sigma in zip(patch[::-1], elastic.sigma[::-1], strict=True)]
    lattice = tuple(kernel.shape[1] for kernel in kernels)
    noise = np.random.Generator(np.random.PCG64(elastic.seed)).random((3, *lattice), dtype=np.float32)
    field = torch.from_numpy(noise).to(device).mul_(2).sub_(1)
    field = field @ kernels[2].T
    field = kernels[1] @ field
    field = (kernels[0] @ field.flatten(2)).view(3, patch[2], patch[1], patch[0])
    if elastic.magnitude is not None:
        return field.mul_(_as_of_each_voxel(elastic))
    flat = field.flatten(1)
    low, high = flat.aminmax(dim=1)
    largest = torch.maximum(-low, high).clamp_min(1e-12)
    factor = torch.tensor(elastic.shift, device=device) / largest
    return field.mul_(factor[:, None, None, None])


def _as_of_each_voxel(elastic: Elastic) -> float:
    """The factor on lattice noise under a Gaussian of height 1 that gives noise at each voxel under one of sum 1.

    On a lattice as coarse as the Gaussian is wide, squared weights add up to the same everywhere, to 1 in 10,000, so
    that the factor is the root of the lattice's spacing over the Gaussian's sum, along each axis.
    """
    return (elastic.magnitude or 0) * math.prod(
        math.sqrt(_spacing(sigma)) / (math.sqrt(2 * math.pi) * sigma) for sigma in elastic.sigma
    )


def _spacing(sigma: float) -> float:
    """Voxels between the points of the lattice: sigma, but not below 1."""
    return max(1.0, sigma)


def _smoothing(side: int, sigma: float, device: torch.device) -> Tensor:
    """(side, lattice points): a Gaussian around each lattice point."""
    spacing = _spacing(sigma)
    beyond = math.ceil(3 * sigma / spacing)
    points = (torch.arange(-beyond, math.ceil((side - 1) / spacing) + beyond + 1, device=device)) * spacing
    distance = torch.arange(side, dtype=torch.float32, device=device)[:, None] - points
    return torch.exp(-0.5 * (distance / max(sigma, 1e-3)) ** 2)
