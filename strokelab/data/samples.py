"""Samples cut from prepared cases, a batch at a time. Knows memory maps and boxes; knows no files and no Lightning.

Nothing is decoded, queued or collated: a batch is gathered straight from the maps into one tensor per name. Slices
come out as (C, Y, X), rows anterior-posterior and columns left-right, volumes as (C, X, Y, Z).

Which samples there are is a pure function of (seed, epoch, index), and so is what augmentation does to them: it is
sampled before anything is read, so that only samples which rotate, zoom or deform read more than their own box.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from strokelab.contract import Batch, PreparedCase, plane_axis
from strokelab.data.case_cache import OPEN_CASES, OpenCases, arrays_of, check_cases, fill_box
from strokelab.data.one_modality import OneModality, only
from strokelab.data.read_ahead import announce, disk_reads
from strokelab.data.targets import Targets
from strokelab.preparation.background import background_of
from strokelab.preparation.store import StoredCase
from strokelab.sampling.boxes import Places, Size
from strokelab.sampling.order import Key
from strokelab.sampling.turns import swapped, turned
from strokelab.seeding import stream
from strokelab.view import Augment, is_pure

_LARGE = 2**20  # bytes of a sample's image
Boxes = dict[str, NDArray[Any]]
"""Maps by name in the memory order of the store, (..., C, z, y, x)."""


class SampleSet(Protocol):
    """What a loader serves: answers lists of (epoch, index) with whole batches; cut or made in any way."""

    cases: list[StoredCase]

    @property
    def sites(self) -> NDArray[np.int64] | None:
        """Site index of each sample (N,), -1 = unknown; None: known only once a sample is taken."""

    @property
    def sample_bytes(self) -> int:
        """Memory of the largest sample."""

    @property
    def in_thread(self) -> bool:
        """Whether batches are made by a thread where there are no workers."""

    @property
    def deferred(self) -> bool:
        """Whether augmentation is left to the device."""

    def __len__(self) -> int:
        """Samples of an epoch."""

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample (``contract.Sample``)."""

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples."""

    def rows_of(self, keys: Sequence[Key]) -> list[int]:
        """The case of each sample, by its place in ``cases``."""


class Later:
    """What is left to do to a batch where its tensors are going: plain data, which stay where they are.

    Args:
        augment: that made the plans.
        plans: one for each sample.
        targets: how the target is made; None: it is the lesion.
    """

    def __init__(self, augment: Augment, plans: Sequence[Any], targets: Targets | None) -> None:
        self.augment, self.plans, self.targets = augment, plans, targets

    def to(self, *args: Any, **settings: Any) -> Later:
        """Itself. Lightning asks whatever can move to do so, and would take frozen dataclasses apart otherwise."""
        return self

    def done(self, batch: Batch) -> Batch:
        """The batch augmented, with its target."""
        changed = self.augment.apply(batch, self.plans)
        return changed if self.targets is None else self.targets.added(changed)


def completed(batch: Batch) -> Batch:
    """The batch with what was deferred done where its tensors are; a batch that is whole as it is."""
    if "later" not in batch:
        return batch
    later: Later = batch["later"]
    return later.done({name: value for name, value in batch.items() if name != "later"})


class Samples(Dataset[Batch]):
    """Boxes of prepared cases as samples, asked for by lists of (epoch, index).

    Args:
        cases: with the same channels; labelled.
        places: where their samples lie.
        sites: site name to index; other and unknown sites become -1.
        seed: of the run.
        augment: in two phases, with one stream per sample; None = none.
        deferred: leave the second phase, where it is pure, to what has the batch on its device (``completed``). The
            batch then has ``later``, and ``sources`` with the larger boxes of some samples, whose places in the maps
            are not filled.
        classes: names of the target's K maps, for networks that learn more than the lesion; None: the lesion alone.
        modality: of which channel of its case each sample is; None: of all.
        open_cases: how many cases stay mapped.

    Raises:
        DataError: an unlabelled case.
        ConfigError: cases with different channels or maps.
    """

    def __init__(
        self,
        cases: Sequence[StoredCase],
        places: Places,
        *,
        sites: Mapping[str, int],
        seed: int,
        augment: Augment | None = None,
        deferred: bool = False,
        classes: Sequence[str] | None = None,
        modality: OneModality | None = None,
        open_cases: int = OPEN_CASES,
    ) -> None:
        self.cases = list(cases)
        self.layouts = check_cases(self.cases, maps_suffice=classes is not None)
        self.places, self.seed, self.augment, self.modality = places, seed, augment, modality
        self.deferred = deferred and augment is not None and is_pure(augment) and plane_axis(places.size) is None
        self.axis = plane_axis(places.size)
        self.around: tuple[int, int] = getattr(places, "around", (0, 0))
        self.targets = None if classes is None else Targets(tuple(classes), self.layouts)
        # Where every case knows every class, any loss on (logits, target) serves.
        self.partial = self.targets is not None and not all(
            self.targets.labelled_classes(case).all() for case in self.cases
        )
        self.case_sites = np.array([sites.get(case.site or "", -1) for case in self.cases], dtype=np.int64)
        self._opened = OpenCases(self.cases, open_cases)
        self._backgrounds: dict[tuple[int, int], NDArray[np.float32]] = {}
        self._disk_reads: int | None = None

    def __len__(self) -> int:
        """Samples of one epoch."""
        return len(self.places)

    @property
    def sites(self) -> NDArray[np.int64] | None:
        """As ``SampleSet``; what site-balanced orders need."""
        return None if self.places.rows is None else self.case_sites[self.places.rows]

    @property
    def sample_bytes(self) -> int:
        """Memory of a sample; of the largest that is read."""
        size, plans = self.places.size, self._plans([(0, index) for index in range(16)])
        voxels = max(math.prod(one) for one in (size, *(_read_for(plan, size) for plan in plans)))
        return voxels * sum(length * np.dtype(kind).itemsize for length, kind in self._forms().values())

    @property
    def channels(self) -> int:
        """Of a sample's image; of a slab, its slices of each channel of the case."""
        return (len(self.cases[0].channels) if self.modality is None else 1) * (1 + sum(self.around))

    @property
    def in_thread(self) -> bool:
        """Volumes are worth a thread, slices are not; nor where augmentation may seed the process's random numbers."""
        return self.axis is None and (self.augment is None or is_pure(self.augment))

    def rows_of(self, keys: Sequence[Key]) -> list[int]:
        """The case of each sample, by its place in ``cases``."""
        return [int(row) for row in self.places.at(keys)[0]]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample (``contract.Sample``).

        Raises:
            TypeError: the dataset defers augmentation, which is work for whole batches.
        """
        if self.deferred:
            raise TypeError("deferred augmentation is applied to whole batches")
        batch = self.__getitems__([key])
        return {name: value if name == "kinds" else value[0] for name, value in batch.items()}

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples; what a ``DataLoader`` calls once per batch.

        Slices are contiguous tensors; volumes are views with x running fastest in memory, as in the store.
        """
        size = self.places.size
        plans = self._plans(keys)
        found, starts = self.places.at(keys)
        rows = [int(row) for row in found]
        turns: NDArray[np.uint8] | None = self.places.turns(keys) if hasattr(self.places, "turns") else None
        sizes = [_read_for(plan, size) for plan in plans] or [size] * len(keys)
        if turns is not None:
            sizes = [swapped(read, turn) for read, turn in zip(sizes, turns, strict=True)]
        # A larger box lies around its sample; both are even or both odd.
        corners = [start - (np.array(read) - size) // 2 for start, read in zip(starts, sizes, strict=True)]
        chosen = [-1] * len(keys) if self.modality is None else self.modality.at(keys)
        boxes, sources = self._cut(rows, chosen, corners, sizes, turns)
        batch: Batch = {name: self._as_samples(box) for name, box in boxes.items()}
        batch |= {
            "site": torch.from_numpy(self.case_sites[rows]),
            "case_id": [self.cases[row].case_id for row in rows],
            "origin": torch.from_numpy(starts),
        }
        if self.layouts:
            batch["kinds"] = {name: layout.kind for name, layout in self.layouts.items()}
        if sources:
            batch["sources"] = sources
        if self.partial and self.targets is not None:
            batch["labelled_classes"] = torch.stack([self.targets.labelled_classes(self.cases[row]) for row in rows])
        if self.augment is not None:
            later = Later(self.augment, plans, self.targets)
            return {**batch, "later": later} if self.deferred else later.done(batch)
        return batch if self.targets is None else self.targets.added(batch)

    def _cut(
        self,
        rows: Sequence[int],
        chosen: Sequence[int],
        corners: Sequence[NDArray[np.int64]],
        sizes: Sequence[Size],
        turns: NDArray[np.uint8] | None,
    ) -> tuple[Boxes, dict[int, dict[str, Tensor]]]:
        """The maps of all samples, and those of samples that are read in a larger box; of one channel, -1: of all."""
        opened, before = [self._opened[row] for row in rows], self.around[0]
        if self.modality is not None:
            opened = [only(case, channel) for case, channel in zip(opened, chosen, strict=True)]
        if self.axis is None and self._reads_from_disk():
            for case, corner, size in zip(opened, corners, sizes, strict=True):
                for array in arrays_of(case).values():
                    announce(array, corner, size)
        boxes = self._empty((len(rows),), self.places.size)
        sources: dict[int, dict[str, Tensor]] = {}

        def fill(places: Sequence[int]) -> None:
            for place in places:
                case, corner, size = opened[place], corners[place], sizes[place]
                outside = self._outside((rows[place], chosen[place]), case)
                if size == self.places.size:
                    fill_box(case, corner, {name: box[place] for name, box in boxes.items()}, outside, before)
                    continue
                box = self._empty((), size)
                fill_box(case, corner, box, outside, before)
                box["image"] = self._as_channels(box["image"])
                turn = 0 if turns is None else int(turns[place])
                sources[place] = {name: torch.from_numpy(_turned(array, turn)) for name, array in box.items()}

        every = range(len(rows))
        if self._small and len(rows) > 1:  # many short rows: each waits for memory, so two at a time
            with ThreadPoolExecutor(2) as threads:
                list(threads.map(fill, (every[::2], every[1::2])))
        else:
            fill(every)
        boxes["image"] = self._as_channels(boxes["image"])
        for turn in () if turns is None else np.unique(turns[turns > 0]):
            for maps in boxes.values():
                maps[turns == turn] = _turned(maps[turns == turn], int(turn)).swapaxes(-1, -3)
        return boxes, dict(sorted(sources.items()))

    def _reads_from_disk(self) -> bool:
        """Whether boxes are worth announcing: large ones always, small ones while reading goes to the disk.

        The calls for a small box take longer than copying it, which is all there is to do once cases are in memory.
        """
        before, self._disk_reads = self._disk_reads, disk_reads()
        return not self._small or before is None or before != self._disk_reads

    @property
    def _small(self) -> bool:
        """Whether samples are volumes of a few hundred kilobytes."""
        return self.axis is None and 4 * self.channels * math.prod(self.places.size) < _LARGE

    def _outside(self, key: tuple[int, int], case: PreparedCase) -> Any:
        """What an image is beyond its border: 0, or the background (C, 1, 1, 1) of each channel."""
        if not getattr(self.places, "background", False):
            return 0
        if key not in self._backgrounds:
            self._backgrounds[key] = background_of(case.image)[:, None, None, None]
        return self._backgrounds[key]

    def _forms(self) -> dict[str, tuple[int, type[Any]]]:
        """Channels and dtype of each map."""
        further = {name: (layout.length, layout.dtype) for name, layout in self.layouts.items()}
        return {
            "image": (self.channels, np.float32),
            "lesion": (1, np.uint8),
            "brain": (1, np.uint8),
            **further,
        }

    def _empty(self, lead: tuple[int, ...], size: Size) -> Boxes:
        # In the memory order of the store, (Z, Y, X): copies run along it; transposing costs ten times more.
        x, y, z = size
        boxes = {name: np.empty((*lead, length, z, y, x), dtype=kind) for name, (length, kind) in self._forms().items()}
        if self.around != (0, 0):  # of slices, whose slabs become channels at the end
            boxes["image"] = boxes["image"].reshape(*lead, -1, 1 + sum(self.around), y, x)
        return boxes

    def _as_channels(self, image: NDArray[Any]) -> NDArray[Any]:
        """A slab's slices (..., C, z, y, x) as channels, those of one channel beside each other; no slab as it is."""
        return image if self.around == (0, 0) else image.reshape(*image.shape[:-4], self.channels, 1, *image.shape[-2:])

    def _plans(self, keys: Sequence[Key]) -> list[Any]:
        if self.augment is None:
            return []
        size = self.places.size
        return [self.augment.draw(stream(self.seed, "augment", *key), self.channels, size) for key in keys]

    def _as_samples(self, boxes: NDArray[Any]) -> Tensor:
        """Boxes (B, C, z, y, x) as samples (B, C, *S) over the same memory."""
        if self.axis is None:
            return torch.from_numpy(boxes.transpose(0, 1, 4, 3, 2))
        return torch.from_numpy(boxes.squeeze(4 - self.axis))


def _read_for(plan: Any, size: Size) -> Size:
    """The box, concentric with the sample and at least as large, that a plan needs."""
    return getattr(plan, "source", size)


def _turned(maps: NDArray[Any], turn: int) -> NDArray[Any]:
    """Maps (..., C, z, y, x) turned, as (..., C, X, Y, Z) over memory in the order they came in."""
    view = turned(maps.swapaxes(-1, -3), turn)
    return np.ascontiguousarray(view.swapaxes(-1, -3)).swapaxes(-1, -3)
