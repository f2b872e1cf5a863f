"""The processes of one training: who starts them, that they fail together, and what is said when one is gone.

Lightning starts the further processes of a machine itself (``trainer=ddp``), when the first one has checked everything
and written the run folder; SLURM and torchrun start all at the same moment, and they must agree before one of them
writes. Knows Lightning's launcher; knows no data and no model.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from omegaconf import DictConfig
from rich.console import Console

from strokelab import runs
from strokelab.callbacks.preemption import STOP
from strokelab.configuration import Settings, build, override, plain
from strokelab.distributed import connection_lost
from strokelab.errors import ConfigError, ProcessError, RunError, StrokelabError
from strokelab.training.ending import FIRST, one_line
from strokelab.training.precision import device_of
from strokelab.training.start import AUTO, first_process, resumed_folder, typed_on_resume

_STARTED_OUTSIDE = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID")
_LAUNCHED = ("SLURM_STEP_ID", "TORCHELASTIC_RUN_ID", "MASTER_PORT")  # started by srun, by torchrun, by hand
_LOOK = 0.2  # seconds between looks at the other processes
_NOTICE = 10.0  # seconds in which the first process should notice by itself that another one is gone


def own_rank(cfg: DictConfig) -> None:
    """Make the only process of a training its first one, whatever rank its environment names.

    ``RANK=1`` and its like stay behind in shells and come with every task of ``srun``; Lightning reads them while it is
    imported, and what is not the first process neither speaks nor writes.
    """
    launched = any(name in os.environ for name in _LAUNCHED) or os.environ.get(FIRST) == str(os.getppid())
    if first_process() or (launched and not _alone(cfg)):
        return
    rank_zero_only.rank = 0  # type: ignore[attr-defined]
    if not launched:
        for name in ("RANK", "LOCAL_RANK"):  # by these Lightning would take it for one of several
            os.environ.pop(name, None)


def _alone(cfg: DictConfig) -> bool:
    """Whether a command asks for a training of one process; True where it cannot be read, which is then told of."""
    try:
        if cfg.get("resume") in (None, AUTO):
            settings = plain(cfg)
        else:
            settings = override(runs.read_settings(resumed_folder(cfg)), typed_on_resume())
        return process_count(settings["trainer"]) == 1
    except (StrokelabError, AttributeError, KeyError, TypeError, ValueError):
        return True


def process_count(trainer: Settings) -> int:
    """How many processes train together, by the trainer's settings."""
    return int(trainer.get("num_nodes") or 1) * _devices(trainer)


def _devices(trainer: Settings) -> int:
    """How many devices of this machine the trainer's settings ask for."""
    devices = trainer.get("devices") or "auto"
    if str(devices) in ("auto", "-1"):
        return torch.cuda.device_count() if device_of(trainer) == "cuda" else 1
    if isinstance(devices, list):
        return len(devices)
    named = [item for item in str(devices).split(",") if item.strip()]
    return int(devices) if len(named) == 1 else len(named)


def meet(trainer: Settings) -> None:
    """Bring processes together that were started elsewhere; from here on they fail together (``distributed.together``).

    Args:
        trainer: the trainer's settings. The group is Lightning's own, which it finds and uses later.
    """
    if not trainer.get("plugins") and process_count(trainer) == 1:
        # Lightning refuses several tasks of a job without asking how many of them train together.
        os.environ.pop("SLURM_NTASKS", None)
    if not any(name in os.environ for name in _STARTED_OUTSIDE):
        return
    quiet = {"precision": "32-true", "logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    probe: Trainer = build({**trainer, **quiet, "sync_batchnorm": False})
    environment: Any = getattr(probe.strategy, "cluster_environment", None)
    if probe.world_size > 1 and environment is not None and environment.creates_processes_externally:
        probe.strategy.setup_environment()


def started_by_first() -> bool:
    """Whether Lightning started this process from the first one, which has checked everything by then."""
    return not first_process() and os.environ.get(FIRST) == str(os.getppid())


def check_shares(batch_size: int, processes: int, resumed: Mapping[str, Any] | None = None) -> None:
    """Whether so many processes can share the batches, and go on with those of a checkpoint.

    Args:
        batch_size: samples per step, over all processes.
        processes: of the training.
        resumed: what the checkpoint holds of the data module; None: a new training.

    Raises:
        ConfigError: the batch cannot be shared equally.
        RunError: the checkpoint lies within an epoch that another number of processes had begun.
    """
    if batch_size % processes:
        low = batch_size - batch_size % processes
        choices = [str(size) for size in (low, low + processes) if size]
        raise ConfigError(
            "data.batch_size",
            found=f"{batch_size} samples per step for {processes} processes",
            expected="an equal share for each",
            remedy=f"set data.batch_size={' or '.join(choices)}, or another number of devices",
        )
    before = int((resumed or {}).get("processes", 1))
    if resumed and int(resumed["batch"]) and before != processes:
        raise RunError(
            "resume",
            found=f"a checkpoint within epoch {int(resumed['epoch']) + 1} of a training of {before} process(es), "
            f"and {processes} process(es) to go on with it",
            expected="as many as before; only at the end of an epoch may their number change",
            remedy=f"add trainer.devices={before} trainer.num_nodes=1 to the command: their product counts",
        )


def check_launch(trainer: Trainer) -> None:
    """Whether the further processes would do what the first one does.

    Raises:
        ConfigError: members of a sweep that share one process: Lightning would start the whole sweep again in each.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if trainer.world_size == 1 or not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    raise ConfigError(
        "hydra/launcher",
        found=f"a sweep whose members train in one process, with {trainer.world_size} devices",
        expected="a fresh process for each member",
        remedy="leave hydra/launcher out, or choose processes or slurm",
    )


@contextmanager
def watched(trainer: Trainer, folder: Path, *, console: Console) -> Iterator[None]:
    """Have a process that is gone end the others within seconds, with a line that names it.

    Args:
        trainer: doing the work inside.
        folder: of the run; its status is written here where the first process hangs, waiting for one that is gone.
        console: for the same case.

    Raises:
        ProcessError: a further process is gone, or cannot be reached.
        SystemExit: this is such a further process, and the first one says what there is to say.
    """
    if trainer.world_size == 1:
        yield
        return
    done = threading.Event()
    if first_process():
        threading.Thread(target=_watch, args=(trainer, done, folder, console), daemon=True, name="processes").start()
    try:
        yield
    except Exception as error:
        if not connection_lost(error):
            raise
        if not first_process():
            raise SystemExit(1) from error
        raise (_gone(trainer, patience=_NOTICE / 2) or _unreachable(error)) from error
    finally:
        done.set()


def _watch(trainer: Trainer, done: threading.Event, folder: Path, console: Console) -> None:
    """In the place of Lightning's observer, which kills the first process as well, at once and without a word."""
    while not done.wait(_LOOK):
        gone = None if STOP.agreed else _gone(trainer)
        if gone is None:
            continue
        if done.wait(_NOTICE):
            return
        for process in STOP.others:
            process.kill()
        with suppress(Exception):
            runs.write_status(folder, "failed", error=one_line(gone))
            console.print(f"\n{type(gone).__name__} {gone}", markup=False, highlight=False)
        os._exit(1)


def _started(trainer: Trainer) -> list[subprocess.Popen[bytes]]:
    """The processes that this one started, out of the care of Lightning's observer."""
    processes: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
    STOP.others.extend(processes)
    processes.clear()
    return STOP.others


def _gone(trainer: Trainer, patience: float = 0.0) -> ProcessError | None:
    """The process that ended badly, if one did, or does within so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        for number, process in enumerate(_started(trainer), start=1):
            status = process.poll()
            if status:
                return _ended(number, trainer.world_size, status)
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.05)


def _ended(number: int, processes: int, status: int) -> ProcessError:
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    cause = "the system does so for want of memory" if -status == getattr(signal, "SIGKILL", 9) else "it said why"
    return ProcessError(
        f"process {number} of {processes} (counted from 0)",
        found=how,
        expected=f"{processes} processes until the training ends",
        remedy=f"mend the cause ({cause}), then resume the run",
    )


def _unreachable(error: Exception) -> ProcessError:
    return ProcessError(
        "another process of this training",
        found=f"no connection to it any more ({(str(error).splitlines() or [''])[0][:200]})",
        expected="all processes until the training ends",
        remedy="see that process's own message, mend the cause, then resume the run",
    )
