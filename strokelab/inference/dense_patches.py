"""A volume as small patches around a fine grid of centres, each voxel the plain mean of hundreds of predictions.

Clèrigues 2019 (arXiv 1810.13304), section 3.5 and released code; geometry in docs/methods/sunet.md. Knows tensors and a
brain mask; knows no files, no models and no thresholds. Axes: (C, X, Y, Z).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.inference.accumulate import Accumulate, check_accumulate, home_of, volume_and_brain
from strokelab.inference.windows import MOST_WINDOWS, Predict, check_settings, is_patch
from strokelab.preparation.background import background_of

Ints = NDArray[np.int64]


@buildable("view")
@dataclass(frozen=True)
class DensePatches:
    """Whole-volume inference from patches whose centres lie on a fine grid: sum of predictions / their number.

    The volume is padded by half a patch on both ends of each axis, with its own background. Centres lie on a grid of
    ``step`` from the first to the last whose patch fits; those off the brain are left out, and those whose patch
    touches an end of the padded volume are moved one voxel inwards, as in the released code: where two meet, the patch
    counts twice. A volume smaller than a patch is padded to a patch first, the larger half above.

    Patches whose corners differ by multiples of their sides never overlap. They are predicted tiling by tiling, and
    pasted without collisions: sums do not depend on ``batch_size``, and are in double precision, so that the mean of
    equal predictions is exactly their value.

    Memory beside the network's own: 4 C + 8 K + 6 bytes per voxel of the padded volume, and ``batch_size`` patches of
    image and scores; it does not grow with the number of patches.

    Args:
        patch: sides in voxels (x, y, z).
        step: distance of neighbouring centres in voxels (x, y, z), at most a side. (4, 4, 1) is the paper's: 576
            predictions of every voxel deep inside. Coarser ones are for trials: other numbers, and named in results.
        batch_size: patches that go through ``predict`` at once; does not change the result.
        centre_in_brain: patches around brain voxels alone, and scores of 0 off the brain (released code). False: all
            patches of the volume, and scores everywhere (the paper's words); the brain mask is then not looked at.
        accumulate: where the sums lie, as for ``PatchWindows``.

    Raises:
        ConfigError: a setting is out of range.

    Attributes:
        named: settings that the provenance of a prediction always says.
        many: that a case has so many samples that what a model does once is well spent: its batch norms are folded
            (``networks.folding``), and members of an ensemble share the samples.
    """

    named: ClassVar[tuple[str, ...]] = ("step",)
    many: ClassVar[bool] = True
    patch: tuple[int, int, int]
    step: tuple[int, int, int] = (4, 4, 1)
    batch_size: int = 64
    centre_in_brain: bool = True
    accumulate: Accumulate = "auto"

    def __post_init__(self) -> None:
        for name in ("patch", "step"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # yaml has lists
        at_most = tuple(zip(self.step, self.patch, strict=False))
        steps = len(self.step) == 3 and all(isinstance(step, int) and 1 <= step <= side for step, side in at_most)
        ranges = (
            ("patch", is_patch(self.patch), "three whole numbers, the sides in voxels", "[24,24,16]"),
            ("step", steps, "three whole numbers, from 1 to the patch's side", "[4,4,1]"),
            ("batch_size", self.batch_size >= 1, "a whole number of at least 1", "64"),
        )
        check_settings(self, ranges)
        check_accumulate(self.accumulate)

    def sample_shape(self, crop: object) -> tuple[int, int, int]:
        """Spatial shape S of what ``predict`` is given: the patch, whatever the grid."""
        return self.patch

    def corners(self, brain: NDArray[Any]) -> Ints:
        """Where patches begin.

        Args:
            brain: (X, Y, Z), non-zero = brain.

        Returns:
            (N, 3): first voxel of each patch in the padded volume, in the order of the grid; a patch that counts twice
            is there twice.
        """
        sides = np.array(self.patch)
        before, padded = self._padding(brain.shape)
        axes = [np.arange(0, size - side + 1, step) for size, side, step in zip(padded, sides, self.step, strict=True)]
        places = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        if self.centre_in_brain:
            centres = places + sides // 2 - before
            inside = np.all((centres >= 0) & (centres < brain.shape), axis=1)
            places = places[inside]
            places = places[brain[tuple(centres[inside].T)] != 0]
        clipped: Ints = np.clip(places, 1, padded - sides - 1)
        return clipped

    def count(self, brain: NDArray[Any] | Tensor) -> int:
        """How many patches are predicted of a volume with this brain (X, Y, Z)."""
        return len(self._plan(_on_host(brain)).corners)

    def __call__(self, image: NDArray[Any] | Tensor, predict: Predict, brain: NDArray[Any] | Tensor) -> Tensor:
        """Scores of a volume.

        Args:
            image: (C, X, Y, Z), model units; patches are gathered on the device where it lies.
            predict: (B, C, *patch) float32, channels last in memory, and brain (B, 1, *patch) uint8 to scores
                (B, K, *patch), each sample for itself.
            brain: (X, Y, Z), non-zero = brain.

        Returns:
            Scores (K, X, Y, Z) float32, where ``accumulate`` says: 0 where no patch lies. Without any centre in the
            brain all are 0; ``predict`` then sees one blank patch, to learn K from it.

        Raises:
            ConfigError: more than ``MOST_WINDOWS`` patches.
            ValueError: image and brain do not have one shape.
        """
        volume, mask = volume_and_brain(image, brain)
        plan = self._plan(_on_host(mask))
        with torch.no_grad():
            if len(plan.corners) == 0:
                blank = predict(volume.new_zeros(1, len(volume), *self.patch), _blank_brain(mask, self.patch))
                home = self._home(blank, mask.numel())
                return torch.zeros((blank.shape[1], *mask.shape), dtype=torch.float32, device=home)
            total = self._sum(volume, mask, predict, plan)
            mean = (total[(slice(None), *plan.inner)] / plan.coverage(total.device)).float()
        return torch.where(mask.to(mean.device), mean, 0.0) if self.centre_in_brain else mean

    def _sum(self, volume: Tensor, mask: Tensor, predict: Predict, plan: _Plan) -> Tensor:
        """The sum of all predictions, (K, *padded) float64."""
        images = _patches(_padded(volume, background_of(volume.cpu().numpy()), plan), self.patch)
        brains = _patches(_padded(mask[None].to(torch.uint8), np.zeros(1), plan), self.patch)
        corners = torch.from_numpy(plan.corners.T).to(volume.device)
        total: Tensor | None = None
        for begin in range(0, len(plan.corners), self.batch_size):
            batch = slice(begin, min(begin + self.batch_size, len(plan.corners)))
            places = tuple(corners[:, batch])
            scores = predict(_gathered(images, places), _gathered(brains, places))
            if total is None:
                home = self._home(scores, int(np.prod(plan.padded)))
                total = torch.zeros((scores.shape[1], *plan.padded), dtype=torch.float64, device=home)
            plan.paste(scores.to(total.device, torch.float64), total, batch)
        assert total is not None
        return total

    def _plan(self, brain: NDArray[Any]) -> _Plan:
        corners = self.corners(brain)
        if len(corners) > MOST_WINDOWS:
            raise ConfigError(
                "view.windows.step",
                found=f"{len(corners):,} patches in a volume of {brain.shape}",
                expected=f"at most {MOST_WINDOWS:,}",
                remedy="use larger steps, e.g. view.windows.step=[8,8,4]",
            )
        before, padded = self._padding(brain.shape)
        inner = tuple(slice(first, first + size) for first, size in zip(before, brain.shape, strict=True))
        return _Plan.of(corners, self.patch, tuple(int(size) for size in padded), inner)

    def _padding(self, shape: Sequence[int]) -> tuple[Ints, Ints]:
        """Voxels before the volume, and the shape of the padded one."""
        sizes, sides = np.array(shape), np.array(self.patch)
        half, lack = -(-sides // 2), np.maximum(sides - sizes, 0)
        return half + lack // 2, sizes + lack + 2 * half

    def _home(self, scores: Tensor, voxels: int) -> torch.device:
        """Where the sums lie: twice the numbers of float32, and on devices that have double precision."""
        home = home_of(2 * scores.shape[1] * voxels, scores.device, self.accumulate)
        return torch.device("cpu") if home.type == "mps" else home


@dataclass(frozen=True)
class _Plan:
    """All patches of a volume, tiling by tiling.

    Args:
        corners: (N, 3) in the padded volume, each once.
        times: (N,) how often each counts.
        patch: sides of a patch.
        padded: shape of the padded volume.
        inner: where the volume lies in it.
        bounds: first patch of each tiling, and N.
    """

    corners: Ints
    times: Ints
    patch: tuple[int, ...]
    padded: tuple[int, ...]
    inner: tuple[slice, ...]
    bounds: Ints

    @classmethod
    def of(cls, corners: Ints, patch: tuple[int, ...], padded: tuple[int, ...], inner: tuple[slice, ...]) -> _Plan:
        flat, times = np.unique(np.ravel_multi_index(tuple(corners.T), padded), return_counts=True)
        corners = np.stack(np.unravel_index(flat, padded), axis=1)
        tiling = np.ravel_multi_index(tuple((corners % patch).T), patch)
        order = np.argsort(tiling, kind="stable")
        bounds = np.flatnonzero(np.diff(tiling[order], prepend=-1, append=-1))
        return cls(corners[order], times[order], patch, padded, inner, bounds)

    def paste(self, scores: Tensor, total: Tensor, batch: slice) -> None:
        """Add the scores (B, K, *patch) of the patches ``batch`` to the volume (K, *padded) of their kind."""
        times = self.times[batch]
        if (times > 1).any():
            scores = scores * torch.from_numpy(times).to(scores)[:, None, None, None, None]
        for part in self._of_one_tiling(batch):
            corners = self.corners[part]
            phase = corners[0] % self.patch
            tiles = _tiles(total, phase, self.patch)
            places = tuple(torch.from_numpy((corners - phase) // self.patch).to(total.device).T)
            tiles[places] = tiles[places] + scores[part.start - batch.start : part.stop - batch.start]

    def _of_one_tiling(self, batch: slice) -> Iterator[slice]:
        within = self.bounds[(self.bounds > batch.start) & (self.bounds < batch.stop)]
        ends = [batch.start, *within.tolist(), batch.stop]
        yield from (slice(first, last) for first, last in pairwise(ends))

    def coverage(self, device: torch.device) -> Tensor:
        """How many predictions each voxel of the volume has, (X, Y, Z) float64; 1 where there is none."""
        count = torch.zeros(self.padded, dtype=torch.int32, device=device)
        count[tuple(torch.from_numpy(self.corners.T).to(device))] = torch.from_numpy(self.times).to(count)
        for axis, side in enumerate(self.patch):  # sums over boxes, an axis at a time
            running = count.cumsum(axis, dtype=torch.int32)
            count = running.clone()
            count.narrow(axis, side, count.shape[axis] - side).sub_(running.narrow(axis, 0, count.shape[axis] - side))
        return count[self.inner].clamp_min(1).double()


def _padded(volume: Tensor, around: NDArray[Any], plan: _Plan) -> Tensor:
    """A volume (C, X, Y, Z) inside the padded one, (*padded, C): the channels of a voxel lie together."""
    padded = volume.new_empty((*plan.padded, len(volume)))
    padded[:] = torch.from_numpy(around).to(padded)
    padded[plan.inner] = volume.permute(1, 2, 3, 0)
    return padded


def _patches(padded: Tensor, patch: Sequence[int]) -> Tensor:
    """All patches of a volume (*padded, C) by their corners, (x, y, z, *patch, C), without a copy."""
    for axis, side in enumerate(patch):
        padded = padded.unfold(axis, side, 1)
    return padded.movedim(3, -1)


def _gathered(patches: Tensor, places: tuple[Tensor, ...]) -> Tensor:
    """Patches at these corners as (B, C, *patch), channels last in memory."""
    return patches[places].movedim(-1, 1)


def _tiles(total: Tensor, phase: Ints, patch: Sequence[int]) -> Tensor:
    """A volume (K, X, Y, Z) as the patches of one tiling, (x, y, z, K, *patch), without a copy."""
    for axis, (first, side) in enumerate(zip(phase.tolist(), patch, strict=True), start=1):
        total = total.narrow(axis, first, total.shape[axis] - first).unfold(axis, side, side)
    return total.movedim(0, 3)


def _on_host(brain: NDArray[Any] | Tensor) -> NDArray[Any]:
    return brain.cpu().numpy() if isinstance(brain, Tensor) else brain


def _blank_brain(mask: Tensor, patch: Sequence[int]) -> Tensor:
    return torch.zeros((1, 1, *patch), dtype=torch.uint8, device=mask.device)
