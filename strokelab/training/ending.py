"""How a training ends, in the run folder and as an exit status: finished, stopped by a signal, failed."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from rich.console import Console

from strokelab import runs, terminal
from strokelab.callbacks.preemption import STOP, Stopped, requeue
from strokelab.command_words import setting
from strokelab.errors import DataError, ProcessError, StrokelabError
from strokelab.processes import end_with

FIRST = "STROKELAB_FIRST_PROCESS"  # process id, for those that it starts
_STARTED_APART = ("SLURM_STEP_ID", "TORCHELASTIC_RUN_ID")  # by srun or torchrun, which also end them together
_GRACE = 20.0  # seconds for the other processes of a training to leave by themselves


@contextmanager
def stoppable(console: Console) -> Iterator[None]:
    """Let signals stop the work inside, and no further process of a training outlive the first."""
    _end_with_first_process()
    with STOP.listening():
        STOP.on_end = partial(_ask_again, console) if _is_first() else None
        try:
            yield
        except BaseException as error:
            if not STOP.requested and not isinstance(error, Stopped):
                raise
            _end(error)
            if isinstance(error, Stopped):
                raise
            raise Stopped(STOP.signal) from error


@contextmanager
def recorded_end(folder: Path, trainers: Sequence[Trainer], *, fresh: bool, console: Console) -> Iterator[None]:
    """Write into the run folder why the work inside ended early, if it did; a stopped run never exits with 0.

    Args:
        folder: of the run.
        trainers: those that do the work, one after the other; the last one is at work.
        fresh: the run did not go on from a checkpoint.
        console: for what the user can do next.
    """
    if not _is_first():
        yield
        return
    STOP.on_end = partial(_record_stop, folder, console)
    try:
        yield
    except BaseException as error:
        others = _take_over(trainers)
        try:
            if isinstance(error, Stopped) or STOP.requested:
                _end(error)
            elif isinstance(error, SystemExit):  # whoever asked for it, the run is not finished
                _record(folder, "killed", error=f"exit status {error.code}")
            elif _refused(error) and trainers[-1].global_step == 0 and fresh:
                runs.erase(folder)  # refused at the last moment: nothing was trained
            else:
                _record(folder, "failed", error=one_line(error))
        finally:
            _end_all(others, patient=not STOP.requested or STOP.agreed)
        if isinstance(error, SystemExit) and not error.code:
            raise SystemExit(1) from error
        raise


def one_line(error: BaseException) -> str:
    """An error as tables of runs show it."""
    if isinstance(error, StrokelabError):
        return " ".join(f"{type(error).__name__}: {error.where}: {error.found}".split())
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _refused(error: BaseException) -> bool:
    return isinstance(error, StrokelabError) and not isinstance(error, ProcessError)


def _end(error: BaseException) -> None:
    """A stop, perhaps by way of an error: the signal reached a process that is gone, or the last save failed."""
    if not isinstance(error, Stopped):
        STOP.trouble = one_line(error)
    STOP.end()


def _record_stop(folder: Path, console: Console, name: str | None) -> None:
    """Status first: SLURM ends a job that is started again, and with it this process."""
    told = name or "a signal to another process"
    told += f" ({STOP.trouble})" if STOP.trouble else ""
    if os.environ.get("SLURM_JOB_ID"):
        _record(folder, "requeued", error=told)
    outcome = requeue(name)
    if outcome == "requeued":
        console.print(f"Stopped by {told}. SLURM starts this job again, and the run goes on.", markup=False)
        return
    _record(folder, "killed", error=f"{told}; {outcome}" if outcome else told)
    console.print(f"Stopped by {told}. {outcome}".rstrip(), markup=False)
    line = f"Continue with: {terminal.door_command('train')} {setting('resume', folder)}"
    console.print(line, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _ask_again(console: Console, name: str | None) -> None:
    """Before there is a run folder: nothing to record."""
    outcome = requeue(name)
    console.print(f"Stopped by {name} before training began. {outcome}".rstrip(), markup=False)


def _record(folder: Path, state: str, **details: str) -> None:
    """Write the status, on a full disk in place of the old one, which has the room."""
    try:
        runs.write_status(folder, state, **details)
    except (OSError, DataError):
        with suppress(OSError), (folder / runs.STATUS).open("r+", encoding="utf-8") as file:
            file.write(json.dumps({"state": state, **details}))
            file.truncate()


def _is_first() -> bool:
    return not getattr(rank_zero_only, "rank", 0)


def _end_with_first_process() -> None:
    """The processes that Lightning starts on this machine wait for each other: without the first, for ever."""
    if any(name in os.environ for name in _STARTED_APART):  # then the variable is another training's, which is over
        return
    first = os.environ.get(FIRST)
    if _is_first() or first is None:
        os.environ[FIRST] = str(os.getpid())
        return
    end_with(int(first))


def _take_over(trainers: Sequence[Trainer]) -> list[subprocess.Popen[bytes]]:
    """The processes this one started, out of the care of Lightning's observer, which kills all when one ends."""
    for trainer in trainers:
        processes: list[subprocess.Popen[bytes]] = getattr(trainer.strategy.launcher, "procs", [])
        STOP.others.extend(processes)
        processes.clear()
    return STOP.others


def _end_all(processes: list[subprocess.Popen[bytes]], *, patient: bool) -> None:
    """Wait until they have ended, as they do where the end was agreed on or all failed; kill those that do not."""
    deadline = time.monotonic() + (_GRACE if patient else 0)
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
