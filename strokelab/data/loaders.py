"""Data loaders over datasets that give whole batches, exact with any number of workers. Knows torch; no Lightning.

What worker processes must import to begin lives here and in ``samples``, so that they start fast.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from strokelab import resources
from strokelab.contract import Batch
from strokelab.data.lost_worker import WatchedDataset, WorkerNotes, lost_worker
from strokelab.data.read_ahead import ahead
from strokelab.data.samples import SampleSet
from strokelab.errors import RunError, StrokelabError
from strokelab.processes import check_main_guard, end_with_parent, leave_signals_to_parent, start_fork_server
from strokelab.sampling.order import EpochBatchSampler

Item = TypeVar("Item")


def batch_loader(dataset: SampleSet, batches: EpochBatchSampler, *, workers: int = 0) -> DataLoader[Batch]:
    """A loader of the dataset's batches in the sampler's order.

    Without workers volumes are read by a thread, slices by the training process itself, where they are faster.

    With workers, iterating raises RunError when one of them dies, and what it raised itself where that is for the
    user to mend.

    Args:
        dataset: answers lists of (epoch, index).
        batches: gives those lists.
        workers: processes; 0: none.

    Raises:
        ConfigError: the running script would be run again by every worker (``processes.check_main_guard``).
    """
    # The generator is the loader's own because a loader samples from it at every start, which would otherwise shift
    # dropout in a resumed run.
    settings: dict[str, Any] = {
        "batch_sampler": batches,
        "collate_fn": unchanged,
        "pin_memory": torch.cuda.is_available(),
        "generator": torch.Generator().manual_seed(0),
    }
    if workers == 0:
        return (ThreadLoader if dataset.in_thread else DataLoader)(cast("Dataset[Batch]", dataset), **settings)
    check_main_guard()
    start_fork_server()
    # Not fork: it copies a process full of threads.
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    return WatchedLoader(
        dataset,
        num_workers=workers,
        worker_init_fn=start_worker,
        persistent_workers=True,
        multiprocessing_context=kind,
        **settings,
    )


class ThreadLoader(DataLoader[Batch]):
    """A loader whose batches are made in a thread of the training process while the step before them computes."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches; the first ones are begun when the first is asked for."""
        begin = None
        if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            begin = partial(torch.cuda.set_device, torch.cuda.current_device())  # a thread's own; it pins memory
        return ahead(super().__iter__(), begin)


class WatchedLoader(DataLoader[Batch]):
    """A loader that knows what its workers are at, and says it when one of them dies.

    Args:
        dataset: answers lists of (epoch, index).
        num_workers: 1 or more.
        multiprocessing_context: the name of a start method.
        **settings: as ``DataLoader``.
    """

    def __init__(self, dataset: SampleSet, *, num_workers: int, multiprocessing_context: str, **settings: Any) -> None:
        self.notes = WorkerNotes(num_workers, multiprocessing_context)
        self.case_ids = [case.case_id for case in dataset.cases]
        self.processes: list[BaseProcess] = []
        self.kills = resources.memory_kills()
        watched = WatchedDataset(dataset, self.notes)
        super().__init__(watched, num_workers=num_workers, multiprocessing_context=multiprocessing_context, **settings)

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Batches; the workers begin to fetch at once, not when the first batch is asked for."""
        before = set(multiprocessing.active_children())
        iterator = self._explained(super().__iter__)  # at a further epoch it waits for the workers of the one before
        self.processes += set(multiprocessing.active_children()) - before
        return self._watched(iterator)

    def check_worker_number_rationality(self) -> None:
        """Say nothing: ``worker_count`` has judged already."""

    def _watched(self, iterator: Iterator[Any]) -> Iterator[Batch]:
        while (batch := self._explained(lambda: next(iterator, None))) is not None:
            if isinstance(batch, StrokelabError):
                raise batch
            yield cast(Batch, batch)

    def _explained(self, work: Callable[[], Item]) -> Item:
        """What ``work`` gives; its failure in words, if a worker is behind it."""
        if connection.wait(self._sentinels(), timeout=0):  # also one whose batch is not due yet
            raise self._cause(RuntimeError("a loader worker ended"))
        try:
            return work()
        except (RuntimeError, OSError, EOFError) as error:
            raise self._cause(error) from error

    def _sentinels(self) -> list[int]:
        return [process.sentinel for process in self.processes]

    def _cause(self, error: Exception) -> Exception:
        """The error itself, unless a worker's death is behind it, or a limit that the user can lift."""
        # A dying worker closes its connections before it is gone.
        gone = connection.wait(self._sentinels(), timeout=2.0)
        dead = [process for process in self.processes if process.sentinel in gone]
        if dead:
            return lost_worker(dead, self.notes, self.case_ids, workers=self.num_workers, kills=self.kills)
        if "Too many open files" in str(error):
            return RunError(
                "data loader",
                found="too many open files: every tensor in shared memory is one",
                expected="a limit that the workers' batches fit into",
                remedy="raise it with ulimit -n, or set data.workers lower or to 0",
            )
        return error


def unchanged(batch: Item) -> Item:
    """The collate function of a dataset that gives whole batches."""
    return batch


def start_worker(worker: int) -> None:
    """What a loader worker does first: one thread, since there are as many workers as cores; no life of its own."""
    leave_signals_to_parent()
    end_with_parent()
    torch.set_num_threads(1)
