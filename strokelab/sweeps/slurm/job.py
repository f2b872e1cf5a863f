"""What runs inside a job: a member's command, in the process that srun started. Imported before anything heavy."""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from strokelab.callbacks.preemption import STOPPED, requeue


def run_member(script: str, cwd: str, arguments: Sequence[str]) -> None:
    """Do what ``python SCRIPT ARGUMENTS`` would do in the folder ``cwd``; every task of a job does.

    Args:
        script: ``train.py``, in full.
        cwd: where the sweep was started.
        arguments: of the member.

    Raises:
        SystemExit: the script ended with another status than 0.
    """
    os.chdir(cwd)
    for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2):
        signal.signal(number, signal.SIG_DFL)  # submitit holds them back; the training knows what they mean
    signal.signal(signal.SIGUSR1, _requeued_before_the_start)
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).parent))
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as stop:
        if stop.code not in (None, 0):
            raise


def _requeued_before_the_start(number: int, frame: FrameType | None) -> None:
    """Notice of a preemption while libraries load: there is nothing to save, but the job must come back."""
    if os.environ.get("SLURM_PROCID", "0") == "0":
        print(f"Asked to stop before the training began: {requeue('SIGUSR1')}.", flush=True)
    os._exit(STOPPED)
