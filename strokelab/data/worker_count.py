"""How many loader workers a machine can hold. Knows bytes and cores; starts nothing."""

from __future__ import annotations

from typing import Literal

from strokelab import resources
from strokelab.errors import ConfigError

WORKER_BYTES = 250 * 2**20
"""A worker's own memory: the interpreter and torch (170 MiB measured), and what a batch is made with."""
WAITING = 3
"""Batches of a worker that wait in shared memory: two made ahead, one in use."""
PER_CORE = 4
"""Workers a core can serve, since they wait for disks; more only take turns."""
AT_MOST = 8
SHARE = 0.8
"""Of the free memory; the rest is for the training itself."""

Workers = int | Literal["auto"]


def fitting_workers(
    asked: Workers, batch_bytes: int, *, loaders: int = 1, processes: int = 1, useful: bool = True
) -> tuple[int, str | None]:
    """The number of workers to start, and one line that says why it is not the one asked for.

    Results do not depend on it.

    Args:
        asked: ``data.workers``; "auto": one for each core but the trainer's own, at most 8, if they are useful.
        batch_bytes: of one batch.
        loaders: how many loaders will have so many workers at the same time.
        processes: of the training on this machine, which share its cores and memory.
        useful: whether there is more to do than to read; reading alone is fastest in the training process.

    Raises:
        ConfigError: neither a number of at least 0 nor "auto".
    """
    if asked != "auto" and (isinstance(asked, bool) or not isinstance(asked, int) or asked < 0):
        raise ConfigError("data.workers", found=repr(asked), expected="0 or more, or auto", remedy="set data.workers=0")
    cores = resources.cores(processes)
    wanted = (min(cores - 1, AT_MOST) if useful else 0) if asked == "auto" else asked
    if wanted == 0:
        return 0, None
    sharers = max(1, loaders) * max(1, processes)
    memory, shared = resources.memory(), resources.shared_memory()
    room = {f"{cores} core{'s' if cores > 1 else ''}": cores * PER_CORE}
    if memory.free is not None:
        each = (WORKER_BYTES + WAITING * batch_bytes) * sharers
        room[f"memory: {memory}, {each / 2**30:.1f} GiB for each"] = int(SHARE * memory.free) // each
    if shared.free is not None:
        each = WAITING * batch_bytes * sharers
        room[f"{resources.SHARED_MEMORY}: {shared}, {each / 2**30:.2f} GiB for each"] = shared.free // max(1, each)
    reason = min(room, key=lambda name: room[name])
    if wanted <= room[reason]:
        return wanted, None
    return room[reason], f"{room[reason]} loader workers instead of data.workers={asked} ({reason})"
