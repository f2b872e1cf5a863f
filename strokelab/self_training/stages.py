"""One stage of the loop: a sweep of ``train.py``, which skips what is finished. Knows processes; trains nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from strokelab.command_words import quoted
from strokelab.processes import fresh_environment
from strokelab.sweeps import tied
from strokelab.sweeps.members import Door, training_script

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_STOPPED = {128 + number for number in _SIGNALS} | {-number for number in _SIGNALS}


def run_sweep(overrides: Sequence[str], folder: Path) -> None:
    """Start a sweep, or what is left of it, in a process of its own, and wait until it has ended.

    What became of its members their run folders say: a member that fails is no error here.

    Args:
        overrides: of ``train.py -m``, flags among them.
        folder: of the sweep.

    Raises:
        SystemExit: the sweep was asked to stop, with its status.
    """
    door = Door(training_script(), Path.cwd(), sys.executable)
    command = door.command(["--multirun", *overrides, f"hydra.sweep.dir={quoted(str(folder))}"])
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), *command],
        env=fresh_environment(),
        start_new_session=True,  # what is sent to us is passed on, once
    )
    with _passed_on(process):
        status = process.wait()
    if status in _STOPPED:
        raise SystemExit(status if status > 0 else 128 - status)


@contextmanager
def _passed_on(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Signals that ask us to stop ask the sweep inside; it decides how."""

    def pass_on(number: int, frame: FrameType | None) -> None:
        with suppress(ProcessLookupError):
            process.send_signal(number)

    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    former = {number: signal.signal(number, pass_on) for number in heard}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
