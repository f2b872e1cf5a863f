"""One window in the middle of a volume, all else negative (Tomita 2020; docs/methods/resunet3d.md).

Knows tensors and a brain mask; knows no files, no models and no thresholds. Axes: (C, X, Y, Z).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from strokelab.buildable import buildable
from strokelab.inference.accumulate import Accumulate, as_tensor, check_accumulate, home_of, volume_and_brain
from strokelab.inference.windows import PatchWindows, Predict, check_settings, is_patch
from strokelab.preparation.template import MNI

Region = Literal["centre", "full"]
Centre = Literal["auto", "grid", "brain"]
Box = tuple[slice, slice, slice]


@buildable("view")
@dataclass(frozen=True)
class CentreWindow:
    """Whole-volume inference from one window: one pass of the network, and scores of 0 outside of it.

    The window starts at floor((grid - window) / 2), where it lies in the middle of the grid, or around the middle of
    the brain's box as far as the grid reaches. Along an axis on which the volume is shorter than the window, it is
    padded with 0 on both sides, the larger half above.

    Memory beside the network's own: 4 (C + K) bytes per voxel of the volume, on the device or the host.

    Args:
        window: in voxels (x, y, z).
        region: "centre"; "full": windows of this size over the whole volume, overlapping by half and weighted as
            those of ``PatchWindows``, which is an extension of the paper's method.
        centre: the middle of the "grid" or of the "brain"; "auto": of the grid where that is the MNI-152 template's at
            1 mm, else of the brain. A volume without brain has the middle of its grid.
        accumulate: where the scores lie, as for ``PatchWindows``.

    Raises:
        ConfigError: a setting is out of range.
    """

    window: tuple[int, int, int]
    region: Region = "centre"
    centre: Centre = "auto"
    accumulate: Accumulate = "auto"

    def __post_init__(self) -> None:
        object.__setattr__(self, "window", tuple(self.window))  # yaml has lists
        ranges = (
            ("window", is_patch(self.window), "three whole numbers, the sides in voxels", "[144,172,168]"),
            ("region", self.region in get_args(Region), f"one of {', '.join(get_args(Region))}", "centre"),
            ("centre", self.centre in get_args(Centre), f"one of {', '.join(get_args(Centre))}", "auto"),
        )
        check_settings(self, ranges)
        check_accumulate(self.accumulate)

    def sample_shape(self, crop: object) -> tuple[int, int, int]:
        """Spatial shape S of what ``predict`` is given: the window, whatever the grid."""
        return self.window

    def start(self, brain: NDArray[Any] | Tensor) -> tuple[int, int, int]:
        """The lowest corner of the window; negative where the volume is shorter than it.

        Args:
            brain: (X, Y, Z), non-zero = brain.
        """
        inside = as_tensor(brain, torch.bool)
        shape = tuple(inside.shape)
        on_grid = self.centre == "grid" or (self.centre == "auto" and shape == MNI.shape)
        ends = [(0, length) for length in shape] if on_grid or not inside.any() else _extent(inside)
        x, y, z = (_first(*each) for each in zip(ends, self.window, shape, strict=True))
        return x, y, z

    def covered(self, brain: NDArray[Any] | Tensor) -> Box | None:
        """The box of the volume that gets scores; None: the whole volume, whatever the case.

        Args:
            brain: (X, Y, Z), non-zero = brain.
        """
        return None if self.region == "full" else self._box(self.start(brain), brain.shape)

    def __call__(self, image: NDArray[Any] | Tensor, predict: Predict, brain: NDArray[Any] | Tensor) -> Tensor:
        """Scores of a volume.

        Args:
            image: (C, X, Y, Z), model units; the window is cut on the device where it lies.
            predict: (B, C, *window) float32 and brain (B, 1, *window) uint8 to scores (B, K, *window), each sample
                for itself; it must not write into its input.
            brain: (X, Y, Z), non-zero = brain.

        Returns:
            Scores (K, X, Y, Z) float32, 0 outside the window, where ``accumulate`` says.

        Raises:
            ValueError: image and brain do not have one shape.
        """
        if self.region == "full":
            return PatchWindows(self.window, mirror="none", accumulate=self.accumulate)(image, predict, brain)
        volume, mask = volume_and_brain(image, brain)
        start = self.start(mask)
        box = self._box(start, mask.shape)
        margins = [
            (along.start - first, first + side - along.stop)
            for first, side, along in zip(start, self.window, box, strict=True)
        ]
        inner = tuple(slice(before, side - after) for (before, after), side in zip(margins, self.window, strict=True))
        around = [voxels for pair in reversed(margins) for voxels in pair]
        with torch.no_grad():
            scores = predict(*(pad(maps[:, *box], around)[None] for maps in (volume, mask[None].to(torch.uint8))))[0]
            home = home_of(len(scores) * mask.numel(), scores.device, self.accumulate)
            total = torch.zeros((len(scores), *mask.shape), dtype=torch.float32, device=home)
            total[:, *box] = scores[:, *inner].to(home, torch.float32)
        return total

    def _box(self, start: Sequence[int], shape: Sequence[int]) -> Box:
        x, y, z = (
            slice(max(first, 0), min(first + side, length))
            for first, side, length in zip(start, self.window, shape, strict=True)
        )
        return x, y, z


def _extent(inside: Tensor) -> list[tuple[int, int]]:
    """First voxel of the box around what is inside, and the one after its last, axis by axis."""
    along = (inside.any(2).any(1), inside.any(2).any(0), inside.any(1).any(0))
    found = [axis.nonzero().flatten() for axis in along]
    return [(int(voxels[0]), int(voxels[-1]) + 1) for voxels in found]


def _first(ends: tuple[int, int], side: int, length: int) -> int:
    """Where a window begins whose middle is that of ``ends``, as far as a grid of ``length`` voxels reaches."""
    if side >= length:
        return -((side - length) // 2)
    return min(max((sum(ends) - side) // 2, 0), length - side)
