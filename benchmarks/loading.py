"""Training samples per second: the prepared store against TorchIO's queue.

One process and one thread, files in the page cache. TorchIO reads the same four scans (.nii.gz) and cuts image and
lesion without normalising them; ours are z-scored and come with a brain mask as well, so the peer does less.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchio as tio
from numpy.typing import NDArray

from benchmarks.material import SGNET, SUNET, WHOLE, full_size_cases, siss_cases
from benchmarks.measure import Row, interleaved
from strokelab.contract import Case
from strokelab.data.loaders import batch_loader
from strokelab.data.samples import Samples
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore, StoredCase
from strokelab.sampling.balanced_patches import BalancedPatches
from strokelab.sampling.boxes import Drawing, Places
from strokelab.sampling.order import EpochBatchSampler, Key
from strokelab.sampling.slices import Slices
from strokelab.seeding import stream

GOAL = 5.0
PER_VOLUME = 8  # samples that TorchIO takes of a volume once it is read


class Cubes:
    """Places of cubes anywhere in the volume, new ones in every epoch."""

    size = (128, 128, 128)
    rows = None

    def __init__(self, cases: list[StoredCase], per_case: int = 32) -> None:
        self.cases, self.per_case = cases, per_case

    def __len__(self) -> int:
        return len(self.cases) * self.per_case

    def at(self, keys: Sequence[Key]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        cases = np.array([index // self.per_case for _, index in keys])
        rooms = [np.asarray(self.cases[case].grid.shape) - self.size + 1 for case in cases]
        return cases, np.stack([stream(0, *key).integers(0, room) for key, room in zip(keys, rooms, strict=True)])


def rows(folder: Path, rounds: int) -> list[Row]:
    """Slices of 224 x 192 in batches of 16, and cubes of 128^3 in batches of 2."""
    cases = full_size_cases(folder)
    store = PreparedStore(folder / "store")
    lines = []
    torch.set_num_threads(1)  # as in loader workers; waiting for each other's threads would be measured otherwise
    slices = _ours(cases, store, SGNET, lambda stored: Slices().places(stored, Drawing("train", 0, 16)), batch=16)
    cubes = _ours(cases, store, WHOLE, Cubes, batch=2)
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
    return [*lines, _balanced(folder, store, rounds)]


def _balanced(folder: Path, store: PreparedStore, rounds: int) -> Row:
    """SUNet's patches: four modalities and their mirrored copies; TorchIO reads the four, each twice."""
    cases = siss_cases(folder)
    sampler = BalancedPatches((24, 24, 16))
    ours = _ours(cases, store, SUNET, lambda stored: sampler.places(stored, Drawing("train", 0, 16)), batch=16)
    theirs = _torchio(cases, sampler.patch, 500, 16, modalities=SUNET.modalities * 2)
    turn = {"ours": _taking(ours, 60), "peer": _taking(theirs, 60)}
    seconds = {name: value / (16 * 60) for name, value in interleaved(turn, rounds).items()}
    work, peer = "balanced patches 24 x 24 x 16 of 8 channels", "TorchIO queue, 500 samples a volume"
    return Row(work, seconds["ours"], peer, seconds["peer"], None, "patches/s", note="wanted: 3,000 patches/s")


def _ours(
    cases: list[Case],
    store: PreparedStore,
    preparation: Preparation,
    places: Callable[[list[StoredCase]], Places],
    batch: int,
) -> Iterator[Any]:
    stored = store.prepare(cases, preparation, progress=False)
    sites = {site: index for index, site in enumerate(sorted({case.site or "" for case in stored}))}
    dataset = Samples(stored, places(stored), sites=sites, seed=0)
    order = EpochBatchSampler(len(dataset), batch, 0, sites=dataset.sites, drop_last=True)
    loader = batch_loader(dataset, order)
    for epoch in itertools.count():
        order.set_epoch(epoch)
        yield from loader


def _torchio(
    cases: list[Case], size: tuple[int, int, int], per_volume: int, batch: int, modalities: Sequence[str] = ()
) -> Iterator[Any]:
    subjects = [
        tio.Subject(
            image=tio.ScalarImage([case.images[name] for name in modalities] or case.reference_image),
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
