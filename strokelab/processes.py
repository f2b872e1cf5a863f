"""Processes that must neither outlive another one nor die before it. Knows operating systems; knows no work."""

from __future__ import annotations

import ast
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_all_start_methods, parent_process
from pathlib import Path
from types import FrameType

from strokelab.errors import ConfigError

# What a user or a cluster sends to all processes of a job, although the first one alone can answer.
GROUP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


# Which process of a training, a step, an MPI job one is; W&B's word for which run. Ending in "_": all so called.
_OF_A_RANK = (
    *("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "ROLE_", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("TORCHELASTIC_", "OMPI_", "PMI_", "PMIX_", "JSM_NAMESPACE_", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),
    *("SLURM_GTIDS", "SLURM_NTASKS", "SLURM_NTASKS_", "SLURM_NPROCS", "SLURM_STEPID", "SLURM_STEP_", "SLURM_TASK_"),
    *("SLURM_TASKS_", "SLURM_SRUN_", "SLURM_LAUNCH_", "WANDB_RUN_ID", "WANDB_RESUME", "WANDB_SERVICE"),
)
_OF_A_JOB = ("SLURM_", "SLURMD_", "SRUN_")
_OF_THE_CLUSTER = (
    "SLURM_CONF",
    "SLURM_CONF_SERVER",
    "SLURM_JWT",
    "SLURM_TIME_FORMAT",
)  # where its controller is, and who asks it


def fresh_environment(*, other_job: bool = False) -> dict[str, str]:
    """The environment of this process for a training that has no part in what this process is a part of.

    Args:
        other_job: it is to be a SLURM job of its own, which gets nothing from the allocation around it; otherwise it
            is at work in the same job, whose name and resources stay.
    """
    gone = _OF_A_RANK + (("MASTER_ADDR", "MASTER_PORT") if "WORLD_SIZE" in os.environ else ())
    if other_job:
        inside = "SLURM_JOB_ID" in os.environ or "SLURM_JOBID" in os.environ
        gone += _OF_A_JOB + (("SBATCH_",) if inside else ())  # outside, these are the user's own defaults
    begins = tuple(name for name in gone if name.endswith("_"))
    return {
        name: value
        for name, value in os.environ.items()
        if name in _OF_THE_CLUSTER or not (name in gone or name.startswith(begins))
    }


@contextmanager
def outside_allocation() -> Iterator[None]:
    """Be outside the SLURM allocation around this process: what is submitted inside inherits nothing of it."""
    fresh = fresh_environment(other_job=True)
    taken = {name: os.environ.pop(name) for name in set(os.environ) - set(fresh)}
    try:
        yield
    finally:
        os.environ.update(taken)


def check_main_guard() -> None:
    """Refuse to start workers from a script that each of them would run again from its first line.

    Raises:
        ConfigError: the running line of the script is not below ``if __name__ == "__main__":``.
    """
    main = sys.modules.get("__main__")
    file, spec = getattr(main, "__file__", None), getattr(main, "__spec__", None)
    if main is None or file is None or str(getattr(spec, "name", "")).endswith("__main__"):
        return  # workers of notebooks, of python -c and of packages run nothing again
    frame: FrameType | None = sys._getframe()
    while frame is not None and not (frame.f_code.co_name == "<module>" and frame.f_globals is vars(main)):
        frame = frame.f_back
    if frame is None or _is_guarded(Path(file), frame.f_lineno):
        return
    raise ConfigError(
        f"{file}, line {frame.f_lineno}",
        found='work outside of `if __name__ == "__main__":`: each worker process would run the script again',
        expected="a script that only defines things when it is imported",
        remedy='put the call below `if __name__ == "__main__":`, or do without worker processes '
        "(data.workers=0 data.prepare_workers=1)",
    )


def _is_guarded(script: Path, line: int) -> bool:
    """Whether a line lies in an ``if`` about ``__name__``; True where the source cannot be read."""
    try:
        tree = ast.parse(script.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True
    return any(
        isinstance(node, ast.If) and "__name__" in ast.dump(node.test) and node.lineno <= line <= (node.end_lineno or 0)
        for node in tree.body
    )


def end_with_parent() -> None:
    """End this multiprocessing worker when the process that asked for it is killed, which it could wait for for ever.

    Workers of a fork server have that server as their parent in the eyes of the system, and it waits for them.
    """
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def end_with(process: int) -> None:
    """End this process when its parent is killed.

    Args:
        process: the parent's id as it gave it; if that is gone already, so is this one.
    """
    if sys.platform == "linux":
        set_death_signal = 1  # PR_SET_PDEATHSIG, prctl(2)
        ctypes.CDLL(None, use_errno=True).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != process:
        os._exit(1)


def leave_signals_to_parent() -> None:
    """Let a worker survive the signals of its whole job: its parent finishes a step with it and then ends it.

    SIGTERM is heeded from the parent alone, which no handler but a waiting thread can tell.
    """
    for number in GROUP_SIGNALS:
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    parent = parent_process()
    if parent is None or not hasattr(signal, "sigwaitinfo"):
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before there is a thread that could get it

    def listen() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
            pass
        os._exit(0)

    threading.Thread(target=listen, daemon=True, name="leave-signals-to-parent").start()


def start_fork_server() -> None:
    """Start the process that worker processes are forked from, deaf to the signals of its job."""
    if "forkserver" not in get_all_start_methods():
        return
    from multiprocessing import forkserver

    with _blocked():  # what is started now inherits it
        forkserver.ensure_running()


@contextmanager
def _blocked() -> Iterator[None]:
    former = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)
