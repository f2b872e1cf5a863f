"""Random 128^3 patches: read, served and augmented, ours against nnU-Net's own loader on the same arrays.

nnU-Net runs in its own environment (``benchmarks.peer``); without it there are no rows. Every turn of every contestant
is a process of its own, on one thread; "augmented" may use two cores: both peers and ours have two workers there, ours
also without. Cold: the file is taken out of the page cache before each read, so the disk decides.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.material import full_size_cases
from benchmarks.measure import Row, Watch, evict, in_child, report
from benchmarks.peer import NoPeerError, in_peer, peer_python
from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.data.case_cache import cut
from strokelab.data.loaders import batch_loader
from strokelab.data.read_ahead import announce
from strokelab.data.samples import Samples
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore, StoredCase
from strokelab.sampling.boxes import Drawing
from strokelab.sampling.foreground import ForegroundPatches
from strokelab.sampling.order import EpochBatchSampler, InOrder

PATCH = (128, 128, 128)
BATCH = 2
PREPARATION = Preparation(("T1w",), normalize="zscore_brain")
# Work: what it is called, turns in one process, our contestants, the goal.
WORKS: dict[str, tuple[str, int, tuple[str, ...], float | None]] = {
    "patch": ("read a random 128^3 patch, warm", 80, ("patch",), 4.0),
    "cold": ("read a random 128^3 patch, cold", 40, ("cold",), 0.9),
    "loader": ("training patches, not augmented, one process", 40, ("loader",), 5.0),
    "augmented": ("training patches, augmented, two cores", 30, ("augmented", "augmented-workers"), 3.0),
}


def rows(folder: Path, rounds: int) -> list[Row]:
    """Four kinds of work beside nnU-Net's."""
    try:
        peer_python()
    except NoPeerError as error:
        Console(stderr=True).print(f"[dim]nnU-Net not measured: {error}[/]")
        return []
    _stored(folder)  # written before anybody is timed
    theirs = folder / "blosc2"
    if not theirs.exists():
        in_peer("benchmarks.peer_patches", "write", theirs, *(case.entry for case in _stored(folder)))
    lines = []
    for work, (title, count, contestants, goal) in WORKS.items():
        seconds: dict[str, list[float]] = {}
        for _ in range(max(1, rounds // 2)):
            for name in contestants:
                turn = in_child("benchmarks.patches", name, folder, str(count))
                seconds.setdefault(name, []).append(turn["patch"])
            turn = in_peer("benchmarks.peer_patches", work, theirs, str(count), environment={"OMP_NUM_THREADS": "1"})
            seconds.setdefault("nnU-Net", []).append(turn["patch"])
        middle = {name: statistics.median(values) for name, values in seconds.items()}
        for name in contestants:
            workers = " (two workers)" if name.endswith("workers") else ""
            lines.append(Row(title + workers, middle[name], "nnU-Net v2", middle["nnU-Net"], None if workers else goal))
    return lines


def main(work: str, folder: Path, count: int) -> None:
    """Report the mean seconds of one patch, after some that do not count; cold and warm reads: the median."""
    torch.set_num_threads(1)
    stored = _stored(folder)
    if work in ("patch", "cold"):
        return _reads(stored, count, cold=work == "cold")
    batches = _batches(stored, augmented=work.startswith("augmented"), workers=2 if work.endswith("workers") else 0)
    for _ in range(4):
        next(batches)
    watch = Watch()
    for _ in range(count):
        next(batches)
    report(patch=watch.read()["seconds"] / (count * BATCH))


def _stored(folder: Path) -> list[StoredCase]:
    return PreparedStore(folder / "store").prepare(full_size_cases(folder), PREPARATION, progress=False)


def _reads(stored: list[StoredCase], count: int, *, cold: bool) -> None:
    stream, seconds = np.random.default_rng(0), []
    opened = [] if cold else [case.load() for case in stored]
    for turn in range(count + len(stored)):
        index = turn % len(stored)
        if cold:
            evict(stored[index].entry / "image.npy")
        watch = Watch()
        case = stored[index].load() if cold else opened[index]
        start = stream.integers(0, np.array(case.grid.shape) - PATCH, endpoint=True)
        announce(case.image, start, PATCH)
        out = np.empty((1, *PATCH), dtype=np.float32)
        cut(case.image, start, out.transpose(0, 3, 2, 1))
        seconds.append(watch.read()["seconds"])
        del case
    report(patch=statistics.median(seconds[len(stored) :]))


def _batches(stored: list[StoredCase], *, augmented: bool, workers: int) -> Iterator[Any]:
    places = ForegroundPatches(PATCH).places(stored, Drawing("train", seed=0, batch_size=BATCH))
    dataset = Samples(stored, places, sites={}, seed=0, augment=NNUNetAugmentation() if augmented else None)
    order = EpochBatchSampler(len(dataset), BATCH, 0, order=InOrder(fixed=False))
    loader = batch_loader(dataset, order, workers=workers)
    for epoch in itertools.count():
        order.set_epoch(epoch)
        yield from loader


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
