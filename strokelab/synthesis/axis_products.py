"""Linear steps that work along one axis at a time, as matrix products: blur, resampling. Knows no images.

A step along an axis of N voxels is a matrix with N columns. Consecutive steps are one matrix; what a box of the result
needs is read off the matrix: those columns that are not zero in its rows. So a crop is computed from a crop, and has
the values that the whole volume would have there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Span = tuple[int, int]
"""First voxel along an axis, and the one after the last."""
Box = tuple[Span, Span, Span]
_BLOCK = 48
"""Rows of a banded matrix that are multiplied at once: few, so that little of what is multiplied is zero."""
SD_OF_FWHM = 1 / math.sqrt(8 * math.log(2))


def gaussian(side: int, fwhm: float) -> Tensor:
    """A Gaussian blur along a whole axis: (side, side) float32.

    At the ends what is left of the kernel is scaled to a sum of 1, so that constant volumes stay constant.

    Args:
        side: voxels of the axis.
        fwhm: full width at half maximum, voxels; 0 = no blur.
    """
    inner = gaussian_inside(side, fwhm)
    beyond = (inner.shape[1] - side) // 2
    kernel = inner[:, beyond : beyond + side]
    return kernel / kernel.sum(1, keepdim=True)


def gaussian_inside(side: int, fwhm: float, *, cut: float = 4.0) -> Tensor:
    """A Gaussian blur along a part of an axis: (side, side + 2 reach) float32, rows sum to 1.

    Args:
        side: voxels wanted; ``reach`` further ones are read on each side.
        fwhm: full width at half maximum, voxels; 0 = no blur.
        cut: standard deviations after which the kernel ends.
    """
    sd = max(fwhm * SD_OF_FWHM, 1e-6)
    reach = math.ceil(cut * sd) if fwhm > 0 else 0
    weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float64) / sd) ** 2)
    out = torch.zeros(side, side + 2 * reach)
    for step, weight in enumerate((weights / weights.sum()).tolist()):
        out.diagonal(step).fill_(weight)
    return out


def linear(few: int, many: int) -> Tensor:
    """Linear interpolation from ``many`` voxels of an axis to ``few``, or the other way: (few, many) float32.

    Both cover the same length, border to border; beyond the outermost centres the outermost values go on.
    """
    position = ((torch.arange(few, dtype=torch.float64) + 0.5) * many / few - 0.5).clamp_(0, many - 1)
    low = position.floor().long().clamp_max_(max(0, many - 2))
    share = (position - low)[:, None]
    out = torch.zeros(few, many, dtype=torch.float64)
    out.scatter_(1, low[:, None], 1 - share)
    return out.scatter_add_(1, (low + 1).clamp_max_(many - 1)[:, None], share).float()


def needed(matrix: Tensor, rows: Span) -> Span:
    """The columns that are not zero somewhere in the rows."""
    columns = matrix[slice(*rows)].count_nonzero(0).nonzero()
    return int(columns[0]), int(columns[-1]) + 1


def along(volume: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """A product along one axis of the last three: (..., X, Y, Z) float32, any of them with other voxels.

    Args:
        volume: (..., X, Y, Z) float32.
        matrix: (rows, columns) float32, columns = voxels along the axis; bands of zeros are not multiplied.
        axis: 0, 1 or 2 for X, Y or Z.
    """
    shape = list(volume.shape)
    at = axis - 3
    if matrix.shape[0] == matrix.shape[1] and bool((matrix == torch.eye(len(matrix))).all()):
        return volume
    shape[at] = len(matrix)
    out = volume.new_empty(shape)
    matrix = matrix.to(volume.device)
    for first in range(0, len(matrix), _BLOCK):
        rows = (first, min(first + _BLOCK, len(matrix)))
        used = needed(matrix, rows)
        part = matrix[slice(*rows), slice(*used)]
        source = volume.narrow(at, used[0], used[1] - used[0])
        target = out.narrow(at, rows[0], rows[1] - rows[0])
        target.copy_(_product(source, part, axis))
    return out


def _product(source: Tensor, part: Tensor, axis: int) -> Tensor:
    if axis == 2:
        return source @ part.T
    if axis == 1:
        return part @ source
    flat = source.reshape(*source.shape[:-2], -1)
    return (part @ flat).view(*source.shape[:-3], len(part), *source.shape[-2:])


def everywhere(volume: Tensor, matrices: Sequence[Tensor]) -> Tensor:
    """Products along X, Y and Z, one matrix each: those first that leave the fewest voxels."""
    for axis in sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1]):
        volume = along(volume, matrices[axis], axis)
    return volume
