"""A volume as MONAI's ``SlidingWindowInferer`` cuts it, for models that were made to be predicted so (SynthStroke).

Knows tensors, boxes and a brain mask; knows no files, no models and no thresholds. Axes: (C, X, Y, Z).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from strokelab.buildable import buildable
from strokelab.inference.accumulate import Accumulate, WeightedSum, check_accumulate, home_of, volume_and_brain
from strokelab.inference.flips import flipped, flips_of
from strokelab.inference.scores import Kind
from strokelab.inference.windows import MOST_WINDOWS, Predict, check_settings, is_patch, log_probabilities, margins_of

_LEAST_WEIGHT = 1e-3


@buildable("view")
@dataclass(frozen=True)
class SlidingWindows:
    """Whole-volume inference in windows at fixed distances, or in one pass where the volume fits; logits.

    Windows start every ``step`` of a window, the last one at the volume's end, and are weighted by a Gaussian around
    their middle that is nowhere below 1e-3; logits are averaged. Each mirror image of the whole volume is cut so, and
    their logits are averaged. A volume whose sides are no longer than the window, multiples of ``divisor`` and twice
    that at least is predicted whole: then probabilities are averaged over its mirror images.

    Memory beside the network's own: 4 (C + 2 K + 1) + 1 bytes per voxel of the padded volume.

    Args:
        patch: the window in voxels (x, y, z); smaller volumes are padded with 0, the larger half above.
        step: distance of neighbouring windows as a share of the window.
        gaussian: SD of the weights as a share of the window's side.
        mirror: axes to mirror, e.g. ``"xyz"`` for 8 predictions; ``"none"``.
        divisor: what the network divides sides by.
        accumulate: as for ``PatchWindows``.

    Raises:
        ConfigError: a setting is out of range, or a volume has too many windows.

    Source: SynthStroke's released code, 2025; MONAI 1.6.
    """

    patch: tuple[int, int, int] = (128, 128, 128)
    step: float = 0.5
    gaussian: float = 0.125
    mirror: str | None = "xyz"
    divisor: int = 32
    accumulate: Accumulate = "auto"
    scores: ClassVar[Kind] = "logits"
    batch_size: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # yaml has lists
        ranges = (
            ("patch", is_patch(self.patch), "three whole numbers, the sides in voxels", "[128,128,128]"),
            ("step", 0 < self.step <= 1, "a share of the window, above 0 and at most 1", "0.5"),
            ("gaussian", 0 < self.gaussian < math.inf, "a share of the window's side", "0.125"),
            ("divisor", isinstance(self.divisor, int) and self.divisor >= 1, "a whole number of at least 1", "32"),
        )
        check_settings(self, ranges)
        check_accumulate(self.accumulate)
        flips_of(self.mirror)

    def sample_shape(self, crop: object) -> tuple[int, int, int]:
        """Spatial shape S of the largest that ``predict`` is given."""
        return self.patch

    def padded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that a volume is padded to where it is smaller than a window."""
        return tuple(shape) if self._fits(shape) else tuple(map(max, shape, self.patch))

    def __call__(self, image: NDArray[Any] | Tensor, predict: Predict, brain: NDArray[Any] | Tensor) -> Tensor:
        """Scores of a volume.

        Args:
            image: (C, X, Y, Z), model units; windows are cut on the device where it lies.
            predict: (B, C, *S) float32 and brain (B, 1, *S) uint8 to probabilities (B, K, *S).
            brain: (X, Y, Z), non-zero = brain.

        Returns:
            Logits (K, X, Y, Z) float32, where ``accumulate`` says.

        Raises:
            ValueError: image and brain do not have one shape.
        """
        volume, inside = volume_and_brain(image, brain)
        mask = inside.to(torch.uint8).unsqueeze(0)
        whole = self._fits(volume.shape[1:])
        one = self._whole if whole else self._sliding
        flips = flips_of(self.mirror)
        total: Tensor | None = None
        with torch.no_grad():
            for flip in flips:
                scores = flipped(one(flipped(volume, flip), flipped(mask, flip), predict), flip)
                total = scores if total is None else total.add_(scores)
            assert total is not None
            total /= len(flips)
            return log_probabilities(lambda mean, _: mean)(total[None], mask)[0] if whole else total

    def _fits(self, shape: Sequence[int]) -> bool:
        return all(
            2 * self.divisor <= size <= side and size % self.divisor == 0
            for size, side in zip(shape, self.patch, strict=True)
        )

    def _whole(self, volume: Tensor, mask: Tensor, predict: Predict) -> Tensor:
        scores = predict(volume[None], mask[None])[0].float()
        return scores.to(home_of(scores.numel(), scores.device, self.accumulate))

    def _sliding(self, volume: Tensor, mask: Tensor, predict: Predict) -> Tensor:
        """Logits (K, X, Y, Z), the mean over windows."""
        inner, margins = margins_of(volume.shape[1:], self.patch)
        if any(margins):
            volume, mask = pad(volume, margins), pad(mask, margins)
        axes = [_starts(size, side, self.step) for size, side in zip(volume.shape[1:], self.patch, strict=True)]
        check_settings(self, [("step", math.prod(map(len, axes)) <= MOST_WINDOWS, f"{MOST_WINDOWS:,} windows", "0.5")])
        logits = log_probabilities(predict)
        total: WeightedSum | None = None
        weight = weights = torch.empty(0)
        for start in product(*axes):
            x, y, z = (slice(first, first + side) for first, side in zip(start, self.patch, strict=True))
            found = logits(volume[None, :, x, y, z], mask[None, :, x, y, z])[0]
            if total is None:
                home = home_of(len(found) * mask.numel(), found.device, self.accumulate)
                total = WeightedSum((len(found), *mask.shape[1:]), home)
                weight, weights = self._weight().to(home), torch.zeros(mask.shape[1:], device=home)
            total.add(found, weight, start)
            weights[x, y, z] += weight
        assert total is not None
        return (total.total / weights)[(slice(None), *inner)]

    def _weight(self) -> Tensor:
        """Of a window, (*patch) float32."""
        x, y, z = (
            torch.exp(-(((torch.arange(side) - (side - 1) / 2) / (self.gaussian * side)) ** 2) / 2)
            for side in self.patch
        )
        return (x[:, None, None] * y[:, None] * z).clamp(min=_LEAST_WEIGHT)


def _starts(size: int, side: int, step: float) -> tuple[int, ...]:
    """Where windows of ``side`` voxels start on an axis of ``size`` >= ``side``: at multiples of one distance."""
    distance = max(int(side * step), 1)
    return tuple(min(index * distance, size - side) for index in range(math.ceil((size - side) / distance) + 1))
