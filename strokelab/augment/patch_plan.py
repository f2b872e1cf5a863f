"""All that was drawn for one patch: plain numbers, small enough to travel between processes. Changes nothing."""

from __future__ import annotations

from dataclasses import dataclass

from strokelab.augment.warp import Warp

PerChannel = tuple[tuple[int, float], ...]
"""(channel, value) pairs; channels that are not named stay as they are."""


@dataclass(frozen=True)
class PatchPlan:
    """What happens to one patch, in this order; what is None, empty or "" does not happen.

    Args:
        patch: voxels (x, y, z).
        source: the box to read, concentric with the patch; larger only where the warp needs it.
        warp: rotation, zoom and elastic deformation.
        noise: standard deviation and seed.
        blur: standard deviations, voxels.
        brightness: factors.
        contrast: factors about the mean.
        low_resolution: share of the sides that is kept.
        gamma_inverted: exponents, on the negated image.
        shift: added values.
        gamma: exponents.
        mirror: axes, e.g. ``"xz"``.
    """

    patch: tuple[int, int, int]
    source: tuple[int, int, int]
    warp: Warp | None = None
    noise: tuple[float, int] | None = None
    blur: PerChannel = ()
    brightness: PerChannel = ()
    contrast: PerChannel = ()
    low_resolution: PerChannel = ()
    gamma_inverted: PerChannel = ()
    shift: PerChannel = ()
    gamma: PerChannel = ()
    mirror: str = ""
