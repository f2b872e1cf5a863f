"""What is known of a loader worker that died: its case, its signal, its memory. Knows processes; starts none."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from strokelab import resources
from strokelab.contract import Batch
from strokelab.data.samples import SampleSet
from strokelab.errors import RunError, StrokelabError
from strokelab.sampling.order import Key

_PID, _BUSY, _MEMORY, _COUNT, _ROWS = range(5)
_MOST_ROWS = 64


class WorkerNotes:
    """A table in shared memory where each worker notes what it is at; it can be read when the worker is gone.

    Args:
        workers: number of rows.
        start_method: of the workers.
    """

    def __init__(self, workers: int, start_method: str) -> None:
        self.width = _ROWS + _MOST_ROWS
        self.cells = get_context(start_method).RawArray("q", workers * self.width)

    def write(self, worker: int, *, pid: int, rows: Sequence[int], busy: bool) -> None:
        """Write a worker's line.

        Args:
            worker: its number.
            pid: its process.
            rows: the cases of its batch, by their place in the dataset; those beyond 64 are not kept.
            busy: whether it is at work on them, or done.
        """
        kept = list(rows)[:_MOST_ROWS]
        line = [pid, int(busy), resources.own_memory() or 0, len(kept), *kept]
        self.cells[worker * self.width : worker * self.width + len(line)] = line

    def read(self, pid: int) -> tuple[list[int], bool, int] | None:
        """Cases, whether busy, and bytes in memory when the process last wrote; None: it never did."""
        for start in range(0, len(self.cells), self.width):
            line = self.cells[start : start + self.width]
            if line[_PID] == pid:
                return line[_ROWS : _ROWS + line[_COUNT]], bool(line[_BUSY]), line[_MEMORY]
        return None


class WatchedDataset(Dataset[Batch]):
    """A dataset as a worker process serves it: it notes its cases, and what it raises reaches the trainer whole.

    Args:
        dataset: answers lists of (epoch, index).
        notes: where to note.
    """

    def __init__(self, dataset: SampleSet, notes: WorkerNotes) -> None:
        self.dataset = dataset
        self.notes = notes

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample, as the dataset gives it."""
        return self.dataset[key]

    def __getitems__(self, keys: Sequence[Key]) -> Batch | StrokelabError:
        """The batch of these samples in shared memory; an error that the user can mend, as a value."""
        worker = get_worker_info()
        if worker is None:
            return self.dataset.__getitems__(keys)
        rows = list(dict.fromkeys(self.dataset.rows_of(keys)))
        pid = torch.multiprocessing.current_process().pid or 0
        self.notes.write(worker.id, pid=pid, rows=rows, busy=True)
        try:
            batch = shared(self.dataset.__getitems__(keys))
        except StrokelabError as error:
            return error
        self.notes.write(worker.id, pid=pid, rows=rows, busy=False)
        return batch


def shared(batch: Batch) -> Batch:
    """The batch in shared memory.

    Left to the thread that hands it over, a lack of room would be a message on the screen and a trainer that waits
    for ever.

    Raises:
        RunError: there is no room for it.
    """
    try:
        for tensor in _tensors(batch):
            tensor.share_memory_()  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        if not any(word in str(error) for word in ("shared memory", "unable to write", "unable to mmap", "resize")):
            raise
        raise RunError(
            resources.SHARED_MEMORY,
            found=f"no room for a batch of a loader worker ({resources.shared_memory()}): {str(error).splitlines()[0]}",
            expected="room for three batches of each worker",
            remedy="set data.workers lower or to 0, or enlarge it (docker run --shm-size=8g)",
        ) from error
    return batch


def _tensors(content: Any) -> Iterator[Tensor]:
    """Of a batch, also those that lie deeper: larger boxes of some samples."""
    if isinstance(content, Tensor):
        yield content
    elif isinstance(content, Mapping):
        for value in content.values():
            yield from _tensors(value)


def lost_worker(
    dead: Sequence[BaseProcess], notes: WorkerNotes, case_ids: Sequence[str], *, workers: int, kills: int
) -> RunError:
    """The error that says which worker ended, how, at what, and what memory there was.

    Args:
        dead: the processes; of several, one that was killed is named.
        notes: what they noted.
        case_ids: of the dataset, by place.
        workers: how many there were.
        kills: what ``resources.memory_kills`` was before.
    """
    process = min(dead, key=lambda one: one.exitcode if one.exitcode is not None else 0)
    noted = notes.read(process.pid or 0)
    rows, busy, size = noted or ([], False, 0)
    cases = ", ".join(case_ids[row] for row in rows)
    at = (f"at work on {cases}" if busy else f"after its batch of {cases}") if cases else "before its first batch"
    held = f", {size / 2**20:.0f} MiB in its memory" if size else ""
    starved = resources.memory_kills() > kills
    why = "; the kernel killed for want of memory" if starved else ""
    return RunError(
        f"data loader worker {process.name} (pid {process.pid})",
        found=f"it {_end(process.exitcode)} {at}{held}{why}; {resources.memory()}, "
        f"{resources.SHARED_MEMORY} {resources.shared_memory()}",
        expected=f"{workers} worker{'s' if workers > 1 else ''} that live as long as the training",
        remedy=_remedy(process.exitcode, starved=starved),
    )


def _end(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        try:
            return f"was killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"was killed by signal {-exitcode}"
    return f"ended with status {exitcode}"


def _remedy(exitcode: int | None, *, starved: bool) -> str:
    again = "then go on with resume=RUN"
    if exitcode == -getattr(signal, "SIGBUS", 0):
        return f"{resources.SHARED_MEMORY} was full: set data.workers lower or to 0, or enlarge it; {again}"
    if starved or exitcode == -getattr(signal, "SIGKILL", 9):
        return f"most likely memory ran out: set data.workers lower or to 0, or a smaller data.batch_size; {again}"
    return f"set data.workers=0 to see what happens in the training process; {again}"
