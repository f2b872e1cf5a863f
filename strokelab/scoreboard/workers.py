"""Cases over processes, with a progress bar. Knows jobs that have names; knows no mask and no table."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TypeVar

from rich.console import Console
from rich.progress import track

from strokelab.errors import DataError
from strokelab.preparation.parallel import WorkerDiedError, outcomes

J = TypeVar("J")
R = TypeVar("R")

_WORTH = 4  # cases that make a process worth its start


def over_cases(
    work: Callable[[J], R], jobs: Mapping[str, J], *, workers: int | None, console: Console | None, title: str
) -> Iterator[tuple[str, R]]:
    """``work`` on every case: its name and what came out, as they finish.

    Args:
        work: a module-level function, or a ``partial`` of one; its results should be small, they cross processes.
        jobs: case -> picklable job.
        workers: processes, each at one case at a time; None: one per core this process may use and four cases, since
            a process takes as long to start as a few cases take.
        console: where a bar is shown; None: nowhere.
        title: of the bar.

    Raises:
        DataError: a worker was killed; the message names the cases at work.
    """
    processes = min(available_cores(), len(jobs) // _WORTH) if workers is None else workers
    processes = max(1, processes)
    done = outcomes(partial(_named, work), list(jobs.items()), processes)
    try:
        yield from (
            result for _, result in track(done, title, total=len(jobs), console=console, disable=console is None)
        )
    except WorkerDiedError as error:
        names = ", ".join(str(job[0]) for job in error.jobs if isinstance(job, tuple))
        raise DataError(
            f"cases {names}",
            found="a worker process that ended abruptly, usually for want of memory",
            expected=f"{processes} workers that finish",
            remedy="start again with fewer: --workers 1",
        ) from error


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _named(work: Callable[[J], R], job: tuple[str, J]) -> tuple[str, R]:
    name, content = job
    return name, work(content)
