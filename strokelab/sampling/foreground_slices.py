"""Slices sampled at random, a third of each batch with lesion (nnU-Net of slices). Knows masks; no grey values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.sampling.boxes import Crop, Drawing, Part, Sampled
from strokelab.sampling.foreground import check_epochs, is_forced, shares_of
from strokelab.sampling.order import InOrder, Key, Order
from strokelab.sampling.slices import Slices
from strokelab.seeding import stream

_MOST_LISTED = 32_768  # batches of an epoch that an untrusted config may ask for: their order is an array


@buildable("view", most={"iterations_per_epoch": _MOST_LISTED, "validation_iterations": _MOST_LISTED})
@dataclass(frozen=True)
class ForegroundSlices:
    """Whole slices sampled with replacement, so many batches an epoch; some of each batch are forced to hold lesion.

    A case is sampled, then one of its slices: any with enough brain, each as likely as the others, or, where lesion is
    forced, that of a random lesion voxel, so that slices with more of it come more often (Isensee 2021, nnU-Net in 2D).
    A case without lesion gives any slice.

    Args:
        min_brain_pixels: as ``Slices``.
        iterations_per_epoch: training batches that count as an epoch.
        validation_iterations: validation batches.
        foreground: share of forced slices.
        foreground_mode: as ``ForegroundPatches``.
        fixed_validation: sample the validation slices once, so that epochs can be compared; nnU-Net samples new ones.

    Raises:
        ConfigError: a setting is out of range.
    """

    min_brain_pixels: int = 64
    iterations_per_epoch: int = 250
    validation_iterations: int = 50
    foreground: float = 0.33
    foreground_mode: Literal["last", "random"] = "last"
    fixed_validation: bool = True
    axis: ClassVar[int] = 2

    def __post_init__(self) -> None:
        Slices(self.min_brain_pixels)
        check_epochs(self)

    def places(self, cases: Sequence[Sampled], drawing: Drawing) -> SlicePlaces:
        """Cases sampled at random, and a slice of each.

        Raises:
            DataError: no slice at all, or weights that no case can be sampled by.
            ConfigError: slices of different sizes.
        """
        return SlicePlaces(self, cases, drawing)

    def order(self, part: Part) -> Order:
        """First to last: there is nothing to shuffle, and the place in a batch decides which are forced."""
        return InOrder(fixed=part == "val" and self.fixed_validation)

    def sample_shape(self, crop: Crop) -> tuple[int, ...] | None:
        """As ``Slices``."""
        return Slices(self.min_brain_pixels).sample_shape(crop)


class SlicePlaces:
    """Slices that ``ForegroundSlices`` samples from some cases; index counts through the batches of an epoch.

    A place is a pure function of (seed, part, epoch, index).

    Args:
        sampler: the settings.
        cases: of a part.
        drawing: for what.

    Raises:
        DataError, ConfigError: as ``ForegroundSlices.places``.
    """

    rows = None

    def __init__(self, sampler: ForegroundSlices, cases: Sequence[Sampled], drawing: Drawing) -> None:
        every = Slices(sampler.min_brain_pixels).places(cases, replace(drawing, weights=None))
        self.sampler, self.cases, self.drawing, self.size = sampler, list(cases), drawing, every.size
        counts = np.bincount(every.rows, minlength=len(self.cases))
        self.slices = np.split(every.starts[:, 2], np.cumsum(counts)[:-1])  # of each case
        weights = np.ones(len(self.cases)) if drawing.weights is None else np.asarray(drawing.weights, dtype=float)
        self.shares = shares_of(list(np.where(counts > 0, weights, 0.0)), self.cases)
        self._lesions: dict[int, NDArray[np.int64]] = {}

    def __len__(self) -> int:
        training = self.drawing.part == "train"
        batches = self.sampler.iterations_per_epoch if training else self.sampler.validation_iterations
        return batches * self.drawing.batch_size

    def at(self, keys: Sequence[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As ``Places``."""
        found = np.array([self._place(key) for key in keys], dtype=np.int64)
        return found[:, 0], np.pad(found[:, 1:], ((0, 0), (2, 0)))

    def _place(self, key: Key) -> tuple[int, int]:
        rng = stream(self.drawing.seed, "slice", self.drawing.part, *key)
        row = int(np.searchsorted(self.shares, rng.random(), side="right"))
        size = self.drawing.batch_size
        forced = is_forced(self.sampler, key[1] % size, size, rng)
        ends = self._lesion_ends(row) if forced and self.cases[row].lesion_voxels else None
        if ends is None or not ends[-1]:
            return row, int(self.slices[row][rng.integers(len(self.slices[row]))])
        return row, int(self.slices[row][np.searchsorted(ends, rng.integers(ends[-1]), side="right")])

    def _lesion_ends(self, row: int) -> NDArray[np.int64]:
        """The lesion voxels of a case's slices, added up from the first to each; read once per case and process."""
        if row not in self._lesions:
            lesion = self.cases[row].load().lesion
            assert lesion is not None  # it has lesion voxels
            counts = np.count_nonzero(lesion, axis=(0, 1))[self.slices[row]]
            self._lesions[row] = np.cumsum(counts, dtype=np.int64)
        return self._lesions[row]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lesions": {}}  # a loader worker finds them anew
