"""Changes that work along one axis at a time: blur, low resolution. Knows volumes (Z, Y, X); draws nothing.

Along z and y whole rows are added up, which costs little more than copying them. Along x, where memory runs, voxels
would have to be picked one by one: a product with a small matrix is faster there.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from strokelab.augment.interpolation import keys_weights


def blur(volume: Tensor, sd: float) -> Tensor:
    """A Gaussian blur of (Z, Y, X), ``sd`` in voxels, cut at four of them; borders are mirrored."""
    for axis, side in enumerate(volume.shape):
        reach = min(max(1, math.ceil(4 * sd)), side)
        weights = [math.exp(-0.5 * (step / sd) ** 2) for step in range(-reach, reach + 1)]
        total = sum(weights)
        first, last = volume.narrow(axis, 0, reach), volume.narrow(axis, side - reach, reach)
        padded = torch.cat([first.flip(axis), volume, last.flip(axis)], axis)
        out = padded.narrow(axis, 0, side) * (weights[0] / total)
        for step, weight in enumerate(weights[1:], start=1):
            out.add_(padded.narrow(axis, step, side), alpha=weight / total)
        volume = out
    return volume


def low_resolution(volume: Tensor, zoom: float) -> Tensor:
    """(Z, Y, X) brought down to ``zoom`` of its sides by nearest neighbour and up again by cubic convolution."""
    depth, height, width = volume.shape
    few = [max(1, round(side * zoom)) for side in volume.shape]
    for axis in (0, 1):
        volume = volume.index_select(axis, nearest_voxels(volume.shape[axis], few[axis]).to(volume.device))
    volume = volume @ _down_and_up(width, few[2]).T.to(volume.device)
    for axis, side in ((1, height), (0, depth)):
        voxels, weights = (tensor.to(volume.device) for tensor in cubic_taps(few[axis], side))
        shape = (-1, 1) if axis == 1 else (-1, 1, 1)
        out = volume.index_select(axis, voxels[0]) * weights[0].view(shape)
        for voxel, weight in zip(voxels[1:], weights[1:], strict=True):
            out.addcmul_(volume.index_select(axis, voxel), weight.view(shape))
        volume = out
    return volume


def nearest_voxels(side: int, few: int) -> Tensor:
    """(few,) indices: the voxel of ``side`` in which the centre of each of ``few`` equal parts lies."""
    return ((torch.arange(few, dtype=torch.float64) + 0.5) * side / few).long().clamp_max(side - 1)


def cubic_taps(few: int, side: int) -> tuple[Tensor, Tensor]:
    """Cubic convolution from ``few`` voxels to ``side``: four voxels (4, side) and weights (4, side) for each."""
    position = (torch.arange(side, dtype=torch.float64) + 0.5) * few / side - 0.5
    lowest = position.floor()
    voxels = (lowest.long() + torch.arange(-1, 3)[:, None]).clamp(0, few - 1)  # beyond the border: its voxel again
    return voxels, torch.stack(keys_weights(position - lowest)).float()


def _down_and_up(side: int, few: int) -> Tensor:
    """(side, side): what ``low_resolution`` does along an axis."""
    voxels, weights = cubic_taps(few, side)
    return torch.zeros(side, side).scatter_add_(1, nearest_voxels(side, few)[voxels].T, weights.T)
