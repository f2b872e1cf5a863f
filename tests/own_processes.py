"""Processes that tests start: deaf to nothing that a test sends them, and gone when the test is over."""

import os
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil

MARK = "STROKELAB_STARTED_BY_TEST"


def hear_signals() -> None:
    """As a terminal starts a process: under ``nohup`` or in the background of a script, two signals are ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@contextmanager
def none_left() -> Iterator[dict[str, str]]:
    """End what was started inside with these variables in its environment, and what that has started."""
    mark = uuid.uuid4().hex
    try:
        yield {MARK: mark}
    finally:
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                    process.kill()
