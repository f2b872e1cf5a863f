"""Boxes on the prepared grid, and what a sampler is. Knows integers; cuts no voxels (``data.samples`` does)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import PreparedCase
from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.sampling.order import Key, Order

Part = Literal["train", "val"]
"""Of a cohort: whose samples."""
Size = tuple[int, int, int]
"""Voxels along (x, y, z); an axis of length 1 makes slices."""
Crop = tuple[int | None, int | None, int | None] | None
MOST_VOXELS = 2**28
"""Of a box, which is read: a run folder may be untrusted."""


class Sampled(Protocol):
    """What a sampler may know of a case (``preparation.store.StoredCase`` is one)."""

    @property
    def case_id(self) -> str:
        """Unique in the cohort."""

    @property
    def grid(self) -> Grid:
        """The prepared grid, on which boxes lie."""

    @property
    def lesion_voxels(self) -> int | None:
        """Lesion voxels on that grid; None: unlabelled."""

    @property
    def brain_voxels_per_slice(self) -> tuple[int, ...]:
        """Brain voxels in each slice along axis 2."""

    def load(self) -> PreparedCase:
        """The arrays, memory-mapped; for samplers that look at masks."""


@dataclass(frozen=True)
class Drawing:
    """For what samples are taken.

    Args:
        part: training and validation may take different samples.
        seed: of the run.
        batch_size: samples per step, over all processes.
        weights: how often each case is sampled, relative to the others; None: all alike.
        weighed_by: the setting that says so.
    """

    part: Part
    seed: int
    batch_size: int
    weights: Sequence[float] | None = None
    weighed_by: str = "data.pseudo.weight"


class Places(Protocol):
    """Where the samples of some cases lie, epoch by epoch: boxes of one size, which may hang over the grid's border.

    Three things they may have besides: ``background``, true where what hangs over is each channel's background
    (``preparation.background``) rather than 0; ``turns(keys)``, how each box is turned (``sampling.turns``); and
    ``around``, how many slices before and after a slice are further channels of its image, 0 beyond the grid.
    """

    @property
    def size(self) -> Size:
        """Of every box."""

    @property
    def rows(self) -> NDArray[np.int64] | None:
        """The case of each sample (N,), where an epoch visits the same ones in any order; None: the place decides."""

    def __len__(self) -> int:
        """Samples of an epoch, N."""

    def at(self, keys: Sequence[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cases (B,) and lowest corners (B, 3), x, y, z: a pure function of the seed and of each (epoch, index)."""


class Sampler(Protocol):
    """Settings from which the places of samples follow once the cases are known: ``view.sampler``."""

    def places(self, cases: Sequence[Sampled], drawing: Drawing) -> Places:
        """Where the samples of these cases lie."""

    def order(self, part: Part) -> Order | None:
        """The order in which an epoch must ask for them; None: any (``view.order``)."""

    def sample_shape(self, crop: Crop) -> tuple[int, ...] | None:
        """Spatial shape S of a sample on a grid cropped to ``crop``; None where it depends on the case."""


@dataclass(frozen=True)
class Listed:
    """Places that are known from the start, the same in every epoch: every slice, or a list of patches.

    Args:
        size: of every box.
        starts: (N, 3) integers of any width, the lowest corner of each box, voxels along (x, y, z).
        rows: (N,) the case of each box.
        around: slices before and after a slice that come with its image.

    Raises:
        ValueError: shapes do not fit, or a length is below 1.
    """

    size: Size
    starts: NDArray[Any]
    rows: NDArray[np.int64]
    around: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.starts.shape != (len(self.rows), 3) or self.starts.dtype.kind != "i":
            raise ValueError(
                f"starts: {self.starts.dtype} {self.starts.shape}, expected integers of {len(self.rows)} x 3"
            )
        if len(self.size) != 3 or min(self.size) < 1:
            raise ValueError(f"size: {self.size}, expected three lengths of at least 1")

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, keys: Sequence[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As ``Places``; the epoch changes nothing."""
        indices = [index for _, index in keys]
        return self.rows[indices], self.starts[indices].astype(np.int64)


def listed(cases: Sequence[Sampled], starts: Sequence[NDArray[Any]], sizes: Sequence[Size]) -> Listed:
    """The boxes of all cases as places, case by case.

    Args:
        cases: whose.
        starts: of each case, (N_i, 3) integers.
        sizes: of each case.

    Raises:
        DataError: there is no box at all.
        ConfigError: boxes of different sizes.
    """
    counts = [len(one) for one in starts]
    if not sum(counts):
        raise DataError(
            "view.sampler",
            found=f"no sample in {len(cases)} cases",
            expected="slices or patches that the sampler accepts",
            remedy="check the brain masks, or accept more (view.sampler.min_brain_pixels)",
        )
    found = {size: case.case_id for size, case, count in zip(sizes, cases, counts, strict=True) if count}
    if len(found) > 1:
        raise ConfigError(
            "view.preparation.crop",
            found=f"samples of different sizes: {dict(list(found.items())[:4])}",
            expected="one size (x, y, z) for all cases",
            remedy="give view.preparation.crop a number for every axis that differs",
        )
    return Listed(next(iter(found)), np.concatenate(starts), np.repeat(np.arange(len(cases)), counts))


def checked_size(setting: str, given: Any) -> Size:
    """The three sides of a box with volume, as yaml gives them.

    Args:
        setting: its name, for messages.
        given: what it says.

    Raises:
        ConfigError: these are no three sides, or a box of too many voxels.
    """
    try:
        sides = tuple(int(side) for side in given)
        whole = all(side == one for side, one in zip(sides, given, strict=True))
    except (TypeError, ValueError):
        sides, whole = (), False
    if not whole or len(sides) != 3 or min(sides) < 2 or math.prod(sides) > MOST_VOXELS:
        raise ConfigError(
            setting,
            found=repr(given),
            expected=f"three whole numbers of at least 2, along x, y and z, at most {MOST_VOXELS:,} voxels",
            remedy=f"change {setting}",
        )
    return sides[0], sides[1], sides[2]


def check_unweighted(drawing: Drawing, sampler: object) -> None:
    """A sampler that takes every sample in turn has no use for weights.

    Raises:
        ConfigError: they differ.
    """
    weights = sorted(set(drawing.weights or ()))
    if len(weights) > 1:
        alike = f"set {drawing.weighed_by}=1" if drawing.weighed_by.endswith(".weight") else "leave the weights out"
        raise ConfigError(
            drawing.weighed_by,
            found=f"weights {weights} with {type(sampler).__name__}, which takes every sample in turn",
            expected="cases of one weight, or a view that samples its cases at random",
            remedy=f"{alike}, or choose a model with such a view: model=nnunet",
        )
