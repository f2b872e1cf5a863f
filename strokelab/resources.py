"""What this process may use of its machine: cores and memory, as cgroups and SLURM leave them. Changes nothing.

Whatever cannot be found out here is left out of the reckoning, never guessed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")
SHARED_MEMORY = Path("/dev/shm")
_UNLIMITED = 2**60  # cgroup 1 writes a number near 2**63 where there is no limit


@dataclass(frozen=True)
class Memory:
    """Bytes that can still be had, and the bytes of the whole; None: unknown."""

    free: int | None
    total: int | None

    def __str__(self) -> str:
        if self.free is None or self.total is None:
            return "memory unknown"
        return f"{self.free / 2**30:.1f} of {self.total / 2**30:.1f} GiB free"


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory could not be had: of the machine or of a device, in any process."""
    words = str(error)
    return isinstance(error, MemoryError) or "can't allocate memory" in words or "out of memory" in words


def cores(processes: int = 1) -> int:
    """Cores for each of ``processes`` processes of a training on this machine; at least 1.

    SLURM's share of a task is its own already; everything else is divided.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    usable = usable if quota is None else min(usable, quota)
    of_task = _number(os.environ.get("SLURM_CPUS_PER_TASK"))
    if of_task:
        return max(1, min(usable, of_task))
    of_node = _number(os.environ.get("SLURM_CPUS_ON_NODE"))
    return max(1, min(usable, of_node or usable) // max(1, processes))


def memory() -> Memory:
    """Of the machine, or of the tightest cgroup around this process, or of the SLURM job on this node."""
    free, total = _of_machine()
    for limit, used in _of_cgroups():
        left = max(0, limit - used)
        free, total = left if free is None else min(free, left), limit if total is None else min(total, limit)
    of_job = _number(os.environ.get("SLURM_MEM_PER_NODE"))  # MiB; how much of it is used is unknown
    if of_job:
        of_job *= 2**20
        free, total = of_job if free is None else min(free, of_job), of_job if total is None else min(total, of_job)
    return Memory(free, total)


def shared_memory() -> Memory:
    """Of ``/dev/shm``, through which worker processes hand over their batches."""
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError:
        return Memory(None, None)
    return Memory(usage.free, usage.total)


def own_memory() -> int | None:
    """Bytes of this process that are in memory now, what it shares with others included."""
    try:
        pages = int((PROC / "self" / "statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def memory_kills() -> int:
    """How often the kernel has killed in this process's cgroup for want of memory; 0 where it does not say."""
    kills = 0
    for folder in _cgroups("memory"):
        for name in ("memory.events", "memory.oom_control"):
            kills = max(kills, _table(folder / name).get("oom_kill", 0))
    return kills


def _of_machine() -> tuple[int | None, int | None]:
    table = _table(PROC / "meminfo")  # kB
    if "MemAvailable" in table and "MemTotal" in table:
        return table["MemAvailable"] * 1024, table["MemTotal"] * 1024
    return None, None


def _of_cgroups() -> Iterator[tuple[int, int]]:
    """Limit and use of each cgroup that has a limit; file pages that can be dropped at once do not count as used."""
    for folder in _cgroups("memory"):
        for limit_file, use_file, cache in (
            ("memory.max", "memory.current", "inactive_file"),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
        ):
            limit, used = _number(_text(folder / limit_file)), _number(_text(folder / use_file))
            if limit is not None and used is not None and limit < _UNLIMITED:
                yield limit, max(0, used - _table(folder / "memory.stat").get(cache, 0))


def _quota() -> int | None:
    """Whole cores that the tightest CPU quota allows; None without one."""
    quotas = []
    for folder in _cgroups("cpu"):
        words = _text(folder / "cpu.max").split() or [
            _text(folder / "cpu.cfs_quota_us"),
            _text(folder / "cpu.cfs_period_us"),
        ]
        quota, period = (_number(word) for word in (*words, "", "")[:2])
        if quota and period and quota > 0:
            quotas.append(max(1, quota // period))
    return min(quotas, default=None)


def _cgroups(controller: str) -> list[Path]:
    """Folders of the cgroups around this process, its own first; of version 2, or of version 1's controller."""
    folders = []
    for line in _text(PROC / "self" / "cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        own = root / path.strip("/")
        folders += [own, *(parent for parent in own.parents if parent.is_relative_to(root))]
    return list(dict.fromkeys(folders))


def _table(path: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    rows = (line.replace(":", " ").split() for line in _text(path).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdigit() else None
