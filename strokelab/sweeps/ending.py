"""How a sweep begins and ends for who started it, whichever sweeper and launcher do the work."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from strokelab import terminal
from strokelab.errors import ConfigError, StrokelabError
from strokelab.sweeps.record import SWEEP, SweepMember
from strokelab.sweeps.table import print_sweep


class SweepEnd(Callback):
    """Hydra's callback: values to sweep over must be known; the table, and status 1 when a member did not finish."""

    def __init__(self) -> None:
        self.asked: list[SweepMember] = []  # by the launcher, in this process

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Refuse a sweep over as many values as a setting says that says nothing.

        Raises:
            SystemExit: with status 1, after a message that names the setting.
        """
        given = OmegaConf.to_container(config.hydra.sweeper, resolve=False)
        params = (given.get("params") if isinstance(given, dict) else None) or {}
        for key, value in params.items():
            for name in re.findall(r"\$\{([\w.]+)\}", str(value)):
                if OmegaConf.select(config, name) is None:
                    with said_and_ended(terminal.console()):
                        raise ConfigError(
                            name,
                            found=f"no value, and the sweep is over {key}: {value}",
                            expected="a number",
                            remedy=f"add {name}=... to the command",
                        )

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Print the table of a sweep that keeps ``sweep.json``; others end as their launcher has it.

        Raises:
            SystemExit: with status 1, when a member did not finish.
        """
        folder = Path(str(config.hydra.sweep.dir)).resolve()
        if not (folder / SWEEP).is_file():
            return
        states = print_sweep(folder, terminal.console(), self.asked)
        if any(state.state != "finished" for state in states.values()):
            sys.exit(1)


@contextmanager
def said_and_ended(console: Console) -> Iterator[None]:
    """A user's mistake inside ends the sweep with its message and status 1, not with a traceback."""
    try:
        yield
    except StrokelabError as error:
        console.print(f"[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
