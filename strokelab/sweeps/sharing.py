"""How members that run at once share a machine: how many, how many threads and which GPUs each gets. Starts nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from strokelab.errors import ConfigError

AUTO = "auto"


@dataclass(frozen=True)
class Shares:
    """What each member that runs at the same time gets.

    Args:
        at_once: how many run at a time.
        threads: ``OMP_NUM_THREADS`` of each; None: as the environment says.
        gpus: ``CUDA_VISIBLE_DEVICES`` of the first, second, ... of them; empty: as the environment says.
    """

    at_once: int
    threads: int | None = None
    gpus: tuple[str, ...] = ()

    def environment(self, slot: int) -> dict[str, str]:
        """The environment variables of the member in a slot, from 0."""
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        return threads | ({"CUDA_VISIBLE_DEVICES": self.gpus[slot]} if self.gpus else {})


def shares_of(
    trainer: Mapping[str, Any],
    *,
    at_once: int | str = AUTO,
    threads: int | str | None = AUTO,
    gpus: int | str = AUTO,
    devices: Sequence[str] | None = None,
) -> Shares:
    """Share this machine out.

    Args:
        trainer: the settings of the members' trainer, with ``accelerator`` and ``devices``.
        at_once: members at a time; auto: as many as get GPUs of their own, 1 on the CPU.
        threads: of each member; auto: the cores shared out, where several run at once and nobody set it.
        gpus: of each member; auto: what the trainer asks for.
        devices: the GPUs of this machine; None: look.

    Raises:
        ConfigError: a number is none, or a member asks for more GPUs than there are.
    """
    wants_gpus = trainer.get("accelerator") not in ("cpu", "mps") and gpus not in (0, None)
    there = list(gpus_here() if devices is None else devices) if wants_gpus else []
    each = _whole("gpus", _asked_gpus(trainer.get("devices"), len(there)) if gpus == AUTO else gpus, least=0)
    if there and each > len(there):
        raise ConfigError(
            "hydra.launcher.gpus",
            found=f"{each} GPUs for each member, {len(there)} here",
            expected="at most as many as there are",
            remedy="lower trainer.devices or hydra.launcher.gpus",
        )
    by_gpus = len(there) // each if there and each else 1
    count = _whole("at_once", by_gpus if at_once == AUTO else at_once, least=1)
    if threads == AUTO:
        own = None if count == 1 or "OMP_NUM_THREADS" in os.environ else max(1, _cores() // count)
    else:
        own = None if threads is None else _whole("threads", threads, least=1)
    parts = [[there[(slot * each + index) % len(there)] for index in range(each)] for slot in range(count) if there]
    return Shares(count, own, tuple(",".join(part) for part in parts) if each else ())


def gpus_here() -> tuple[str, ...]:
    """The names CUDA has for the GPUs that this process may use; asks no CUDA, which would occupy them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        names = [name.strip() for name in visible.split(",")]
        return tuple(names[: names.index("-1")] if "-1" in names else [name for name in names if name])
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(str(index) for index, line in enumerate(done.stdout.splitlines()) if line.startswith("GPU "))


def _asked_gpus(devices: Any, there: int) -> int:
    if isinstance(devices, list):
        return len(devices)
    if isinstance(devices, int) and not isinstance(devices, bool):
        return there if devices == -1 else devices
    return 1 if devices is None else there  # auto: all


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _whole(name: str, value: Any, *, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(
            f"hydra.launcher.{name}",
            found=f"{value!r}",
            expected=f"auto, or a whole number of at least {least}",
            remedy=f"correct it, e.g. hydra.launcher.{name}={max(least, 1)}",
        )
    return value
