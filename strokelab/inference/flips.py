"""Mirroring of samples before a prediction and of scores after it. Knows tensors and axes; knows no windows."""

from __future__ import annotations

from itertools import product

from torch import Tensor

from strokelab.errors import ConfigError

AXES = "xyz"
Flip = tuple[int, ...]
"""The axes that are mirrored, counted from the last: z = -1, y = -2, x = -3; () = as it is."""


def flips_of(mirror: str | None) -> tuple[Flip, ...]:
    """Every combination of the mirrored axes, the unmirrored one first: ``"xyz"`` gives eight, ``"yz"`` four.

    Args:
        mirror: letters of the axes; "", "none" or None: no mirroring.

    Raises:
        ConfigError: a letter that is no axis, or one twice.
    """
    letters = "" if mirror is None or mirror == "none" else mirror
    if not set(letters) <= set(AXES) or len(set(letters)) != len(letters):
        raise ConfigError(
            "view.windows.mirror",
            found=repr(mirror),
            expected="letters of x, y and z, each at most once, or none",
            remedy="set view.windows.mirror=xyz, or none for a quick look",
        )
    chosen = [AXES.index(letter) - 3 for letter in sorted(letters)]
    switches = product((False, True), repeat=len(chosen))
    return tuple(tuple(axis for axis, on in zip(chosen, turn, strict=True) if on) for turn in switches)


def flipped(x: Tensor, flip: Flip) -> Tensor:
    """``x`` (..., X, Y, Z) mirrored, a copy; its own inverse. ``x`` itself where nothing is mirrored."""
    return x.flip(flip) if flip else x
