"""Changes that work along one axis at a time: blur, low resolution. Knows small matrices; draws nothing.

A blur, and going down to few voxels and up again, are linear along each axis: one (side, side) matrix, applied as a
matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from strokelab.augment.interpolation import keys_weights


def blur(volume: Tensor, sd: float) -> Tensor:
    """A Gaussian blur of (Z, Y, X), ``sd`` in voxels; borders are mirrored."""
    return along_axes(volume, lambda side: gaussian_matrix(side, sd))


def low_resolution(volume: Tensor, zoom: float) -> Tensor:
    """(Z, Y, X) brought down to ``zoom`` of its sides by nearest neighbour and up again by cubic convolution."""
    return along_axes(volume, lambda side: low_resolution_matrix(side, zoom))


def along_axes(volume: Tensor, matrix_of: Callable[[int], Tensor]) -> Tensor:
    """``matrix_of(side)`` (side, side) applied along z, y and x of a dense (Z, Y, X)."""
    z, y, x = (matrix_of(side).to(volume.device) for side in volume.shape)
    volume = (z @ volume.flatten(1)).view_as(volume)
    return (y @ volume) @ x.T


def gaussian_matrix(side: int, sd: float) -> Tensor:
    """(side, side): row i weighs the voxels around i by a Gaussian cut at four sd, mirrored at the borders."""
    reach = max(1, math.ceil(4 * sd))
    steps = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (steps / max(sd, 1e-3)) ** 2)
    # Mirrored about the outer face: -1 is 0, side is side - 1; as often as the reach needs.
    voxels = (torch.arange(side)[:, None] + steps) % (2 * side)
    voxels = torch.minimum(voxels, 2 * side - 1 - voxels)
    return torch.zeros(side, side).scatter_add_(1, voxels, (weights / weights.sum()).expand(side, -1))


def low_resolution_matrix(side: int, zoom: float) -> Tensor:
    """(side, side): nearest-neighbour sampling at max(1, round(side * zoom)) voxels, then cubic back to ``side``."""
    few = max(1, round(side * zoom))
    nearest = ((torch.arange(few, dtype=torch.float64) + 0.5) * side / few).long().clamp_max(side - 1)
    position = (torch.arange(side, dtype=torch.float64) + 0.5) * few / side - 0.5
    lowest = position.floor()
    weights = torch.stack(keys_weights(position - lowest), 1).float()
    voxels = (lowest.long()[:, None] + torch.arange(-1, 3)).clamp(0, few - 1)
    return torch.zeros(side, side).scatter_add_(1, nearest[voxels], weights)
