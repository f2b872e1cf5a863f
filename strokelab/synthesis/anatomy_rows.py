"""Maps as rows of those voxels that hold something, read at arbitrary positions in one go. Knows no meaning of them.

Most of a head's grid is empty. So only voxels with content are kept, all their maps side by side in a row, and a table
says which row a voxel has. A position outside the content costs one look at a byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag, pad

from strokelab.synthesis.axis_products import Box

_CHUNK = 1 << 16
"""Positions read at once: what belongs to them stays in the cache of a core."""


def offset_of(side: int, grid: int) -> int:
    """Where the first voxel of an axis lies on the grid when both are laid centre on centre; negative: before it."""
    return (grid - side) // 2 if side <= grid else -((side - grid) // 2)


def cut(volume: Tensor, grid: tuple[int, int, int], box: Box) -> Tensor:
    """A box of the grid (..., X, Y, Z) from a volume that lies centrally on it, with zeros where it has no voxels."""
    beyond: list[int] = []
    for axis, ((low, high), side) in enumerate(zip(box, grid, strict=True), start=-3):
        first = offset_of(volume.shape[axis], side)
        inside = max(low, first), max(low, min(high, first + volume.shape[axis]))
        beyond = [min(inside[0], high) - low, high - inside[1] if inside[1] > inside[0] else high - low, *beyond]
        if inside[1] <= inside[0]:
            beyond[0] = 0
            volume = volume.narrow(axis, 0, 0)
        else:
            volume = volume.narrow(axis, inside[0] - first, inside[1] - inside[0])
    return pad(volume, beyond) if any(beyond) else volume


def extent(mask: Tensor) -> Box | None:
    """The smallest box that holds all of a mask (X, Y, Z); None where it is empty."""
    planes = mask.any(2)
    found = [planes.any(1).nonzero(), planes.any(0).nonzero(), mask.any(0).any(0).nonzero()]
    if not len(found[0]):
        return None
    x, y, z = ((int(axis[0]), int(axis[-1]) + 1) for axis in found)
    return x, y, z


def united(first: Box | None, second: Box | None) -> Box | None:
    """The smallest box that holds both."""
    if first is None or second is None:
        return first or second
    x, y, z = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(first, second, strict=True))
    return x, y, z


@dataclass(frozen=True)
class Rows:
    """Voxels with content.

    Args:
        values: (1 + voxels, maps) float32; the first row is empty.
        table: (X, Y, Z) int32: the row of each voxel of the box, with a border of one empty voxel on all sides.
        occupied: (X, Y, Z) bool: whether any of the eight corners from this voxel on has a row.
        low: where the table's first voxel lies on the grid (one before the box).
    """

    values: Tensor
    table: Tensor
    occupied: Tensor
    low: tuple[int, int, int]

    @classmethod
    def of(cls, content: Tensor, values: Tensor, box: Box) -> Rows:
        """From a mask (X, Y, Z) of a box and the rows (voxels, maps) of what it holds, in the mask's order."""
        mask = pad(content, (1,) * 6)
        table = torch.zeros(mask.shape, dtype=torch.int32, device=mask.device)
        table[mask] = torch.arange(1, len(values) + 1, dtype=torch.int32, device=mask.device)
        occupied = mask.clone()
        for axis in range(3):
            side = occupied.shape[axis] - 1
            wider = occupied.narrow(axis, 0, side) | occupied.narrow(axis, 1, side)
            occupied.narrow(axis, 0, side).copy_(wider)
        rows = torch.cat([values.new_zeros(1, values.shape[1]), values])
        x, y, z = (low - 1 for low, _ in box)
        return cls(rows, table, occupied, (x, y, z))

    def reached(self, positions: Tensor) -> Tensor:
        """Flat indices (N,) of those positions (3, X, Y, Z) at which some map may be other than 0, ascending."""
        found = []
        flat = positions.flatten(1)
        for first in range(0, flat.shape[1], _CHUNK):
            part = flat[:, first : first + _CHUNK]
            index, inside = self._lowest(part)
            inside &= self.occupied.view(-1).take(index)
            found.append(inside)
        return torch.cat(found).nonzero().flatten()

    def _lowest(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Flat index of each position's lowest corner in the table, and whether all its corners are in the table."""
        index = torch.zeros(positions.shape[1], dtype=torch.int64, device=positions.device)
        inside = torch.ones(positions.shape[1], dtype=torch.bool, device=positions.device)
        for axis, side in enumerate(self.table.shape):
            corner = (positions[axis] - self.low[axis]).floor()
            inside &= (corner >= 0) & (corner < side - 1)
            index.mul_(side).add_(corner.clamp_(0, side - 2).long())
        return index, inside

    def read(self, positions: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Linear interpolation at positions (3, N) whose corners are in the table, some at a time.

        Yields:
            Which positions, and their values (n, maps) float32.
        """
        strides = (self.table.shape[1] * self.table.shape[2], self.table.shape[2], 1)
        steps = [i * strides[0] + j * strides[1] + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        offsets = torch.tensor(steps, device=positions.device)
        flat = self.table.view(-1)
        for first in range(0, positions.shape[1], _CHUNK):
            part = slice(first, min(first + _CHUNK, positions.shape[1]))
            index = torch.zeros(part.stop - first, dtype=torch.int64, device=positions.device)
            weight = torch.ones(part.stop - first, 1, device=positions.device)
            for axis, stride in enumerate(strides):
                at = positions[axis, part] - self.low[axis]
                corner = at.floor()
                index.add_(corner.long(), alpha=stride)
                up = at.sub_(corner)
                weight = (weight[:, :, None] * torch.stack([1 - up, up], 1)[:, None]).flatten(1)
            corners = flat.take(index[:, None] + offsets)
            yield part, embedding_bag(corners, self.values, per_sample_weights=weight, mode="sum")
