"""How a training ends, in the run folder and as an exit status: finished, stopped by a signal, failed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from strokelab import runs
from strokelab.errors import StrokelabError

SIGTERM_STATUS, SIGINT_STATUS = 143, 130


@contextmanager
def recorded_end(folder: Path, trainer: Trainer, *, fresh: bool, console: Console) -> Iterator[None]:
    """Write into the run folder why the work inside ended early, if it did; a stopped run never exits with 0.

    Args:
        folder: of the run.
        trainer: doing the work.
        fresh: the run did not go on from a checkpoint.
        console: for what the user can do next.
    """
    try:
        yield
    except SystemExit as stop:  # Lightning's way to say that it was asked to end
        status = SIGTERM_STATUS if isinstance(stop, SIGTERMException) else SIGINT_STATUS
        signal = "SIGTERM" if status == SIGTERM_STATUS else "SIGINT"
        runs.write_status(folder, "killed", error=signal)
        console.print(f"Stopped by {signal}. Continue with: python train.py resume={shown(folder)}")
        sys.exit(status)
    except BaseException as error:
        if isinstance(error, StrokelabError) and trainer.global_step == 0 and fresh:
            runs.erase(folder)  # refused at the last moment: nothing was trained
        else:
            first = (str(error).splitlines() or [""])[0]
            runs.write_status(folder, "failed", error=f"{type(error).__name__}: {first}")
        raise


def shown(path: Path) -> str:
    """A path as short as it can be said here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
