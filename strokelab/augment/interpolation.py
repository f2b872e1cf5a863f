"""Volumes read at arbitrary positions: linear, cubic or nearest, masks by their corners. Knows indices; draws nothing.

Volumes are dense (Z, Y, X). The corners of a sample are gathered from the flat volume by one index and fixed
offsets; a mask's eight corners are packed into the bits of one byte first, so that one gather fetches them all.
All positions must lie where every corner exists (``Warp.source`` gives such a box).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass
class Positions:
    """Sampling positions, taken apart once for all volumes that are read there.

    Attributes:
        index: (N,) int32, the flat index of each sample's lowest corner.
        fraction: x, y and z parts (N,) beyond that corner, 0..1.
        strides: flat offsets of the next voxel along x, y, z.
    """

    index: Tensor
    fraction: tuple[Tensor, Tensor, Tensor]
    strides: tuple[int, int, int]

    @classmethod
    def of(cls, coordinates: tuple[Tensor, Tensor, Tensor], source: tuple[int, int, int]) -> Positions:
        """From coordinates (x, y, z), whose memory becomes the fractions, in a volume of ``source`` voxels."""
        strides = (1, source[0], source[0] * source[1])
        x, y, z = (coordinate.flatten() for coordinate in coordinates)
        index = x.to(torch.int32)  # truncation is the floor: coordinates are not negative
        index.add_(y.to(torch.int32), alpha=strides[1]).add_(z.to(torch.int32), alpha=strides[2])
        return cls(index, (x.frac_(), y.frac_(), z.frac_()), strides)

    def corners(self, flat: Tensor, low: int, high: int) -> list[Tensor]:
        """Values (N,) at corners low..high - 1 along each axis, x changing fastest."""
        steps = range(low, high)
        offsets = [
            i * self.strides[0] + j * self.strides[1] + k * self.strides[2] for k in steps for j in steps for i in steps
        ]
        base = offsets[0]  # lowest corner, at or before the index
        index = self.index + base if base else self.index
        return [flat[offset - base :].index_select(0, index) for offset in offsets]


def linear(flat: Tensor, at: Positions) -> Tensor:
    """Trilinear interpolation (N,) of a flat float volume."""
    return _blend(at.corners(flat, 0, 2), at.fraction)


def nearest(flat: Tensor, at: Positions) -> Tensor:
    """Values (N,) of the voxels nearest to the positions, of any dtype; halves go up."""
    up = [(fraction >= 0.5).to(torch.int32) * stride for fraction, stride in zip(at.fraction, at.strides, strict=True)]
    return flat.index_select(0, at.index + up[0] + up[1] + up[2])


def cubic(flat: Tensor, at: Positions) -> Tensor:
    """Interpolation (N,) of a flat float volume by cubic convolution, 64 voxels each (Keys 1981, a = -1/2)."""
    x, y, z = (keys_weights(fraction) for fraction in at.fraction)
    base = -sum(at.strides)
    index = at.index + base
    out = torch.zeros_like(at.fraction[0])
    for k in range(4):
        plane = torch.zeros_like(out)
        for j in range(4):
            offset = k * at.strides[2] + j * at.strides[1]
            row = flat[offset:].index_select(0, index).mul_(x[0])
            for i in range(1, 4):
                row.addcmul_(flat[offset + i :].index_select(0, index), x[i])
            plane.addcmul_(row, y[j])
        out.addcmul_(plane, z[k])
    return out


def keys_weights(fraction: Tensor) -> list[Tensor]:
    """Cubic convolution's weights of the voxels at -1, 0, 1, 2 for a sample at ``fraction`` (Keys 1981, a = -1/2)."""
    t = fraction
    u = 1 - t
    return [-0.5 * t * u * u, 1 + t * t * (1.5 * t - 2.5), 1 + u * u * (1.5 * u - 2.5), -0.5 * u * t * t]


def corner_bits(mask: Tensor) -> Tensor:
    """(Z * Y * X,) uint8: bit b of a voxel is the mask's value at its corner b of eight, x changing fastest.

    Args:
        mask: (Z, Y, X) uint8, 0 or 1.
    """
    bits = mask.flatten().clone()
    length = bits.numel()
    stride = 1
    for doublings, side in enumerate((mask.shape[2], mask.shape[1], mask.shape[0])):
        # Bits already there, of the neighbour along the next axis, move up by their number.
        bits[: length - stride] |= bits[stride:] << (1 << doublings)
        stride *= side
    return bits


def linear_mask(bits: Tensor, at: Positions) -> Tensor:
    """A mask (N,) uint8 at the positions: 1 where trilinear interpolation of 0 and 1 exceeds one half.

    Args:
        bits: of ``corner_bits``.
        at: where.
    """
    found = bits.index_select(0, at.index)
    if found.device.type != "cpu":  # no look at values: that would wait for the device
        return _exceeds_half(found, at.fraction)
    out = (found == 255).view(torch.uint8)
    # Only at the border do the corners differ (neither 0 nor 255); NumPy finds them four times faster than torch.
    border = torch.from_numpy(np.flatnonzero(((found + 1) > 1).numpy()))
    if len(border):
        x, y, z = (fraction.index_select(0, border) for fraction in at.fraction)
        out[border] = _exceeds_half(found.index_select(0, border), (x, y, z))
    return out


_CORNERS = (torch.arange(256)[:, None] >> torch.arange(8) & 1).float().view(256, 2, 2, 2)
"""Each byte's bits as corners (z, y, x)."""


def _exceeds_half(bits: Tensor, fraction: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    x, y, z = fraction
    corners = _CORNERS.to(bits.device).index_select(0, bits.int())
    rows = torch.lerp(corners[..., 0], corners[..., 1], x[:, None, None])
    points = torch.lerp(rows[..., 0], rows[..., 1], y[:, None])
    return (torch.lerp(points[:, 0], points[:, 1], z) > 0.5).to(torch.uint8)


def _blend(corners: list[Tensor], fraction: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    """Eight corners to one value, axis by axis; the corners' memory is used up."""
    for part in fraction:
        corners = [low.lerp_(high, part) for low, high in zip(corners[::2], corners[1::2], strict=True)]
    return corners[0]
