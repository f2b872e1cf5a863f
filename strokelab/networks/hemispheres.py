"""Hemisphere splitting: cut at the mid-sagittal plane, mirror the right half, put back together afterwards.

Knows left from right and nothing about networks. Yu 2022, section II-C: twice the samples at half the size; lesions
that cross the midline are simply cut.

Left-right is the last axis of slices (B, C, Y, X) and the first spatial axis of volumes (B, C, X, Y, Z).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.contract import kinds_of
from strokelab.errors import ConfigError, DataWarning


def left_right_axis(x: Tensor) -> int:
    """Index of the left-right axis: 3 for slices (B, C, Y, X), 2 for volumes (B, C, X, Y, Z)."""
    return 3 if x.ndim == 4 else 2


def split(x: Tensor) -> Tensor:
    """Cut (B, C, *S) into (2B, C, *S/2): all left halves, then all right halves mirrored, in the same order.

    Raises:
        ConfigError: the left-right axis has an odd length.
    """
    axis = left_right_axis(x)
    if x.shape[axis] % 2:
        raise ConfigError(
            "hemispheres",
            found=f"{x.shape[axis]} voxels from left to right",
            expected="an even number",
            remedy="crop to an even width (view.preparation.crop), or switch off with hemispheres=none",
        )
    left, right = x.chunk(2, dim=axis)
    return torch.cat([left, right.flip(axis)], dim=0)


def merge(halves: Tensor) -> Tensor:
    """Inverse of ``split``, bit for bit: (2B, C, *S/2) -> (B, C, *S)."""
    axis = left_right_axis(halves)
    left, right = halves.chunk(2, dim=0)
    return torch.cat([left, right.flip(axis)], dim=axis)


def mirror_overlap(brain: Tensor) -> Tensor:
    """Dice of every brain mask with itself mirrored about the cut: (B, 1, *S) -> (B,) float32; 1 for an empty mask."""
    both, size = _mirror_counts(brain)
    return torch.where(size > 0, both / size.clamp(min=1), torch.ones_like(size, dtype=torch.float32))


@buildable("model")
class Hemispheres:
    """The part a model carries: ``split`` a batch before the network, ``join`` its maps after it.

    It also watches the brains that pass: a head lying askew, or a space whose middle is not the cut, degrades the
    idea to plain cutting in two, and is reported once per case by ``warn_askew``.

    Args:
        min_overlap: Dice of a brain with its mirror image below which a case is reported (0.988 for the MNI152 brain).
    """

    halves: ClassVar[int] = 2
    """Parts that it cuts the width into: it needs samples whose middle is the midline, and an even width."""

    def __init__(self, min_overlap: float = 0.9) -> None:
        self.min_overlap = min_overlap
        self._passed: list[tuple[list[str], Tensor]] = []
        self._judged: set[str] = set()

    def split(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Twice as many samples of half the width: maps are cut, everything else (site, id, origin) is repeated.

        Raises:
            ConfigError: the left-right axis has an odd length.
        """
        self._watch(batch)
        spatial = {*kinds_of(batch), "target"}
        return {key: split(value) if key in spatial else _repeat(value) for key, value in batch.items()}

    def join(self, scores: Tensor) -> Tensor:
        """Maps of the halves (2B, K, *S/2) to maps of the whole (B, K, *S)."""
        return merge(scores)

    def warn_askew(self) -> dict[str, float]:
        """Judge the cases that passed since the last call, over all their slices or patches together.

        Warns with a ``DataWarning`` for every case below ``min_overlap`` that was not judged before.

        Returns:
            The overlap of each case reported now.
        """
        totals: dict[str, Tensor] = {}
        for case_ids, counts in self._passed:
            for case_id, count in zip(case_ids, counts.cpu(), strict=True):
                totals[case_id] = totals.get(case_id, torch.zeros_like(count)) + count
        self._passed.clear()
        overlaps = {
            case_id: float(both / max(float(size), 1.0)) for case_id, (both, size) in totals.items() if size > 0
        }
        self._judged.update(totals)
        askew = {case_id: overlap for case_id, overlap in overlaps.items() if overlap < self.min_overlap}
        for case_id, overlap in askew.items():
            warnings.warn(
                f"{case_id}: its brain and the mirror image about the cut overlap with Dice {overlap:.3f}, below "
                f"{self.min_overlap}; splitting hemispheres only cuts this brain in two",
                DataWarning,
                stacklevel=2,
            )
        return askew

    def _watch(self, batch: Mapping[str, Any]) -> None:
        case_ids = batch.get("case_id")
        if case_ids is None or self._judged.issuperset(case_ids):
            return
        rows = [row for row, case_id in enumerate(case_ids) if case_id not in self._judged]
        counts = torch.stack(_mirror_counts(batch["brain"][rows]), dim=1)
        self._passed.append(([case_ids[row] for row in rows], counts))  # on the device still: no waiting here


def _mirror_counts(brain: Tensor) -> tuple[Tensor, Tensor]:
    """Twice the voxels shared with the mirror image, and the voxels of both: (B,) int64 each."""
    inside = brain != 0
    shared = inside & inside.flip(left_right_axis(brain))
    return 2 * shared.flatten(1).sum(1), 2 * inside.flatten(1).sum(1)


def _repeat(value: Any) -> Any:
    if isinstance(value, Tensor):
        return torch.cat([value, value], dim=0)
    if isinstance(value, Mapping):  # of the batch as a whole, e.g. the kinds of its maps
        return value
    return [*value, *value]
