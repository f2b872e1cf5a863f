"""Random masks of a brain extraction (SynthStroke, section 5). Knows masks; knows no images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.lesions import label_lesions, lesion_sizes
from strokelab.synthesis.fields import Range, checked


@dataclass(frozen=True)
class Strip:
    """One skull stripping.

    Args:
        dilate: voxels that the filled mask grows beyond its usual rounds.
        erode: voxels that it shrinks after that.
    """

    dilate: int = 0
    erode: int = 0


@buildable(training="data", most={"rounds": 20, "step": 20, "dilate": 20, "erode": 20})
@dataclass(frozen=True, kw_only=True)
class SkullStrip:
    """How brains are extracted; the defaults are the authors'.

    Args:
        p: share of samples.
        rounds: of dilation.
        step: voxels (city-block distance) of each; holes are filled after it.
        dilate_p: share of those masks that grow further.
        dilate: range of that, voxels, rounded to whole numbers.
        erode_p: share of those masks that shrink.
        erode: range of that, voxels, rounded to whole numbers.

    Raises:
        ConfigError: a share outside 0..1, a range beyond its limits.
    """

    p: float = 0.3
    rounds: int = 3
    step: int = 2
    dilate_p: float = 0.3
    dilate: Range = (0.0, 2.0)
    erode_p: float = 0.3
    erode: Range = (0.0, 4.0)

    def __post_init__(self) -> None:
        checked(self, least=0, most=1, names=("p", "dilate_p", "erode_p"))
        checked(self, least=0, most=20, names=("rounds", "step", "dilate", "erode"))

    def sampled(self, stream: np.random.Generator) -> Strip | None:
        """Whether and how one sample is stripped."""
        happens, dilates, erodes = stream.random(3) < (self.p, self.dilate_p, self.erode_p)
        dilate, erode = round(stream.uniform(*self.dilate)), round(stream.uniform(*self.erode))
        return Strip(dilate * bool(dilates), erode * bool(erodes)) if happens else None

    def mask(self, brain: Tensor, strip: Strip) -> Tensor:
        """What is left of the image: (X, Y, Z) bool.

        Holes are filled once: dilating a filled mask gives what filling the dilated one gives, since every path out
        of a hole leads through its wall.

        Args:
            brain: (X, Y, Z) bool, warped as the image was; empty: so is the result.
            strip: of ``sampled``.
        """
        mask = _dilated(_largest(brain), self.rounds * self.step)
        mask = _dilated(_filled(mask), strip.dilate)
        return ~_dilated(~mask, strip.erode)


def _dilated(mask: Tensor, by: int) -> Tensor:
    """All voxels within a city-block distance of the mask; nothing lies beyond the border."""
    for _ in range(by):
        wider = mask.clone()
        for axis in range(3):
            side = mask.shape[axis] - 1
            wider.narrow(axis, 0, side).logical_or_(mask.narrow(axis, 1, side))
            wider.narrow(axis, 1, side).logical_or_(mask.narrow(axis, 0, side))
        mask = wider
    return mask


def _largest(mask: Tensor) -> Tensor:
    labels, count = label_lesions(mask.cpu().numpy(), 6)
    if count < 2:
        return mask
    return torch.from_numpy(labels == 1 + int(np.argmax(lesion_sizes(labels, count)))).to(mask.device)


def _filled(mask: Tensor) -> Tensor:
    """The mask with those holes that do not reach the border of the volume."""
    padded = np.pad(~mask.cpu().numpy(), 1, constant_values=True)
    labels, count = label_lesions(padded, 6)
    if count < 2:
        return mask
    return torch.from_numpy((labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]).to(mask.device)
