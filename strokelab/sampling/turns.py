"""Quarter turns and reflections of boxes in the axial plane: copies of a patch that cost no reading. Knows arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TURNS: tuple[str, ...] = ("none", "rotate 90", "rotate 180", "rotate 270", "flip x", "flip y")
"""What a number in ``Listed.turns`` does to a sample, all of its maps alike; rotations go from x to y."""
_SWAPPING = (1, 3)


def turned(maps: NDArray[Any], turn: int) -> NDArray[Any]:
    """A view of maps (..., X, Y, Z) after a turn, a number of ``TURNS``."""
    if turn == 0:
        return maps
    return np.flip(maps, axis=turn - 7) if turn > 3 else np.rot90(maps, turn, axes=(-3, -2))


def swapped(size: tuple[int, int, int], turn: int) -> tuple[int, int, int]:
    """The box (x, y, z) that has ``size`` once it is turned."""
    return (size[1], size[0], size[2]) if turn in _SWAPPING else size


def turns_of(size: tuple[int, int, int]) -> tuple[int, ...]:
    """The turns, without the first, that leave a box of ``size`` (x, y, z) as it is: all for x = y."""
    return tuple(turn for turn in range(1, len(TURNS)) if swapped(size, turn) == size)
