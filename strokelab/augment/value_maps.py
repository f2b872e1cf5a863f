"""Smooth changes of grey values: a piecewise linear map, a bias field, a z-score. Knows one channel; samples nothing.

Functions change a channel (Z, Y, X) of any device in place; one of a single grey value stays, or becomes 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import torch
from torch import Tensor


def histogram_shift_(channel: Tensor, points: Sequence[float]) -> None:
    """A piecewise linear map of the range onto itself.

    Args:
        channel: (Z, Y, X).
        points: where equal parts of the range (0..1) end, from 0 to 1: evenly spaced ones change nothing (MONAI's
            ``RandHistogramShift``).
    """
    low, high = channel.aminmax()
    width = high - low
    parts = len(points) - 1
    place = ((channel - low) / torch.where(width > 0, width, 1)).mul_(parts).clamp_(0, parts)
    below = place.to(torch.int32).clamp_(max=parts - 1)
    ends = torch.tensor(points, dtype=channel.dtype, device=channel.device)
    moved = torch.lerp(ends[below], ends[below + 1], place.sub_(below))
    channel.copy_(moved.mul_(width).add_(low))


def bias_terms(degree: int) -> list[tuple[int, int, int]]:
    """Exponents (i, j, k) with i + j + k <= degree along x, y and z: 20 for degree 3."""
    powers = range(degree + 1)
    return [(i, j, k) for i, j, k in product(powers, powers, powers) if i + j + k <= degree]


def bias_(channel: Tensor, coefficients: Sequence[float], degree: int = 3) -> None:
    """Multiply by exp(sum of c_ijk P_i(x) P_j(y) P_k(z)), P of Legendre, coordinates -1..1 over the channel.

    Args:
        channel: (Z, Y, X).
        coefficients: of ``bias_terms(degree)``.
        degree: of the polynomial.
    """
    cube: Tensor = torch.zeros(3 * (degree + 1,))
    for powers, value in zip(bias_terms(degree), coefficients, strict=True):
        cube[powers[::-1]] = value
    field = cube.to(channel.device)
    for side in channel.shape:  # axis after axis comes first and goes last
        values = np.polynomial.legendre.legvander(np.linspace(-1, 1, side), degree)
        field = torch.tensordot(field, torch.from_numpy(values).to(field), dims=([0], [1]))
    channel.mul_(field.exp_())


def zscore_(channel: Tensor) -> None:
    """Mean 0 and standard deviation 1 over all voxels; 0 where there is but one grey value."""
    mean = channel.mean()
    spread = channel.sub_(mean).square().mean().sqrt()  # six digits over millions of voxels; a norm has three
    there = spread > 1e-6 * torch.hypot(mean, spread)
    channel.mul_(torch.where(there, 1 / torch.where(there, spread, 1), 0))
