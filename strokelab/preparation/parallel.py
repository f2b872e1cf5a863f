"""One function over many jobs in fresh processes; knows neither voxels nor stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from typing import TypeVar

from strokelab.processes import check_main_guard, end_with_parent

J = TypeVar("J")
R = TypeVar("R")


class WorkerDiedError(Exception):
    """A worker process ended without an answer, usually for want of memory; ``jobs`` were at work."""

    def __init__(self, jobs: Sequence[object]) -> None:
        self.jobs = tuple(jobs)
        super().__init__(f"a worker process ended abruptly, at one of {len(self.jobs)} jobs")


def outcomes(work: Callable[[J], R], jobs: Sequence[J], workers: int) -> Iterator[tuple[J, R]]:
    """Each job with what ``work`` made of it, as they finish.

    Args:
        work: a module-level function; its results should be small, they cross processes.
        jobs: picklable.
        workers: processes, each at one job at a time; 1 (or a single job) works in this process.

    Raises:
        ConfigError: the running script would be run again by every worker (``processes.check_main_guard``).
        WorkerDiedError: a worker was killed.
    """
    workers = min(workers, len(jobs))
    if workers <= 1:
        yield from ((job, work(job)) for job in jobs)
        return
    check_main_guard()
    rest = iter(jobs)
    # Fresh interpreters: the parent may hold torch, threads and a GPU, none of which survive a fork.
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=end_with_parent)
    running: dict[Future[R], J] = {}
    try:
        running.update((pool.submit(work, job), job) for job in islice(rest, workers))
        while running:
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                result = future.result()
                yield running.pop(future), result
                running.update((pool.submit(work, job), job) for job in islice(rest, 1))
    except BrokenProcessPool as error:
        raise WorkerDiedError(list(running.values())) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
