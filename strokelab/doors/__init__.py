"""The two doors, ``train`` and ``evaluate``: as scripts of a clone, as modules of the package, as commands.

Imports neither torch nor Lightning: ``--help`` and ``--cfg job`` answer at once.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable, Sequence
from typing import Any

from strokelab.configuration import exit_with_suggestions
from strokelab.configuration.command_line import hold_back
from strokelab.configuration.resolvers import register


def enter(name: str, main: Callable[[], Any]) -> None:
    """Run a door's Hydra main with the arguments of this process; a misspelt one ends with a suggestion.

    Args:
        name: of the door and of its config, ``"train"`` or ``"evaluate"``.
        main: what ``hydra.main`` made.

    Raises:
        SystemExit: as Hydra or the work inside ends.
    """
    if name == "evaluate":  # to Hydra, sweep= is the choice of a file in conf/sweep; the key is called sweeps
        sys.argv = ["sweeps=" + word.removeprefix("sweep=") if word.startswith("sweep=") else word for word in sys.argv]
    register()
    try:
        if name == "train":
            hold_back()
        main()
    except SystemExit as stop:
        exit_with_suggestions(name, stop)


def enter_module(name: str, arguments: Sequence[str]) -> None:
    """Do in this process what ``python -m strokelab.doors.NAME ARGUMENTS`` does.

    Args:
        name: ``"train"`` or ``"evaluate"``.
        arguments: settings and Hydra's flags.

    Raises:
        SystemExit: as ``enter``.
    """
    sys.argv = [name, *arguments]
    runpy.run_module(f"strokelab.doors.{name}", run_name="__main__", alter_sys=True)
