"""Processes that must neither outlive another one nor die before it. Knows operating systems; knows no work."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_all_start_methods, parent_process

# What a user or a cluster sends to all processes of a job, although the first one alone can answer.
GROUP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))


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
        process: the parent's id as it told it; if that is gone already, so is this one.
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
