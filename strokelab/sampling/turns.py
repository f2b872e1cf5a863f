"""Quarter turns in the axial plane and reflections of boxes: copies that cost no reading. Knows arrays."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLIPPED = [axes for count in (1, 2, 3) for axes in combinations((-3, -2, -1), count)]
TURNS: tuple[str, ...] = (
    "none",
    *("rotate 90", "rotate 180", "rotate 270"),
    *("flip " + "".join("xyz"[axis] for axis in axes) for axes in _FLIPPED),
)
"""What a number in ``Places.turns`` does to a sample, all of its maps alike; rotations go from x to y."""
FLIPS: tuple[int, ...] = (0, *range(4, len(TURNS)))
"""Those that reflect along some of the axes, and the one that does nothing: each axis is in half of them."""
_IN_PLANE = range(1, 6)
_SWAPPING = (1, 3)


def turned(maps: NDArray[Any], turn: int) -> NDArray[Any]:
    """A view of maps (..., X, Y, Z) after a turn, a number of ``TURNS``."""
    if turn == 0:
        return maps
    return np.flip(maps, axis=_FLIPPED[turn - 4]) if turn > 3 else np.rot90(maps, turn, axes=(-3, -2))


def swapped(size: tuple[int, int, int], turn: int) -> tuple[int, int, int]:
    """The box (x, y, z) that has ``size`` once it is turned."""
    return (size[1], size[0], size[2]) if turn in _SWAPPING else size


def turns_of(size: tuple[int, int, int]) -> tuple[int, ...]:
    """The turns in the axial plane, without the first, that leave a box of ``size`` (x, y, z) as it is."""
    return tuple(turn for turn in _IN_PLANE if swapped(size, turn) == size)
