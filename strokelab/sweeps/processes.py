"""Members of a sweep as processes of this machine, so many at a time: started, watched, stopped, none left behind.

Why processes: what one member leaves in memory, in loggers or in a process group cannot reach the next one, and one
that is killed costs nobody else. Knows commands and run folders; what a training is, its own process knows.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from rich.console import Console

from strokelab import runs, terminal
from strokelab.command_words import word
from strokelab.processes import fresh_environment
from strokelab.sweeps import tied
from strokelab.sweeps.launching import Sweep, said_and_ended, unfinished
from strokelab.sweeps.members import Door, SweepMember, SweepMemberState, member_arguments, settle, state_of
from strokelab.sweeps.sharing import AUTO, Shares, shares_of
from strokelab.sweeps.states import LOG, START
from strokelab.sweeps.table import SweepDisplay, print_sweep

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn

_POLL_SECONDS = 0.1
_LOOK_AGAIN_SECONDS = 1.0  # at members that other processes train
_LEFTOVERS_SECONDS = 3.0  # what a member's own processes get to end after it
_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


def launch(
    sweep: Sweep,
    job_overrides: Sequence[Sequence[str]],
    first: int,
    *,
    at_once: int | str = AUTO,
    threads: int | str | None = AUTO,
    gpus: int | str = AUTO,
) -> list[JobReturn]:
    """Train a batch of members that a sweeper asks for.

    Args:
        sweep: they belong to.
        job_overrides: of each member.
        first: number of the first of them.
        at_once: as ``sharing.shares_of`` takes it, as the next two.
        threads: of each member.
        gpus: of each member.

    Raises:
        SystemExit: a mistake in the settings, with status 1; or the sweep was asked to stop, with 128 + the signal.
    """
    from omegaconf import OmegaConf

    console = terminal.console()
    with said_and_ended(console):
        trainer: Any = OmegaConf.to_container(sweep.config.trainer, resolve=False)
        shares = shares_of(trainer, at_once=at_once, threads=threads, gpus=gpus)
        members = sweep.plan(job_overrides, first)
    batch = list(dict.fromkeys(members))
    states = train_members(batch, sweep.door, shares, folder=sweep.folder, console=console)
    return sweep.returns(members, states)


def train_members(
    members: Sequence[SweepMember], door: Door, shares: Shares, *, folder: Path, console: Console
) -> dict[SweepMember, SweepMemberState]:
    """Train the members that are not finished, and show how they do.

    Args:
        members: all of them, in the order in which they are to start.
        door: what starts one.
        shares: how many at a time, and with what.
        folder: of the sweep.
        console: for a table on a terminal, for lines elsewhere.

    Returns:
        How each of them stands.

    Raises:
        SystemExit: asked to stop by SIGINT, SIGTERM or SIGHUP, with status 128 + its number; all members have ended.
    """
    to_do = unfinished(members)
    with SweepDisplay(members, folder, console, at_once=shares.at_once) as display, _asked_to_stop() as asked:
        _Work(to_do, door, shares, display, asked).run()
    if asked.signal:
        print_sweep(folder, console, members)
        console.print("Stopped. The sweep goes on when its command is given again with the same hydra.sweep.dir, or by")
        at_once = f" --at-once {shares.at_once}" if shares.at_once > 1 else ""
        console.print(
            f"    strokelab sweep {word(folder)} --resume{at_once}", markup=False, soft_wrap=True, highlight=False
        )
        raise SystemExit(128 + asked.signal)
    return display.states()


@dataclass
class _Asked:
    """What signals asked of the sweep."""

    signal: int = 0
    at_once: bool = False  # asked a second time: nothing is waited for

    def hear(self, number: int, frame: FrameType | None) -> None:
        self.at_once = bool(self.signal)
        self.signal = self.signal or number


@contextmanager
def _asked_to_stop() -> Iterator[_Asked]:
    """Hear signals inside; in a further thread nobody can, and the program that has one decides."""
    asked = _Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    # A signal that is ignored (nohup) stays so.
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    former = {number: signal.signal(number, asked.hear) for number in heard}
    try:
        yield asked
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@dataclass
class _Running:
    """A member at work."""

    member: SweepMember
    process: subprocess.Popen[bytes]
    before: dict[str, Any]  # what its run folder said


@dataclass
class _Work:
    """The members that are waiting and running, and who is left of those that ended."""

    to_do: Sequence[SweepMember]
    door: Door
    shares: Shares
    display: SweepDisplay
    asked: _Asked
    running: dict[int, _Running] = field(default_factory=dict)  # by slot
    leftovers: dict[int, float] = field(default_factory=dict)  # process group -> when it is killed
    waiting: deque[SweepMember] = field(default_factory=deque)
    look_again: float = 0.0  # for a member to start

    def run(self) -> None:
        """Until all are done, or stopped; no process of theirs is left then, whatever happens here."""
        self.waiting, told = deque(self.to_do), False
        try:
            while self.running or self.leftovers or (self.waiting and not self.asked.signal):
                if self.asked.signal and not told:
                    told = True
                    self.display.say("Stopping: the members save and end. Once more kills them.")
                    self._signal(signal.SIGTERM, os.kill)
                if self.asked.at_once:
                    self._signal(signal.SIGKILL, os.killpg)
                for slot in range(self.shares.at_once):
                    if slot not in self.running and not self.asked.signal and (member := self._next()):
                        self._start(slot, member)
                self._collect()
                self.display.refresh()
                time.sleep(_POLL_SECONDS)
        finally:
            self._signal(signal.SIGKILL, os.killpg)
            for group in self.leftovers:
                _tell(os.killpg, group, signal.SIGKILL)

    def _next(self) -> SweepMember | None:
        """The first member that waits and that no other process trains; None: there is none at this moment."""
        if time.monotonic() < self.look_again:
            return None
        for _ in range(len(self.waiting)):
            member = self.waiting.popleft()
            if runs.is_claimed(member.folder):
                self.waiting.append(member)
            elif (state := state_of(member)).state in ("finished", "other settings"):
                self.display.ended(member, state)  # another process has done it meanwhile
            else:
                return member
        self.look_again = time.monotonic() + _LOOK_AGAIN_SECONDS
        return None

    def _start(self, slot: int, member: SweepMember) -> None:
        before = runs.read_status(member.folder)
        command = [*self.door.command(member_arguments(member))]
        try:
            member.folder.mkdir(parents=True, exist_ok=True)
            with (member.folder / LOG).open("ab") as log:
                when = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"
                log.write(f"{START}{when} {' '.join(command)}\n".encode(errors="replace"))
                log.flush()
                process = subprocess.Popen(
                    [sys.executable, "-I", "-S", tied.__file__, str(os.getpid()), *command],
                    cwd=self.door.cwd,
                    # Output at once: a log is read while it grows.
                    env={**fresh_environment(), "PYTHONUNBUFFERED": "1", **self.shares.environment(slot)},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C reaches the sweep alone, which asks each member once
                )
        except OSError as error:
            self.display.ended(member, SweepMemberState("failed", f"{type(error).__name__}: {error}"))
            return
        self.running[slot] = _Running(member, process, before)
        self.display.started(member)

    def _collect(self) -> None:
        for slot, one in list(self.running.items()):
            status = one.process.poll()
            if status is not None:
                del self.running[slot]
                self.leftovers[one.process.pid] = time.monotonic() + _LEFTOVERS_SECONDS
                log = one.member.folder / LOG
                reason = "the sweep was asked twice to stop" if self.asked.at_once else ""
                state = settle(one.member, status, before=one.before, log=log, reason=reason)
                self.display.ended(one.member, state)
        for group, until in list(self.leftovers.items()):
            late = time.monotonic() > until
            if not _tell(os.killpg, group, signal.SIGKILL if late else 0) or late:
                del self.leftovers[group]

    def _signal(self, number: int, tell: Callable[[int, int], None]) -> None:
        # The first request goes to the member's main process, which stops its ranks and loader workers in order.
        for one in self.running.values():
            _tell(tell, one.process.pid, number)


def _tell(tell: Callable[[int, int], None], whom: int, number: int) -> bool:
    """Send a signal; False: nobody is there."""
    with suppress(ProcessLookupError, PermissionError):
        tell(whom, number)
        return True
    return False
