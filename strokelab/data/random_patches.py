"""Patches drawn at random from cases drawn at random, a batch at a time. Knows maps and boxes; no files, no Lightning.

A patch is a pure function of (seed, epoch, index), and so is what augmentation does to it: everything random is drawn
before anything is read, so that only patches which rotate or deform read more than their own box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from strokelab.contract import Batch, PreparedCase
from strokelab.data.open_cases import OPEN_CASES, OpenCases, check_cases, cut, labels
from strokelab.data.read_ahead import announce
from strokelab.errors import DataError
from strokelab.preparation.store import StoredCase
from strokelab.sampling.boxes import Part, PatchSampler
from strokelab.sampling.order import Key
from strokelab.seeding import stream
from strokelab.view import Augment, PlannedAugment

Size = tuple[int, int, int]


class Plan(Protocol):
    """All that augmentation drew for one sample."""

    @property
    def source(self) -> Size:
        """Voxels (x, y, z) of the box that must be read, concentric with the patch and at least as large."""


class Plans(tuple[Any, ...]):
    """Plans of a batch on its way to a device: plain data, which stay where they are."""

    def to(self, *args: Any, **settings: Any) -> Plans:
        """Itself. Lightning asks whatever can move to do so, and would take frozen dataclasses apart otherwise."""
        return self


class RandomPatches(Dataset[Batch]):
    """Batches of random patches, asked for by lists of (epoch, index); index counts through the batches of an epoch.

    Args:
        cases: labelled, with the same channels.
        sampler: draws patches.
        part: decides how many batches an epoch has; training and validation draw from different streams.
        batch_size: samples per step, over all processes; place j in the batch decides who is forced.
        sites: site name to index; other and unknown sites become -1.
        seed: of the run.
        augment: in two phases (``PlannedAugment``), or on the batch with one stream per sample; None = none.
        weights: how often each case is drawn, relative to the others; None: all alike.
        deferred: leave the second phase of augmentation to who has the batch on its device: the batch then has
            ``plans``, and ``sources`` with the larger boxes of some samples, whose places in ``image``, ``lesion`` and
            ``brain`` are not filled.
        known: which classes these cases know (K), for models with partial labels; None leaves the key out.
        open_cases: how many cases stay mapped.

    Raises:
        DataError: no case, an unlabelled one, or weights that no case can be drawn by.
        ConfigError: cases with different channels.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        *,
        sampler: PatchSampler,
        part: Part,
        batch_size: int,
        sites: Mapping[str, int],
        seed: int,
        augment: PlannedAugment | Augment | None = None,
        weights: Sequence[float] | None = None,
        deferred: bool = False,
        known: Sequence[bool] | None = None,
        open_cases: int = OPEN_CASES,
    ) -> None:
        self.cases = list(cases)
        if not self.cases:
            raise DataError(
                "split",
                found=f"no case to draw {part} patches from",
                expected="at least one labelled case",
                remedy="use another split, or a larger cohort",
            )
        check_cases(self.cases)
        self.sampler, self.part, self.batch_size, self.seed = sampler, part, batch_size, seed
        self.augment, self.deferred, self.known = augment, deferred, known
        self.patch = sampler.patch
        self.case_sites = np.array([sites.get(case.site or "", -1) for case in self.cases], dtype=np.int64)
        self.shares = _shares(weights, self.cases)
        self._opened = OpenCases(self.cases, open_cases)
        self._lesions: dict[int, NDArray[np.int32]] = {}

    def __len__(self) -> int:
        """Samples of one epoch."""
        return self.sampler.batches(self.part) * self.batch_size

    @property
    def sites(self) -> None:
        """None: samples have no site before they are drawn, and need none, since their order is theirs."""
        return None

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Spatial shape S of a sample, (X, Y, Z)."""
        return self.patch

    @property
    def sample_bytes(self) -> int:
        """Memory of a sample, image in float32, lesion and brain in a byte each; of the largest that is read."""
        sizes = [self.patch]
        if isinstance(self.augment, PlannedAugment):
            sizes += [plan.source for plan in self._plans([(0, index) for index in range(16)], self.augment)]
        return max(math.prod(size) for size in sizes) * (4 * self.channels + 2)

    @property
    def in_thread(self) -> bool:
        """Whether batches may be made in a thread: not where augmentation may seed the process's random numbers."""
        return self.augment is None or isinstance(self.augment, PlannedAugment)

    @property
    def channels(self) -> int:
        """Of the image."""
        return len(self.cases[0].channels)

    def rows_of(self, keys: Sequence[Key]) -> list[int]:
        """The case of each sample, by its place in ``cases``."""
        return [self._case_of(key)[0] for key in keys]

    def starts_of(self, keys: Sequence[Key]) -> NDArray[np.int64]:
        """Lowest corners (N, 3) of the patches, x, y, z, before augmentation."""
        return np.stack([self._drawn(key)[1] for key in keys])

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample (``contract.Sample``).

        Raises:
            TypeError: the dataset defers augmentation, which is work for whole batches.
        """
        if self.deferred:
            raise TypeError("deferred augmentation is applied to whole batches")
        return {name: value[0] for name, value in self.__getitems__([key]).items()}

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples; tensors are views with x running fastest in memory, as in the store."""
        planned = self.augment if isinstance(self.augment, PlannedAugment) else None
        plans = self._plans(keys, planned) if planned else []
        drawn = [self._drawn(key) for key in keys]
        rows, starts = [row for row, _ in drawn], np.stack([start for _, start in drawn])
        sizes = [plan.source for plan in plans] if plans else [self.patch] * len(keys)
        # A source lies around its patch; both are even or both odd.
        boxes = [start - (np.array(size) - self.patch) // 2 for start, size in zip(starts, sizes, strict=True)]
        for row, corner, size in zip(rows, boxes, sizes, strict=True):
            for array in _arrays(self._opened[row]).values():
                announce(array, corner, size)
        places = _empty((len(keys),), self.channels, self.patch)
        sources: dict[int, dict[str, Tensor]] = {}
        for place, (row, corner, size) in enumerate(zip(rows, boxes, sizes, strict=True)):
            if size == self.patch:
                _fill(self._opened[row], corner, {name: array[place] for name, array in places.items()})
            else:
                box = _empty((), self.channels, size)
                _fill(self._opened[row], corner, box)
                sources[place] = {name: _as_sample(array) for name, array in box.items()}
        batch: Batch = {name: _as_sample(array) for name, array in places.items()}
        batch |= {
            "site": torch.from_numpy(self.case_sites[rows]),
            "case_id": [self.cases[row].case_id for row in rows],
            "origin": torch.from_numpy(starts),
        }
        if self.known is not None:
            batch["known"] = torch.tensor([list(self.known)] * len(keys), dtype=torch.bool)
        if planned:
            batch["sources"] = sources
            return {**batch, "plans": Plans(plans)} if self.deferred else planned.apply(batch, plans)
        if self.augment is not None:
            assert not isinstance(self.augment, PlannedAugment)
            batch = self.augment(batch, [stream(self.seed, "augment", *key) for key in keys])
        return batch

    def _case_of(self, key: Key) -> tuple[int, np.random.Generator]:
        """The case that is drawn, and the stream that goes on to draw the patch."""
        rng = stream(self.seed, "patch", self.part, *key)
        return int(np.searchsorted(self.shares, rng.random(), side="right")), rng

    def _drawn(self, key: Key) -> tuple[int, NDArray[np.int64]]:
        row, rng = self._case_of(key)
        case = self.cases[row]
        forced = self.sampler.is_forced(key[1] % self.batch_size, self.batch_size, rng)
        voxels = (lambda: self._lesion_voxels(row)) if forced and case.lesion_voxels else None
        return row, self.sampler.start(case.grid.shape, rng, voxels)

    def _lesion_voxels(self, row: int) -> NDArray[np.int64]:
        if row not in self._lesions:  # once per case and process; which ones are kept is a function of the seed
            chosen = stream(self.seed, "lesion voxels", self.cases[row].case_id)
            lesion = labels(self._opened[row])[0]
            self._lesions[row] = self.sampler.kept_voxels(lesion, chosen).astype(np.int32)
        return self._lesions[row].astype(np.int64, copy=False)

    def _plans(self, keys: Sequence[Key], augment: PlannedAugment) -> list[Plan]:
        return [augment.draw(stream(self.seed, "augment", *key), self.channels, self.patch) for key in keys]

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_lesions": {}}  # a loader worker finds them anew


def _shares(weights: Sequence[float] | None, cases: Sequence[StoredCase]) -> NDArray[np.float64]:
    """Upper ends (N,) of the cases' parts of [0, 1)."""
    each = np.ones(len(cases)) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(each) != len(cases):
        raise ValueError(f"{len(each)} weights for {len(cases)} cases")
    if not np.isfinite(each).all() or (each < 0).any() or not each.any():
        wrong = int(np.argmin(np.where(np.isfinite(each), each, -np.inf)))
        raise DataError(
            cases[wrong].case_id,
            found=f"a weight of {each[wrong]:g} among those that cases are drawn by",
            expected="weights of 0 or more, not all 0",
            remedy="correct data.pseudo.weight",
        )
    ends = np.cumsum(each) / each.sum()
    ends[np.flatnonzero(each)[-1] :] = 1.0  # rounding must not leave a gap at the end
    return np.asarray(ends, dtype=np.float64)


def _empty(lead: tuple[int, ...], channels: int, size: Size) -> dict[str, NDArray[Any]]:
    """Arrays (*lead, C, z, y, x) for the boxes of image, lesion and brain, in the memory order of the store."""
    return {
        "image": np.empty((*lead, channels, *size[::-1]), dtype=np.float32),
        "lesion": np.empty((*lead, 1, *size[::-1]), dtype=np.uint8),
        "brain": np.empty((*lead, 1, *size[::-1]), dtype=np.uint8),
    }


def _arrays(case: PreparedCase) -> dict[str, NDArray[Any]]:
    """All (C, X, Y, Z)."""
    return {"image": case.image, "lesion": labels(case), "brain": case.brain.view(np.uint8)[None]}


def _fill(case: PreparedCase, start: NDArray[np.int64], box: Mapping[str, NDArray[Any]]) -> None:
    whole = _arrays(case)
    for name, array in box.items():
        cut(whole[name], start, array.transpose(0, 3, 2, 1))


def _as_sample(array: NDArray[Any]) -> Tensor:
    """(..., z, y, x) as (..., x, y, z) over the same memory."""
    return torch.from_numpy(array.swapaxes(-1, -3))
