"""Maps as rows of those voxels that hold something, read at arbitrary positions in one go. Knows no meaning of them.

Most of a head's grid is empty. So only voxels with content are kept, all their maps side by side in a row, and a table
says which row a voxel has. A position outside the content costs one look at a byte.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from strokelab.synthesis.axis_products import Box
from strokelab.synthesis.fields import Size

_CHUNK = 1 << 16
"""Positions read at once: what belongs to them stays in the cache of a core."""
_BEFORE, _AFTER = 2, 1
"""Empty voxels around the table, so that a position outside it can be moved to its border and finds nothing there."""


def offset_of(side: int, grid: int) -> int:
    """Where the first voxel of an axis lies on the grid when both are laid centre on centre; negative: before it."""
    return (grid - side) // 2 if side <= grid else -((side - grid) // 2)


def flat_nonzero(values: Tensor) -> Tensor:
    """Flat indices (N,) int64 of what is not 0, ascending."""
    if values.device.type == "cpu":  # several times faster than torch's
        return torch.from_numpy(np.flatnonzero(values.numpy()))
    return values.flatten().nonzero().flatten()


def grown(box: Box, by: int, shape: Sequence[int]) -> Box:
    """A box with ``by`` voxels more on each side, as far as the volume goes."""
    x, y, z = ((max(0, low - by), min(side, high + by)) for (low, high), side in zip(box, shape, strict=True))
    return x, y, z


def united(first: Box, second: Box) -> Box:
    """The smallest box that holds both."""
    x, y, z = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(first, second, strict=True))
    return x, y, z


def places(voxels: Tensor, shape: Sequence[int]) -> Tensor:
    """The x, y and z (3, N) int32 of flat indices into a volume."""
    flat = voxels.to(torch.int32)
    out = torch.empty(3, len(flat), dtype=torch.int32, device=flat.device)
    column = torch.div(flat, shape[2], rounding_mode="trunc")
    torch.sub(flat, column, alpha=shape[2], out=out[2])
    torch.div(column, shape[1], rounding_mode="trunc", out=out[0])
    torch.sub(column, out[0], alpha=shape[1], out=out[1])
    return out


def extent(at: Tensor) -> Box:
    """The smallest box that holds some places (3, N), at least one."""
    low, high = at.aminmax(dim=1)
    x, y, z = ((int(first), int(last) + 1) for first, last in zip(low, high, strict=True))
    return x, y, z


def flat_in(at: Tensor, box: Box) -> Tensor:
    """Flat indices (N,) int32 in a box that holds the places (3, N)."""
    (x, _), (y, end), (z, last) = box
    return (at[0] - x).mul_(end - y).add_(at[1]).sub_(y).mul_(last - z).add_(at[2]).sub_(z)


def shifted(box: Box, by: Size) -> Box:
    """The box moved."""
    x, y, z = ((low + step, high + step) for (low, high), step in zip(box, by, strict=True))
    return x, y, z


@dataclass(frozen=True)
class Rows:
    """Voxels with content.

    Args:
        values: (1 + voxels, maps) float32; the first row is empty.
        table: (X, Y, Z) int32: the row of each voxel of a box around the content, and of empty ones around that.
        occupied: (X, Y, Z) uint8: whether any of the eight corners from this voxel on has a row.
        low: where the table's first voxel lies on the grid.
    """

    values: Tensor
    table: Tensor
    occupied: Tensor
    low: Size

    @classmethod
    def of(cls, at: Tensor, box: Box, values: Tensor) -> Rows:
        """From the places (3, N) of voxels on the grid, a box around all of them, and rows (1 + N, maps)."""
        x, y, z = (high - low + _BEFORE + _AFTER for low, high in box)
        table = torch.zeros(x, y, z, dtype=torch.int32, device=at.device)
        low = (box[0][0] - _BEFORE, box[1][0] - _BEFORE, box[2][0] - _BEFORE)
        flat = flat_in(at, ((low[0], low[0] + x), (low[1], low[1] + y), (low[2], low[2] + z)))
        table.view(-1)[flat.long()] = torch.arange(1, len(values), dtype=torch.int32, device=at.device)
        occupied = (table > 0).view(torch.uint8)
        flat_bytes = occupied.view(-1)
        for stride in (1, z, y * z):
            flat_bytes[:-stride] |= flat_bytes[stride:].clone()
        return cls(values, table, occupied, low)

    def read(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Linear interpolation, where there is something.

        Args:
            positions: (3, X, Y, Z) float32, voxels of the grid, less ``low``.

        Returns:
            Flat indices (N,) int64 of those positions at which some map may be other than 0, ascending, and the
            values (maps, N) float32 there.
        """
        flat = positions.flatten(1)
        voxels = self._reached(flat)
        values = torch.empty(self.values.shape[1], len(voxels), device=flat.device)
        offsets = self._corners(flat.device)
        for first in range(0, len(voxels), _CHUNK):
            part = slice(first, first + _CHUNK)
            at = flat.index_select(1, voxels[part])
            corner = at.int()
            index = self._index(corner)[:, None] + offsets
            up = at.sub_(corner)
            x, y, z = torch.stack([1 - up, up], -1)  # (n, 2) each
            weight = (x[:, :, None] * y[:, None]).flatten(1)[:, :, None] * z[:, None]
            rows = self.table.view(-1).index_select(0, index.view(-1)).view(-1, 8)
            found = embedding_bag(rows, self.values, per_sample_weights=weight.flatten(1), mode="sum")
            values[:, part] = found.T
        return voxels, values

    def _reached(self, flat: Tensor) -> Tensor:
        found = torch.empty(flat.shape[1], dtype=torch.uint8, device=flat.device)
        for first in range(0, flat.shape[1], _CHUNK):
            part = slice(first, first + _CHUNK)
            corner = [flat[axis, part].clamp(0, side - 1).int() for axis, side in enumerate(self.table.shape)]
            torch.index_select(self.occupied.view(-1), 0, self._index(corner), out=found[part])
        return flat_nonzero(found)

    def _index(self, corner: Tensor | list[Tensor]) -> Tensor:
        """Flat index (N,) int32 in the table of x, y and z."""
        _, height, depth = self.table.shape
        return corner[0].mul(height).add_(corner[1]).mul_(depth).add_(corner[2])

    def _corners(self, device: torch.device) -> Tensor:
        """What the eight corners add to the flat index of the lowest, x changing slowest."""
        _, height, depth = self.table.shape
        steps = [(i * height + j) * depth + k for i in (0, 1) for j in (0, 1) for k in (0, 1)]
        return torch.tensor(steps, dtype=torch.int32, device=device)
