"""Changes of place, applied to image, lesion and brain as one. Knows axes; knows no intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from strokelab.augment.recipes import Tensors
from strokelab.buildable import buildable
from strokelab.errors import ConfigError


def flip(sample: Tensors, axes: Sequence[str]) -> Tensors:
    """Mirror along anatomical axes: ``"x"`` left-right, ``"y"`` anterior-posterior, ``"z"`` head-foot.

    Args:
        sample: tensors (., Y, X) or (., X, Y, Z).
        axes: which; in any order.
    """
    dims = _dimensions(sample["image"].ndim - 1)
    return {key: torch.flip(value, [dims[axis] for axis in axes]) for key, value in sample.items()}


@buildable(training="view")
@dataclass(frozen=True)
class Flip:
    """Mirror along each of the named axes, independently.

    Args:
        axes: of ``"x"``, ``"y"``, ``"z"`` (the last one for volumes only).
        p: probability for each axis.
    """

    axes: Sequence[str] = ("x",)
    p: float = 0.5

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> tuple[str, ...] | None:
        """The axes to mirror.

        Raises:
            ConfigError: an axis that samples of this shape do not have.
        """
        strange = sorted(set(self.axes) - set(_dimensions(len(shape) - 1)))
        if strange:
            raise ConfigError(
                "view.augment: Flip.axes",
                found=f"{strange} for samples of shape {shape}",
                expected=f"axes of {sorted(_dimensions(len(shape) - 1))}",
                remedy="leave the others out",
            )
        drawn = stream.random(len(self.axes)) < self.p
        return tuple(axis for axis, chosen in zip(self.axes, drawn, strict=True) if chosen) or None

    def apply(self, sample: Tensors, drawn: tuple[str, ...]) -> Tensors:
        """``flip`` along the drawn axes."""
        return flip(sample, drawn)


def _dimensions(space: int) -> dict[str, int]:
    return {"y": 1, "x": 2} if space == 2 else {"x": 1, "y": 2, "z": 3}
