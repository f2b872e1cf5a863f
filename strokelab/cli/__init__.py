"""The ``strokelab`` command: ``app`` with all its commands, and ``main``, its door."""

from __future__ import annotations

import os
import sys
import tempfile

from strokelab import terminal
from strokelab.cli import (
    apply,
    bids,
    campaigns,
    compare,
    data,
    dicom,
    listing,
    nnunet,
    sharing,
    synthesise,
    synthstroke,
    train,
)
from strokelab.cli.app import app, console
from strokelab.errors import StrokelabError, plain_warnings

_TEMPORARY = "set TMPDIR to a folder that can be written, and STROKELAB_STORE too where your home cannot"

# Panels in the README's order: the help shows them as the commands come.
app.registered_commands.sort(key=lambda command: str(command.rich_help_panel))

__all__ = [
    "app",
    "apply",
    "bids",
    "campaigns",
    "compare",
    "data",
    "dicom",
    "listing",
    "main",
    "nnunet",
    "sharing",
    "synthesise",
    "synthstroke",
    "train",
]


def main() -> None:
    """Run the command; a user's mistake ends with its message and status 1, its traceback where the variable asks."""
    plain_warnings()
    try:
        app()
    except StrokelabError as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":  # as the doors, which have raised it then
            raise
        voice = terminal.console(stderr=True) if "--json" in sys.argv else console  # there stdout is JSON alone
        voice.print(f"[bold red]{type(error).__name__}[/] ", end="")
        voice.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    except OSError:  # of a library that needs a place for temporary files
        try:
            tempfile.gettempdir()
        except FileNotFoundError:
            sys.exit(f"no folder for temporary files can be written\n  remedy:   {_TEMPORARY}")
        raise
