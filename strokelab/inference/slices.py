"""A volume as a stack of axial slices. Knows tensors and a brain mask; knows no files, models or thresholds.

Axes: a volume is (C, X, Y, Z), a slice is (C, Y, X): rows anterior-posterior, columns left-right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.inference.accumulate import volume_and_brain
from strokelab.inference.flips import flipped, flips_of
from strokelab.sampling.slices import check_slab

Predict = Callable[[Tensor, Tensor], Tensor]
_OF_SLICES = {-3: -1, -2: -2}  # an axis of volumes (x, y, z), as it is called in slices (Y, X)


@buildable("view")
@dataclass(frozen=True)
class SliceWindows:
    """Whole-volume inference slice by slice, in bulk.

    Slices with too little brain are left out of the network and score 0, in training and here alike
    (``docs/methods/sgnet.md``: an empty slice has no z-score).

    Args:
        batch_size: slices that go through ``predict`` at once; does not change the result.
        min_brain_pixels: a slice with fewer brain pixels is background.
        slices: of the slab that a slice is predicted from, as ``sampling.slices`` has them; 1: the slice alone.
        target: its place in the slab.
        mirror: axes of a slice along which it is mirrored as well, ``"xy"`` for 4 predictions, whose scores are
            averaged (nnU-Net); ``"none"``.

    Raises:
        ConfigError: one of them is out of range.
    """

    axis: ClassVar[int] = 2
    batch_size: int = 32
    min_brain_pixels: int = 64
    slices: int = 1
    target: int = 0
    mirror: str | None = "none"

    def __post_init__(self) -> None:
        check_slab("view.windows", self.slices, self.target)
        if any(-1 in flip for flip in flips_of(self.mirror)):
            raise ConfigError(
                "view.windows.mirror",
                found=repr(self.mirror),
                expected="letters of x and y, the axes of a slice, or none",
                remedy="set view.windows.mirror=xy",
            )
        for name, least in (("batch_size", 1), ("min_brain_pixels", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"view.windows.{name}",
                    found=str(getattr(self, name)),
                    expected=f"a whole number of at least {least}",
                    remedy=f"set view.windows.{name}={least} or more",
                )

    def sample_shape(self, crop: tuple[int | None, int | None, int | None] | None) -> tuple[int, int] | None:
        """Spatial shape S = (Y, X) of what ``predict`` is given on a grid cropped to ``crop``; None: the case's."""
        x, y, _ = crop or (None, None, None)
        return None if x is None or y is None else (y, x)

    def check_samples(self, sampler: object) -> None:
        """Training must see the slices that are predicted.

        Raises:
            ConfigError: a sampler of slices leaves out others, cuts along another axis, or gives other slabs.
        """
        for name in ("min_brain_pixels", "axis", "slices", "target"):
            trained = getattr(sampler, name, None)
            if trained not in (None, getattr(self, name)):
                raise ConfigError(
                    f"view.windows.{name}",
                    found=str(getattr(self, name)),
                    expected=f"{trained}, as in view.sampler.{name}",
                    remedy="set both alike, or leave them as conf/view has them",
                )

    def __call__(self, image: NDArray[Any] | Tensor, predict: Predict, brain: NDArray[Any] | Tensor) -> Tensor:
        """Scores of a volume.

        Args:
            image: (C, X, Y, Z), model units.
            predict: (B, C * slices, Y, X) float32 and brain (B, 1, Y, X) uint8 to scores (B, K, Y, X).
            brain: (X, Y, Z), non-zero = brain.

        Returns:
            Scores (K, X, Y, Z) float32 on the device of what ``predict`` returned, a view in the memory order of the
            store (slices lie together). A volume without any brain gives zeros; ``predict`` then sees one blank
            slice, to learn K from it.

        Raises:
            ValueError: image and brain do not have one shape.
        """
        volume, mask = volume_and_brain(image, brain)
        kept = torch.nonzero(mask.sum(dim=(0, 1)) >= max(self.min_brain_pixels, 1)).flatten()
        brains = mask.permute(2, 1, 0).index_select(0, kept).unsqueeze(1).to(torch.uint8)
        with torch.no_grad():
            if len(kept) == 0:
                slab = volume.new_zeros(1, len(volume) * self.slices, *brains.shape[2:])
                blank = predict(slab, brains.new_zeros(1, *brains.shape[1:]))
                return torch.zeros((blank.shape[1], *mask.shape), dtype=torch.float32, device=blank.device)
            starts = range(0, len(kept), self.batch_size)
            batches = (slice(start, start + self.batch_size) for start in starts)
            seen = [self._mirrored(predict, self.samples(volume, kept[batch]), brains[batch]) for batch in batches]
            scores = torch.cat(seen)
        stack = scores.new_zeros((mask.shape[2], *scores.shape[1:]))
        stack[kept.to(scores.device)] = scores
        return stack.permute(1, 3, 2, 0)

    def _mirrored(self, predict: Predict, image: Tensor, brain: Tensor) -> Tensor:
        """The mean of the scores of slices (B, C, Y, X) and of their mirror images, turned back."""
        flips = [tuple(_OF_SLICES[axis] for axis in flip) for flip in flips_of(self.mirror)]
        scores = [flipped(predict(flipped(image, flip), flipped(brain, flip)).float(), flip) for flip in flips]
        return scores[0] if len(scores) == 1 else torch.stack(scores).mean(dim=0)

    def samples(self, volume: Tensor, places: Tensor) -> Tensor:
        """What the network is given of some slices: (N, C * slices, Y, X), contiguous; slices beyond the volume are 0.

        Args:
            volume: (C, X, Y, Z).
            places: of the slices along z, (N,) int64.
        """
        # One gather along the slice axis: a plain copy where slices lie together in memory, as they do in the store.
        stack = volume.permute(3, 0, 2, 1)
        if self.slices == 1:
            return stack.index_select(0, places)
        offsets = torch.arange(self.slices, device=places.device) - self.target
        wanted = places[:, None] + offsets
        inside = (wanted >= 0) & (wanted < len(stack))
        found = stack.index_select(0, wanted.clamp(0, len(stack) - 1).flatten())
        slabs = found.view(*wanted.shape, *found.shape[1:]) * inside[:, :, None, None, None]  # (N, slices, C, Y, X)
        return slabs.transpose(1, 2).flatten(1, 2)
