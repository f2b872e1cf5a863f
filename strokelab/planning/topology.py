"""How often, and along which axes, a U-Net can pool a patch. Knows lengths and spacings; knows no data and no layers.

The rules are nnU-Net's (Isensee 2021, section "Network topology"), in our own words.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Ints = tuple[int, int, int]
ISOTROPIC = 2.0
"""Axes whose spacing is less than this times the finest are pooled, and convolved, together with it."""


@dataclass(frozen=True)
class Topology:
    """The stages of a U-Net, finest first; axes as the patch's.

    Args:
        strides: of each stage's first convolution; the first stage has 1, 1, 1.
        kernels: sides of each stage's convolutions.
    """

    strides: tuple[Ints, ...]
    kernels: tuple[Ints, ...]

    @property
    def divisors(self) -> Ints:
        """What the sides of a patch must be multiples of."""
        x, y, z = (math.prod(axis) for axis in zip(*self.strides, strict=True))
        return x, y, z

    def padded(self, patch: Sequence[int]) -> Ints:
        """The smallest patch that is not smaller along any axis and divides through all strides."""
        x, y, z = (-(-side // divisor) * divisor for side, divisor in zip(patch, self.divisors, strict=True))
        return x, y, z


def topology_of(
    patch: Sequence[int], spacing: Sequence[float], *, shortest_side: int = 4, most_stages: int | None = None
) -> Topology:
    """Pool while a side of twice ``shortest_side`` is left; coarse axes wait until the fine ones have caught up.

    An axis is pooled with a stage when its spacing there is below twice the finest poolable one; a kernel has a side
    of 1 along axes coarser than twice the finest, 3 from the stage on where they are not, and 3 in the last stage.
    A last axis on its own is only pooled from three times ``shortest_side`` on.

    Args:
        patch: sides in voxels, at least; ``Topology.padded`` makes them fit.
        spacing: mm along the same axes.
        shortest_side: no side is pooled below it.
        most_stages: stop when there are so many; None: as many as fit.
    """
    sides, mm = [float(side) for side in patch], [float(value) for value in spacing]
    strides: list[Ints] = [(1, 1, 1)]
    kernels: list[Ints] = []
    kernel = [1, 1, 1]
    while most_stages is None or len(strides) < most_stages:
        roomy = [axis for axis in range(3) if sides[axis] >= 2 * shortest_side]
        finest = min((mm[axis] for axis in roomy), default=0.0)
        pooled = [axis for axis in roomy if mm[axis] / finest < ISOTROPIC]
        if not pooled or (len(pooled) == 1 and sides[pooled[0]] < 3 * shortest_side):
            break
        kernel = [3 if side == 3 or mm[axis] / min(mm) < ISOTROPIC else 1 for axis, side in enumerate(kernel)]
        kernels.append((kernel[0], kernel[1], kernel[2]))
        strides.append((2 if 0 in pooled else 1, 2 if 1 in pooled else 1, 2 if 2 in pooled else 1))
        for axis in pooled:
            mm[axis] *= 2
            sides[axis] = math.ceil(sides[axis] / 2)
    return Topology(tuple(strides), (*kernels, (3, 3, 3)))


def feature_values(patch: Sequence[int], strides: Sequence[Sequence[int]], widths: Sequence[int]) -> int:
    """Values that the convolutions of a plain U-Net put out for one patch: the measure of its memory.

    Two convolutions per stage of encoder and decoder, one transposed convolution per step up, two maps at the end.
    """
    sides = list(patch)
    total = 0
    for stage, (stride, width) in enumerate(zip(strides, widths, strict=True)):
        sides = [side // step for side, step in zip(sides, stride, strict=True)]
        last = stage == len(strides) - 1
        total += math.prod(sides) * (2 * width if last else 5 * width)
    return total + 2 * math.prod(patch)
