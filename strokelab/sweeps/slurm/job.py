"""What runs inside a job: a member's command, in the process that srun started. Imported before anything heavy."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from strokelab.callbacks.preemption import STOPPED, requeue
from strokelab.sweeps.record import DOOR_MODULE

# Seconds that a further process waits before it leaves with an error: upon its end srun ends the first one
# (--kill-on-bad-exit), which has to record how it ended and to ask for a requeue. When it has, SLURM ends the wait.
_PATIENCE = 15.0


def run_member(script: str, cwd: str, arguments: Sequence[str]) -> None:
    """Do what ``python SCRIPT ARGUMENTS`` would do in the folder ``cwd``; every task of a job does.

    Args:
        script: ``train.py``, in full; "": the package's own door.
        cwd: where the sweep was started.
        arguments: of the member.

    Raises:
        SystemExit: the script ended with another status than 0.
    """
    os.chdir(cwd)
    for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)  # submitit holds them back; the training knows what they mean
    signal.signal(signal.SIGUSR1, _requeued_before_the_start)
    try:
        run_door(Path(script) if script else None, arguments)
    except BaseException as stop:
        if isinstance(stop, SystemExit) and stop.code in (None, 0):
            return
        if not _is_first():
            time.sleep(_PATIENCE)
        raise


def run_door(script: Path | None, arguments: Sequence[str]) -> None:
    """Do in this process what a door's command does.

    Args:
        script: ``train.py``; None: the package's own door.
        arguments: settings and Hydra's flags.

    Raises:
        SystemExit: as the door ends.
    """
    sys.argv = [str(script or DOOR_MODULE), *arguments]
    if script is None:
        runpy.run_module(DOOR_MODULE, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(script.parent))
        runpy.run_path(str(script), run_name="__main__")


def _requeued_before_the_start(number: int, frame: FrameType | None) -> None:
    """Notice of a preemption while libraries load: there is nothing to save, but the job must come back."""
    if _is_first():
        print(f"Asked to stop before the training began: {requeue('SIGUSR1')}.", flush=True)
    else:
        time.sleep(_PATIENCE)
    os._exit(STOPPED)


def _is_first() -> bool:
    return os.environ.get("SLURM_PROCID", "0") == "0"
