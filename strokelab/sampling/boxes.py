"""Boxes on the prepared grid, and what a sampler is. Knows integers; cuts no voxels (``data.datasets`` does)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import PreparedCase
from strokelab.grid import Grid

Part = Literal["train", "val"]
"""Of a cohort: whom patches are drawn from."""


@dataclass(frozen=True)
class Boxes:
    """N boxes of one size; they may hang over the border of the grid, where there is background.

    Args:
        starts: (N, 3) int64, the lowest corner of each box, voxels along (x, y, z).
        size: voxels along (x, y, z); an axis of length 1 makes slices.

    Raises:
        ValueError: the starts are not (N, 3) integers, or a length is below 1.
    """

    starts: NDArray[np.int64]
    size: tuple[int, int, int]

    def __post_init__(self) -> None:
        if self.starts.ndim != 2 or self.starts.shape[1] != 3 or self.starts.dtype != np.int64:
            raise ValueError(f"starts: {self.starts.dtype} {self.starts.shape}, expected int64 (N, 3)")
        if len(self.size) != 3 or min(self.size) < 1:
            raise ValueError(f"size: {self.size}, expected three lengths of at least 1")

    def __len__(self) -> int:
        return len(self.starts)


class Sampled(Protocol):
    """What a sampler may know of a case (``preparation.store.StoredCase`` is one)."""

    @property
    def case_id(self) -> str:
        """Unique in the cohort."""

    @property
    def grid(self) -> Grid:
        """The prepared grid, on which boxes lie."""

    @property
    def brain_voxels_per_slice(self) -> tuple[int, ...]:
        """Brain voxels in each slice along axis 2."""

    def load(self) -> PreparedCase:
        """The arrays, memory-mapped; for samplers that look at masks."""


class Sampler(Protocol):
    """Chooses the boxes of one case for one epoch; always the same number for a case."""

    @property
    def fixed(self) -> bool:
        """Whether the boxes are the same in every epoch, so that they need to be drawn only once."""

    def draw(self, case: Sampled, stream: np.random.Generator) -> Boxes:
        """The boxes of ``case``: a pure function of the case and the stream."""

    def sample_shape(self, crop: tuple[int | None, int | None, int | None] | None) -> tuple[int, ...] | None:
        """Spatial shape S of a sample on a grid cropped to ``crop``; None where it depends on the case."""


@runtime_checkable
class PatchSampler(Protocol):
    """Draws patches at random, cases with them; how many an epoch has is its own setting."""

    @property
    def patch(self) -> tuple[int, int, int]:
        """Voxels along (x, y, z)."""

    @property
    def fixed_validation(self) -> bool:
        """Whether all epochs validate on the same patches."""

    def sample_shape(self, crop: tuple[int | None, int | None, int | None] | None) -> tuple[int, ...] | None:
        """As ``Sampler``."""

    def batches(self, part: Part) -> int:
        """Batches of an epoch."""

    def is_forced(self, place: int, batch_size: int, stream: np.random.Generator) -> bool:
        """Whether sample ``place`` of a batch must hold lesion."""

    def kept_voxels(self, lesion: NDArray[np.uint8], stream: np.random.Generator) -> NDArray[np.int64]:
        """Lesion voxels of a case that forced patches choose from."""

    def start(
        self,
        shape: tuple[int, int, int],
        stream: np.random.Generator,
        lesion_voxels: Callable[[], NDArray[np.int64]] | None = None,
    ) -> NDArray[np.int64]:
        """The lowest corner (x, y, z) of one patch; forced where ``lesion_voxels`` is given."""


def plane_axis(size: tuple[int, int, int]) -> int | None:
    """The axis of a box that is a slice (the only one of length 1); None for a box with volume."""
    thin = [axis for axis, length in enumerate(size) if length == 1]
    return thin[0] if len(thin) == 1 else None
