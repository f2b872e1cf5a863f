"""A volume as overlapping windows (Huo 2022, section 8 of docs/methods/mapping.md; nnU-Net's plan of positions).

Knows tensors, boxes and a brain mask; knows no files, no models and no thresholds. Axes: (C, X, Y, Z).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.inference.accumulate import Accumulate, WeightedSum, check_accumulate, home_of, volume_and_brain
from strokelab.inference.flips import Flip, flipped, flips_of
from strokelab.inference.scores import Kind

Predict = Callable[[Tensor, Tensor], Tensor]
Start = tuple[int, ...]
MEMORY_ONLY = ("batch_size", "accumulate")
"""Settings of windows that change no score."""
MOST_WINDOWS = 2**20
MOST_VOXELS = 2**28
"""Of a window: volumes are padded to it, and a run folder may be untrusted."""


@buildable("view")
@dataclass(frozen=True)
class PatchWindows:
    """Whole-volume inference in windows of one size, weighted by a Gaussian, averaged over mirror images.

    Every voxel's score is the mean of the windows it lies in, weighted by their Gaussians, and of the mirrored
    predictions. The weights of a voxel are known before anything is predicted (the plan is a product of three axes),
    so they are applied normalised and only one volume of sums is kept. Volumes smaller than a window are padded with
    0 on both sides, the larger half above.

    Memory beside the network's own: 4 (C + K) + 1 bytes per voxel of the padded volume, on the device or the host,
    and ``batch_size`` windows of image and scores; it does not grow with the number of windows or flips.

    Args:
        patch: the window in voxels (x, y, z); a window as wide as the volume serves the hemisphere split.
        step: distance of neighbouring windows as a share of the window, at most; windows are spread evenly.
        gaussian: SD of the weights as a share of the window's side; 0: all voxels of a window weigh the same.
        mirror: axes to mirror, e.g. ``"xyz"`` for 8 predictions a window; ``"none"``.
        batch_size: windows, mirrored ones counted, that go through ``predict`` at once; does not change the result.
        skip_outside_brain: leave out windows without any brain voxel, which then count as score 0. Scores inside the
            brain stay the same to the last bit; outside they become smaller, up to 0.
        accumulate: where the sums lie: with the network (``device``), in main memory (``host``), or ``auto``: with the
            network where they take at most half of its free memory.
        scores: what is averaged over windows and mirror images: ``"probabilities"``, or ``"logits"``, which become
            probabilities after the mean over members and, where the view says so, after the way back.

    Raises:
        ConfigError: a setting is out of range, or logits are to be averaged where windows are left out.
    """

    patch: tuple[int, int, int]
    step: float = 0.5
    gaussian: float = 0.125
    mirror: str | None = "xyz"
    batch_size: int = 1
    skip_outside_brain: bool = False
    accumulate: Accumulate = "auto"
    scores: Kind = "probabilities"

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch", tuple(self.patch))  # yaml has lists
        ranges = (
            ("patch", is_patch(self.patch), "three whole numbers, the sides in voxels", "[128,128,128]"),
            ("step", 0 < self.step <= 1, "a share of the window, above 0 and at most 1", "0.5"),
            ("gaussian", 0 <= self.gaussian < math.inf, "a share of the window's side, or 0", "0.125"),
            ("batch_size", self.batch_size >= 1, "a whole number of at least 1", "1"),
            ("scores", self.scores in get_args(Kind), f"one of {', '.join(get_args(Kind))}", "probabilities"),
            (
                "skip_outside_brain",
                not (self.skip_outside_brain and self.scores == "logits"),
                "a prediction at every voxel, where logits are averaged: 0 is none",
                "false",
            ),
        )
        check_settings(self, ranges)
        check_accumulate(self.accumulate)
        flips_of(self.mirror)

    def sample_shape(self, crop: object) -> tuple[int, int, int]:
        """Spatial shape S of what ``predict`` is given: the window, whatever the grid."""
        return self.patch

    def padded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape that a smaller volume is padded to; said of logits alone, as older tables have no such words."""
        sides = self.patch if self.scores == "logits" else shape
        return tuple(max(size, side) for size, side in zip(shape, sides, strict=True))

    def __call__(self, image: NDArray[Any] | Tensor, predict: Predict, brain: NDArray[Any] | Tensor) -> Tensor:
        """Scores of a volume.

        Args:
            image: (C, X, Y, Z), model units; windows are cut on the device where it lies.
            predict: (B, C, *patch) float32 and brain (B, 1, *patch) uint8 to scores (B, K, *patch), each sample for
                itself; it must not write into its input.
            brain: (X, Y, Z), non-zero = brain.

        Returns:
            Scores (K, X, Y, Z) float32, where ``accumulate`` says.

        Raises:
            ValueError: image and brain do not have one shape.
        """
        if self.scores == "logits":
            predict = log_probabilities(predict)
        volume, inside = volume_and_brain(image, brain)
        mask = inside.to(torch.uint8)
        inner, margins = margins_of(mask.shape, self.patch)
        if any(margins):
            volume, mask = pad(volume, margins), pad(mask, margins)
        mask = mask.unsqueeze(0)
        axes = [
            _Axis.of(*sides, step=self.step, gaussian=self.gaussian)
            for sides in zip(mask.shape[1:], self.patch, strict=True)
        ]
        with torch.no_grad():
            total = self._sum(volume, predict, mask, axes)
        return total[(slice(None), *inner)]

    def _sum(self, volume: Tensor, predict: Predict, mask: Tensor, axes: Sequence[_Axis]) -> Tensor:
        flips = flips_of(self.mirror)
        if (count := math.prod(len(axis.weights) for axis in axes)) > MOST_WINDOWS:
            raise ConfigError(
                "view.windows.step",
                found=f"{count:,} windows of {self.patch} in a volume of {tuple(mask.shape[1:])}",
                expected=f"at most {MOST_WINDOWS:,}",
                remedy="raise view.windows.step, or use a larger view.windows.patch",
            )
        starts = list(product(*(axis.weights for axis in axes)))
        if self.skip_outside_brain:
            starts = [start for start in starts if self._cut(mask, start).any()]
        if not starts:  # one blank window tells K
            blank = predict(volume.new_zeros(1, len(volume), *self.patch), mask.new_zeros(1, 1, *self.patch))
            home = home_of(blank.shape[1] * mask.numel(), blank.device, self.accumulate)
            return WeightedSum((blank.shape[1], *mask.shape[1:]), home).total
        total: WeightedSum | None = None
        weight, weighed = torch.empty(0), None
        for batch in _batches(product(starts, flips), self.batch_size):
            scores = predict(self._samples(volume, batch), self._samples(mask, batch))
            if total is None:
                home = home_of(scores.shape[1] * mask.numel(), scores.device, self.accumulate)
                total = WeightedSum((scores.shape[1], *mask.shape[1:]), home)
            for (start, flip), score in zip(batch, scores, strict=True):
                if start != weighed:
                    weight, weighed = _weight(axes, start, len(flips), total.total.device), start
                total.add(flipped(score, flip), weight, start)
        assert total is not None
        return total.total

    def _samples(self, volume: Tensor, batch: Sequence[tuple[Start, Flip]]) -> Tensor:
        """Windows of a volume (C, X, Y, Z), mirrored, as (B, C, *patch); a single unmirrored one is a view."""
        parts = [flipped(self._cut(volume, start), flip) for start, flip in batch]
        return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)

    def _cut(self, volume: Tensor, start: Start) -> Tensor:
        x, y, z = (slice(first, first + side) for first, side in zip(start, self.patch, strict=True))
        return volume[:, x, y, z]


def margins_of(shape: Sequence[int], patch: Sequence[int]) -> tuple[tuple[slice, ...], list[int]]:
    """How a volume is padded to at least one window, the larger half above.

    Returns:
        Where the volume lies in the padded one, and what ``pad`` adds: pairs (before, after), last axis first.
    """
    missing = [max(side - size, 0) for size, side in zip(shape, patch, strict=True)]
    before = [lack // 2 for lack in missing]
    inner = tuple(slice(first, first + size) for first, size in zip(before, shape, strict=True))
    pairs = [(first, lack - first) for first, lack in zip(before, missing, strict=True)]
    return inner, [voxels for pair in reversed(pairs) for voxels in pair]


def log_probabilities(predict: Predict) -> Predict:
    """A prediction of probabilities as one of logits: their logarithms, of a single map the log odds.

    Logarithms of probabilities are logits up to a number that all classes of a voxel share, and no mean, interpolation
    or softmax over the classes sees that. A probability below 1e-38 counts as that.
    """
    smallest = torch.finfo(torch.float32).tiny

    def logits(samples: Tensor, brain: Tensor) -> Tensor:
        scores = predict(samples, brain).float()
        logarithm = scores.clamp_min(smallest).log_()
        return logarithm if scores.shape[1] > 1 else logarithm - (1 - scores).clamp_min(smallest).log_()

    return logits


def is_patch(patch: Sequence[object]) -> bool:
    """Whether these are three sides of a window that a run folder may ask for."""
    sides = [side for side in patch if isinstance(side, int) and side > 0]
    return len(patch) == len(sides) == 3 and math.prod(sides) <= MOST_VOXELS


def check_settings(plan: object, ranges: Iterable[tuple[str, bool, str, str]]) -> None:
    """Settings of ``view.windows``, held against what they may be.

    Args:
        plan: whose settings they are.
        ranges: name of a setting, whether its value is in range, the range in words, and a value that is in it.

    Raises:
        ConfigError: naming the first that is out of range.
    """
    for name, fine, expected, value in ranges:
        if not fine:
            raise ConfigError(
                f"view.windows.{name}",
                found=str(getattr(plan, name)),
                expected=expected,
                remedy=f"set view.windows.{name}={value}",
            )


@dataclass(frozen=True)
class _Axis:
    """One axis of the plan: start of a window -> its normalised weights along the axis, (side,) float64."""

    weights: dict[int, NDArray[np.float64]]

    @classmethod
    def of(cls, size: int, side: int, *, step: float, gaussian: float) -> _Axis:
        starts = window_starts(size, side, step)
        profile = gaussian_profile(side, gaussian)
        total = np.zeros(size)
        for start in starts:
            total[start : start + side] += profile
        return cls({start: profile / total[start : start + side] for start in starts})


def window_starts(size: int, side: int, step: float = 0.5) -> tuple[int, ...]:
    """Where windows of ``side`` voxels start on an axis of ``size`` >= ``side``: evenly spread, from end to end.

    n = ceil((size - side) / (step * side)) + 1 of them, a voxel apart at least; halves are rounded to even. Operations
    have nnU-Net's order, whose windows an imported model expects to the voxel.
    """
    steps = math.ceil((size - side) / max(side * step, 1))
    distance = (size - side) / steps if steps else 0.0
    return tuple(round(distance * index) for index in range(steps + 1))


def gaussian_profile(side: int, sd: float) -> NDArray[np.float64]:
    """Weights along one axis, (side,): 1 at index ``side // 2``; ``sd`` is a share of the side, 0: all 1."""
    if sd == 0:
        return np.ones(side)
    # exp(-300) still is a normal number, so that the sum over windows never is 0 however narrow the Gaussian.
    return np.exp(-np.minimum(((np.arange(side) - side // 2) / (sd * side)) ** 2 / 2, 300.0))


def _weight(axes: Sequence[_Axis], start: Start, flips: int, device: torch.device) -> Tensor:
    """The normalised weights of a window, (*patch) float32, for one of so many mirror images."""
    along = (torch.from_numpy(axis.weights[first]) for axis, first in zip(axes, start, strict=True))
    x, y, z = (weights.float().to(device) for weights in along)
    return x[:, None, None] * (y[:, None] * z / flips)


def _batches(samples: Iterable[tuple[Start, Flip]], size: int) -> Iterator[list[tuple[Start, Flip]]]:
    left = iter(samples)
    while batch := list(islice(left, size)):
        yield batch
