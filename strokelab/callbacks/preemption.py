"""Asked to stop by a signal: when the work may end, with which exit status, and whether SLURM is to start it again.

Knows signals and SLURM's environment; knows no trainer and no run folder. ``ResumePoint`` saves before it lets a
training end; ``training.ending`` says in the run folder how it ended.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

# SIGUSR1: SLURM before a time limit or a preemption. Windows has none.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))
STOPPED, INTERRUPTED = 143, 130  # exit statuses: asked by the system, by the keyboard
_ECHO = 1.0  # seconds: the same request often comes twice, to the process and to its group
_FAREWELL = 10.0  # seconds for loggers to finish once the end is recorded, although SLURM then signals again


class Stopped(SystemExit):
    """The work ends because a signal asked for it; the exit status is 143, or 130 from the keyboard.

    Args:
        name: of the signal; None: another process of the training got it.
    """

    def __init__(self, name: str | None) -> None:
        super().__init__(INTERRUPTED if name == "SIGINT" else STOPPED)
        self.signal = name or "a signal to another process"


class StopRequest:
    """What signals asked of this process.

    The first one ends the work where it is (``Stopped``) or, inside training steps, waits until the training looks at
    ``requested``. Another one a second later ends the process at once, even one that hangs in a collective operation.
    """

    def __init__(self) -> None:
        self.signal: str | None = None
        self.wait_for_step = False  # whether the main thread is inside training steps
        self.agreed = False  # whether all processes of the training stop after the same step
        self.others: list[subprocess.Popen[bytes]] = []  # those this one started for the same training
        self.trouble = ""  # an error on the way from the request to the end
        self.on_end: Callable[[str | None], None] | None = None  # records the end; called once
        self._since = 0.0
        self._patience = _ECHO
        self._ending = threading.Lock()
        self._listening = False

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signal is not None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Hear signals inside; nothing happens outside the main thread, which alone may."""
        if self._listening or threading.current_thread() is not threading.main_thread():
            yield
            return
        self.__init__()  # type: ignore[misc]
        self._listening = True
        ear, mouth = socket.socketpair()
        mouth.setblocking(False)
        former = {number: signal.signal(number, self._hear) for number in SIGNALS}
        former_mouth = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(ear,), daemon=True, name="stop-request").start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(former_mouth)
            for number, handler in former.items():
                signal.signal(number, handler)
            mouth.close()
            self._listening = False

    def hear_again(self) -> None:
        """Take the signals back from other handlers registered since (Lightning's)."""
        if self._listening and threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                signal.signal(number, self._hear)

    def act(self) -> None:
        """Leave the training steps: a request that waited, or comes from now on, ends the work.

        Raises:
            Stopped: there was one.
        """
        self.wait_for_step = False
        if self.requested:
            raise Stopped(self.signal)

    def end(self, name: str | None = None) -> None:
        """Have the end recorded, once, by the first caller."""
        if not self._ending.acquire(blocking=False):
            return
        self.wait_for_step = True  # nothing interrupts the record
        if self.on_end is not None:
            self.on_end(name or self.signal)
        self._since, self._patience = time.monotonic(), _FAREWELL

    def _hear(self, number: int, frame: FrameType | None) -> None:
        first = self.signal is None
        if first:
            self.signal = signal.Signals(number).name
        if first and not self.wait_for_step:
            raise Stopped(self.signal)

    def _watch(self, ear: socket.socket) -> None:
        """A thread, because Python's own handlers wait until the main thread comes back from C."""
        with ear:
            while numbers := ear.recv(64):
                for number in set(numbers) & {int(known) for known in SIGNALS}:
                    if not self._since:
                        self._since = time.monotonic()
                    elif time.monotonic() - self._since > self._patience:
                        self._leave(signal.Signals(number).name)

    def _leave(self, name: str) -> None:
        with suppress(Exception):
            self.end(name)
        os.write(2, f"{name} again: leaving at once.\n".encode())
        with suppress(Exception):
            sys.stdout.flush()
        os._exit(Stopped(name).code)  # type: ignore[arg-type]


STOP = StopRequest()
"""Of this process: signals have no other address."""


def requeue(name: str | None) -> str:
    """Have SLURM start this job again, when it is SLURM that wants it to end.

    SIGUSR1 is SLURM's notice. Many clusters preempt with SIGTERM alone, and a job that then leaves in time counts as
    failed: it asks for its requeue itself. Any other SIGTERM may be the user's wish.

    Args:
        name: of the signal.

    Returns:
        What happened: "" where there was nothing to do, "requeued", or why it could not be.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if name not in ("SIGUSR1", "SIGTERM") or not job:
        return ""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID', '')}"
    if not re.fullmatch(r"[0-9]+(_[0-9]+)?", job):
        return f"no SLURM job id: {job!r}"
    if name == "SIGTERM" and not _is_preempted(job):
        return ""
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return f"scontrol requeue {job}: {error}"
    return "requeued" if done.returncode == 0 else f"scontrol requeue {job}: {done.stderr.strip() or done.returncode}"


def _is_preempted(job: str) -> bool:
    command = ["scontrol", "--oneliner", "show", "job", job]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return re.search(r"\bPreemptTime=\d", done.stdout) is not None
    return False
