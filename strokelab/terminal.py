"""What is printed: consoles that wrap for readers and never for programs, and how a command is called here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from rich.console import Console

_ENDLESS = 100_000  # columns where no terminal limits them


def console(*, stderr: bool = False) -> Console:
    """A console as wide as its terminal; where there is none (a pipe, a file), no line is ever wrapped or cut.

    Args:
        stderr: print there.
    """
    return Console(stderr=stderr, emoji=False, **limits(stderr=stderr))


def limits(*, stderr: bool = False) -> dict[str, Any]:
    """What a ``rich`` console is made with so that it wraps on terminals (and in notebooks) alone.

    Args:
        stderr: of the console that prints there.
    """
    plain = Console(stderr=stderr)
    return {} if plain.is_terminal or plain.is_jupyter else {"width": _ENDLESS, "soft_wrap": True}


def door_command(name: str) -> str:
    """How a door is called: ``python train.py`` where such a script is running or lies here, else ``strokelab train``.

    Args:
        name: ``"train"`` or ``"evaluate"``.
    """
    running = Path(str(getattr(sys.modules.get("__main__"), "__file__", None) or ""))
    scripts = running.name in ("train.py", "evaluate.py") and running.parent.name != "doors"
    return f"python {name}.py" if scripts or Path(f"{name}.py").is_file() else f"strokelab {name}"
