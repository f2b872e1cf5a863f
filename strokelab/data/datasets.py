"""Samples cut from prepared cases, a batch at a time. Knows memory maps and boxes; knows no files and no Lightning.

Nothing is decoded, queued or collated: a batch is gathered straight from the maps into one tensor per key. Slices
come out as (C, Y, X), rows anterior-posterior and columns left-right, volumes as (C, X, Y, Z).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from strokelab.contract import Batch
from strokelab.data.open_cases import OPEN_CASES, OpenCases, check_cases, cut, labels
from strokelab.errors import ConfigError, DataError
from strokelab.preparation.store import StoredCase
from strokelab.sampling.boxes import Boxes, Sampler, plane_axis
from strokelab.sampling.order import Key
from strokelab.seeding import stream
from strokelab.view import Augment


class PatchDataset(Dataset[Batch]):
    """Boxes of prepared cases as samples, asked for by (epoch, index).

    Which boxes there are is a pure function of (seed, epoch, case id), what augmentation draws of
    (seed, epoch, index): neither the order of calls nor the worker that answers matters.

    Args:
        cases: labelled, with the same channels.
        sampler: chooses the boxes; all must have one size.
        sites: site name to index; other and unknown sites become -1.
        seed: of the run.
        augment: applied to each batch, with one stream per sample; None = none.
        known: which classes these cases know (K), for models with partial labels; None leaves the key out.
        open_cases: how many cases stay mapped.

    Raises:
        DataError: an unlabelled case, or no sample at all.
        ConfigError: boxes of different sizes, or cases with different channels.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        sampler: Sampler,
        sites: Mapping[str, int],
        seed: int,
        augment: Augment | None = None,
        known: Sequence[bool] | None = None,
        open_cases: int = OPEN_CASES,
    ) -> None:
        self.cases = list(cases)
        self.sampler, self.seed, self.augment, self.known = sampler, seed, augment, known
        check_cases(self.cases)
        boxes = [self._draw(index, epoch=0) for index in range(len(self.cases))]
        counts = np.array([len(drawn) for drawn in boxes])
        if counts.sum() == 0:
            raise DataError(
                "view.sampler",
                found=f"no sample in {len(self.cases)} cases",
                expected="slices or patches that the sampler accepts",
                remedy="check the brain masks, or accept more (view.sampler.min_brain_pixels)",
            )
        self.size = self._one_size(boxes)
        self.axis = plane_axis(self.size)
        self.first = np.concatenate([[0], np.cumsum(counts)])
        self.case_of = np.repeat(np.arange(len(counts)), counts)
        self.case_sites = np.array([sites.get(case.site or "", -1) for case in self.cases], dtype=np.int64)
        self._starts = {(0, index): drawn.starts for index, drawn in enumerate(boxes)}
        self._opened = OpenCases(self.cases, open_cases)

    def __len__(self) -> int:
        """Samples of one epoch."""
        return int(self.first[-1])

    @property
    def sites(self) -> NDArray[np.int64]:
        """Site index of each sample (N,), -1 = unknown; what site-balanced orders need."""
        return self.case_sites[self.case_of]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Spatial shape S of a sample."""
        if self.axis is None:
            return self.size
        return tuple(length for axis, length in enumerate(self.size) if axis != self.axis)[::-1]

    @property
    def sample_bytes(self) -> int:
        """Memory of a sample: image in float32, lesion and brain in a byte each."""
        return math.prod(self.size) * (4 * len(self.cases[0].channels) + 2)

    def rows_of(self, keys: Sequence[Key]) -> list[int]:
        """The case of each sample, by its place in ``cases``."""
        return [int(self.case_of[index]) for _, index in keys]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample (``contract.Sample``)."""
        return {name: value[0] for name, value in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples; what a ``DataLoader`` calls once per batch.

        Slices are contiguous tensors; volumes are views with x running fastest in memory, as in the store.
        """
        # Filled in the memory order of the store, (Z, Y, X): copies run along it; transposing costs ten times more.
        boxes = (len(keys), len(self.cases[0].channels), *self.size[::-1])
        image = np.empty(boxes, dtype=np.float32)
        lesion, brain = (np.empty((boxes[0], 1, *boxes[2:]), dtype=np.uint8) for _ in range(2))
        origin = np.empty((len(keys), 3), dtype=np.int64)
        rows = self.rows_of(keys)
        for place, ((epoch, index), row) in enumerate(zip(keys, rows, strict=True)):
            start = self._starts_of(epoch, row)[index - self.first[row]]
            case = self._opened[row]
            origin[place] = start
            cut(case.image, start, image[place].transpose(0, 3, 2, 1))
            cut(labels(case), start, lesion[place].transpose(0, 3, 2, 1))
            cut(case.brain.view(np.uint8)[None], start, brain[place].transpose(0, 3, 2, 1))
        batch: Batch = {
            "image": self._as_samples(image),
            "lesion": self._as_samples(lesion),
            "brain": self._as_samples(brain),
            "site": torch.from_numpy(self.case_sites[rows]),
            "case_id": [self.cases[row].case_id for row in rows],
            "origin": torch.from_numpy(origin),
        }
        if self.known is not None:
            batch["known"] = torch.tensor([list(self.known)] * len(keys), dtype=torch.bool)
        if self.augment is not None:
            batch = self.augment(batch, [stream(self.seed, "augment", epoch, index) for epoch, index in keys])
        return batch

    def _draw(self, row: int, epoch: int) -> Boxes:
        case = self.cases[row]
        return self.sampler.draw(case, stream(self.seed, "boxes", epoch, case.case_id))

    def _starts_of(self, epoch: int, row: int) -> NDArray[np.int64]:
        key = (0 if self.sampler.fixed else epoch, row)
        if key not in self._starts:
            if not any(old == epoch for old, _ in self._starts):
                self._starts.clear()  # a new epoch: the boxes of the last one are done with
            drawn = self._draw(row, epoch)
            if drawn.size != self.size or len(drawn) != self.first[row + 1] - self.first[row]:
                raise RuntimeError(
                    f"{self.sampler}: {len(drawn)} boxes of {drawn.size} for {self.cases[row].case_id} in epoch "
                    f"{epoch}; a sampler must draw the same number and size in every epoch"
                )
            self._starts[key] = drawn.starts
        return self._starts[key]

    def _as_samples(self, boxes: NDArray[Any]) -> Tensor:
        """Boxes (B, C, z, y, x) as samples (B, C, *S) over the same memory."""
        if self.axis is None:
            return torch.from_numpy(boxes.transpose(0, 1, 4, 3, 2))
        return torch.from_numpy(boxes.squeeze(4 - self.axis))

    def _one_size(self, boxes: Sequence[Boxes]) -> tuple[int, int, int]:
        sizes = {drawn.size: case.case_id for drawn, case in zip(boxes, self.cases, strict=True) if len(drawn)}
        if len(sizes) > 1:
            raise ConfigError(
                "view.preparation.crop",
                found=f"samples of different sizes: {dict(list(sizes.items())[:4])}",
                expected="one size (x, y, z) for all cases",
                remedy="give view.preparation.crop a number for every axis that differs",
            )
        return next(iter(sizes))


class VolumeDataset(Dataset[StoredCase]):
    """Whole cases, one after the other, for evaluation; the caller opens them when it gets to them.

    Args:
        cases: in the order they are wanted.
    """

    def __init__(self, cases: Sequence[StoredCase]) -> None:
        self.cases = list(cases)

    def __len__(self) -> int:
        return len(self.cases)

    def __getitem__(self, index: int) -> StoredCase:
        """Case ``index``, not opened."""
        return self.cases[index]
