"""Whole slices, with or without lesion (SG-Net). Knows masks; knows no intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.sampling.boxes import Crop, Drawing, Listed, Part, Sampled, check_unweighted, listed
from strokelab.sampling.order import Order

MOST_SLICES = 64
"""Of a slab, which goes through a network at once: a run folder may be untrusted."""


@buildable("view")
@dataclass(frozen=True)
class Slices:
    """Every slice that holds enough brain, in order, the same in every epoch.

    With ``slices`` above 1 the image of a sample is a slab: channel ``c * slices + s`` is slice ``z - target + s`` of
    channel c, 0 beyond the volume. Lesion and brain are those of slice z alone.

    Yu 2022 (SG-Net) takes the axial slices of a scan, lesion-free ones included; leaving out slices with next to no
    brain is our decision, since they have no z-score, and inference leaves out the same ones.

    Args:
        min_brain_pixels: a slice with fewer brain pixels is left out; one without any always is.
        keep_empty: whether slices without lesion are samples, too.
        axis: the axis the slices are perpendicular to; 2 = axial, the only one whose brain pixels are known.
        slices: of a slab; 1: no slab.
        target: the place of a sample's own slice among them.

    Raises:
        ConfigError: another axis than 2, a negative number of pixels, or no slab of ``MOST_SLICES`` at most with the
            slice in it.
    """

    min_brain_pixels: int = 64
    keep_empty: bool = True
    axis: int = 2
    slices: int = 1
    target: int = 0

    def __post_init__(self) -> None:
        check_slab("view.sampler", self.slices, self.target)
        if self.axis != 2:
            raise ConfigError(
                "view.sampler.axis",
                found=str(self.axis),
                expected="2: axial slices, for which preparation counts the brain pixels",
                remedy="set ++view.sampler.axis=2",
            )
        if self.min_brain_pixels < 0:
            raise ConfigError(
                "view.sampler.min_brain_pixels",
                found=str(self.min_brain_pixels),
                expected="0 or more pixels",
                remedy="set view.sampler.min_brain_pixels=0 to keep every slice with brain",
            )

    def places(self, cases: Sequence[Sampled], drawing: Drawing) -> Listed:
        """One box (X, Y, 1) for each slice with enough brain, lowest first, case by case.

        Raises:
            DataError: no slice at all.
            ConfigError: slices of different sizes, or weights.
        """
        check_unweighted(drawing, self)
        starts = [np.pad(self._kept(case)[:, None], ((0, 0), (2, 0))) for case in cases]
        found = listed(cases, starts, [(case.grid.shape[0], case.grid.shape[1], 1) for case in cases])
        return replace(found, around=(self.target, self.slices - 1 - self.target))

    def order(self, part: Part) -> Order | None:
        """Any."""
        return None

    def sample_shape(self, crop: Crop) -> tuple[int, ...] | None:
        """(Y, X) of the crop; None where the crop leaves x or y as the case has it."""
        if crop is None or crop[0] is None or crop[1] is None:
            return None
        return crop[1], crop[0]

    def _kept(self, case: Sampled) -> NDArray[np.int64]:
        kept = np.flatnonzero(np.asarray(case.brain_voxels_per_slice) >= max(self.min_brain_pixels, 1))
        if self.keep_empty:
            return kept
        lesion = case.load().lesion
        return kept[:0] if lesion is None else kept[np.asarray(lesion.any(axis=(0, 1)))[kept]]


def check_slab(part: str, slices: int, target: int) -> None:
    """A slab has a few slices, and one of them is the sample's own.

    Args:
        part: of the view that says so, for messages.
        slices: how many.
        target: which of them, from 0.

    Raises:
        ConfigError: it is not so.
    """
    if not (1 <= slices <= MOST_SLICES and 0 <= target < slices):
        raise ConfigError(
            f"{part}.slices, {part}.target",
            found=f"{slices}, {target}",
            expected=f"1 to {MOST_SLICES} slices, and the place of one among them, from 0",
            remedy=f"set {part}.slices=4 {part}.target=2, or leave both out for single slices",
        )
