"""Training samples per second: the prepared store against TorchIO's queue.

One process and one thread, files in the page cache. TorchIO reads the same four scans (.nii.gz) and cuts image and
lesion without normalising them; ours are z-scored and come with a brain mask as well, so the peer does less.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchio as tio

from benchmarks.material import SGNET, WHOLE, full_size_cases
from benchmarks.measure import Row, interleaved
from strokelab.contract import Case
from strokelab.data.datasets import PatchDataset
from strokelab.data.loaders import batch_loader
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore
from strokelab.sampling.boxes import Boxes, Sampled
from strokelab.sampling.order import EpochBatchSampler
from strokelab.sampling.slices import Slices

GOAL = 5.0
PER_VOLUME = 8  # samples that TorchIO takes of a volume once it is read


@dataclass(frozen=True)
class RandomBoxes:
    """Cubes anywhere in the volume, new ones in every epoch."""

    edge: int = 128
    per_case: int = 32
    fixed: bool = False

    def draw(self, case: Sampled, stream: np.random.Generator) -> Boxes:
        room = np.asarray(case.grid.shape) - self.edge + 1
        return Boxes(stream.integers(0, room, size=(self.per_case, 3)), (self.edge,) * 3)

    def sample_shape(self, crop: object) -> tuple[int, ...]:
        return (self.edge,) * 3


def rows(folder: Path, rounds: int) -> list[Row]:
    """Slices of 224 x 192 in batches of 16, and cubes of 128^3 in batches of 2."""
    cases = full_size_cases(folder)
    store = PreparedStore(folder / "store")
    lines = []
    torch.set_num_threads(1)  # as in loader workers; waiting for each other's threads would be measured otherwise
    slices = _ours(cases, store, SGNET, Slices(), batch=16)
    cubes = _ours(cases, store, WHOLE, RandomBoxes(), batch=2)
    jobs = [
        ("slices 224 x 192 from the store", slices, (192, 224, 1), PER_VOLUME, 16, 10, "slices/s"),
        ("the same, the queue emptying each volume", slices, (192, 224, 1), 152, 16, 40, "slices/s"),
        ("patches 128^3 from the store", cubes, (128, 128, 128), PER_VOLUME, 2, 16, "patches/s"),
    ]
    for work, ours, size, per_volume, batch, batches, rate in jobs:
        theirs = _torchio(cases, size, per_volume, batch)
        turn = {"ours": _taking(ours, batches), "peer": _taking(theirs, batches)}
        seconds = {name: value / (batch * batches) for name, value in interleaved(turn, rounds).items()}
        peer = f"TorchIO queue, {per_volume} samples a volume"
        lines.append(Row(work, seconds["ours"], peer, seconds["peer"], GOAL, rate))
    return lines


def _ours(cases: list[Case], store: PreparedStore, preparation: Preparation, sampler: Any, batch: int) -> Iterator[Any]:
    stored = store.prepare(cases, preparation, progress=False)
    sites = {site: index for index, site in enumerate(sorted({case.site or "" for case in stored}))}
    dataset = PatchDataset(stored, sampler=sampler, sites=sites, seed=0)
    order = EpochBatchSampler(len(dataset), batch, 0, sites=dataset.sites, drop_last=True)
    loader = batch_loader(dataset, order)
    for epoch in itertools.count():
        order.set_epoch(epoch)
        yield from loader


def _torchio(cases: list[Case], size: tuple[int, int, int], per_volume: int, batch: int) -> Iterator[Any]:
    subjects = [
        tio.Subject(
            image=tio.ScalarImage(case.reference_image),
            lesion=tio.LabelMap(case.lesions[0].path),
        )
        for case in cases
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        queue = tio.Queue(
            tio.SubjectsDataset(subjects),
            max_length=per_volume * len(cases),
            samples_per_volume=per_volume,
            sampler=tio.UniformSampler(size),
            num_workers=0,
        )
        loader = tio.SubjectsLoader(queue, batch_size=batch, num_workers=0, drop_last=True)
        while True:
            for loaded in loader:
                yield loaded["image"][tio.DATA], loaded["lesion"][tio.DATA]


def _taking(source: Iterator[Any], batches: int) -> Callable[[], None]:
    def take() -> None:
        for batch in itertools.islice(source, batches):
            image = batch["image"] if isinstance(batch, dict) else batch[0]
            assert isinstance(image, torch.Tensor)

    return take
