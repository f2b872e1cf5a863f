"""Interleaved rounds, medians, and a child process that reports its own peak memory. Knows no contestant."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """One line of the table: our time beside a peer's for the same work."""

    work: str
    ours: float  # seconds for one unit of work
    peer: str  # who the peer is, in words
    peers: float  # its seconds for the same
    goal: float | None = None  # the peer must take at least this many times our time
    rate: str = ""  # unit of 1 / seconds where that says more, e.g. "slices/s"
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster we are; below 1 for a floor that nobody can beat."""
        return self.peers / self.ours

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        return None if self.goal is None else self.ratio >= self.goal

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Work, ours, peer with its figure, ratio, goal, note."""
        goal = "" if self.goal is None else f"{self.goal:g}x {'met' if self.met else 'MISSED'}"
        return (
            self.work,
            self._figure(self.ours),
            f"{self.peer}: {self._figure(self.peers)}",
            self._ratio,
            goal,
            self.note,
        )

    @property
    def _ratio(self) -> str:
        return f"{self.ratio:.1f}x" if self.ratio >= 1 else f"{self.ratio:.2f}x"

    def _figure(self, seconds: float) -> str:
        if self.rate:
            return f"{1 / seconds:,.0f} {self.rate}"
        return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


class Watch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds of the clock, and of the processor on all threads of this process."""
        seconds, processor = self.begun
        return {"seconds": time.perf_counter() - seconds, "processor": time.process_time() - processor}


def interleaved(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median wall seconds of each contestant; they take turns, after a first turn that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(rounds + 1):
        for name, work in contestants.items():
            start = time.perf_counter()
            work()
            if turn:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def command(*words: str | Path) -> Callable[[], object]:
    """A contestant that is a command; its output is swallowed, its failure is not."""

    def run() -> None:
        done = subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(map(str, words))}\n{done.stderr}")

    return run


def in_child(module: str, *words: str | Path) -> dict[str, Any]:
    """Run ``python -m module words`` and return the dict that it gave to ``report``."""
    words = (sys.executable, "-m", module, *words)
    done = subprocess.run([str(word) for word in words], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, words))} ended with status {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def evict(path: Path) -> None:
    """Take a file out of the page cache, as far as nobody has it mapped: what is read next comes from the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def report(**facts: float) -> None:
    """What a child tells its parent, with the peak memory of its process in MiB."""
    print(json.dumps({**facts, "peak_mib": _peak_mib()}), flush=True)


def _peak_mib() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would include the parent's peak: a child begins with its parent's memory
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
