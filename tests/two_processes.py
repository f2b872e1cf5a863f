"""Work done in two processes that share a gloo group, for tests of what the processes of a training do together."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

PROCESSES = 2
# Forked from a process that has imported everything and used nothing: a tenth of the seconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch", "torch.distributed", "strokelab.models.segmenter", "two_processes"])


def in_two_processes(work: Callable[..., Any], folder: Path, *arguments: Any) -> list[Any]:
    """What ``work(rank, *arguments)`` gives in each of two processes, by rank."""
    (folder / "meeting").unlink(missing_ok=True)
    both = [SERVER.Process(target=_process, args=(rank, work, folder, arguments)) for rank in range(PROCESSES)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
        process.kill()
    assert [process.exitcode for process in both] == [0] * PROCESSES
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(PROCESSES)]


def _process(rank: int, work: Callable, folder: Path, arguments: tuple) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=PROCESSES)
    torch.save(work(rank, *arguments), folder / f"{rank}.pt")
    dist.destroy_process_group()
