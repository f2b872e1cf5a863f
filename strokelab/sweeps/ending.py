"""How a sweep ends on the screen and as an exit status, whichever launcher trained its members."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from strokelab.sweeps.record import SWEEP, Member
from strokelab.sweeps.table import print_sweep


class SweepEnd(Callback):
    """Hydra's callback at the end of a sweep: its table, and exit status 1 when a member did not finish."""

    def __init__(self) -> None:
        self.asked: list[Member] = []  # by the launcher, in this process

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table of a sweep that keeps ``sweep.json``; others end as their launcher has it.

        Raises:
            SystemExit: with status 1, when a member did not finish.
        """
        folder = Path(str(config.hydra.sweep.dir)).resolve()
        if not (folder / SWEEP).is_file():
            return
        states = print_sweep(folder, Console(), self.asked)
        if any(state.state != "finished" for state in states.values()):
            sys.exit(1)
