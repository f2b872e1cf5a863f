"""Data loaders over datasets that give whole batches, exact with any number of workers. Knows torch; no Lightning.

What worker processes must import to begin lives here and in ``datasets``, so that they start fast.
"""

from __future__ import annotations

import multiprocessing
from typing import TypeVar

import torch
from torch.utils.data import DataLoader

from strokelab.contract import Batch
from strokelab.data.datasets import PatchDataset
from strokelab.processes import end_with_parent, leave_signals_to_parent, start_fork_server
from strokelab.sampling.order import EpochBatchSampler

Item = TypeVar("Item")


def batch_loader(dataset: PatchDataset, batches: EpochBatchSampler, *, workers: int = 0) -> DataLoader[Batch]:
    """A loader of the dataset's batches in the sampler's order.

    Args:
        dataset: answers lists of (epoch, index).
        batches: gives those lists.
        workers: processes; 0 reads in the training process.
    """
    # Not fork: it copies a process full of threads. The generator is the loader's own because a loader draws from
    # it at every start, which would otherwise shift dropout in a resumed run.
    if workers > 0:
        start_fork_server()
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=unchanged,
        num_workers=workers,
        worker_init_fn=start_worker,
        persistent_workers=workers > 0,
        multiprocessing_context=kind if workers > 0 else None,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(0),
    )


def unchanged(batch: Item) -> Item:
    """The collate function of a dataset that gives whole batches."""
    return batch


def start_worker(worker: int) -> None:
    """What a loader worker does first: one thread, since there are as many workers as cores; no life of its own."""
    leave_signals_to_parent()
    end_with_parent()
    torch.set_num_threads(1)
