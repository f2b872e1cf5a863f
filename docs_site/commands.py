"""What ``strokelab COMMAND --help`` says, as one page, from the commands themselves."""

from __future__ import annotations

import inspect
import re
from typing import Any

from typer.main import get_command

from strokelab.cli import app

_MARKUP = re.compile(r"([|<>])")
_HYDRA = ("train", "evaluate")


def markdown() -> str:
    """Every command: what it does, how it is called, its arguments and options."""
    parts = [
        "# Commands",
        "",
        "`strokelab COMMAND --help` says the same in a terminal. `train` and `evaluate` take settings as Hydra does "
        "(`key=value`): [every setting](options/index.md).",
        "",
    ]
    commands: dict[str, Any] = getattr(get_command(app), "commands")  # noqa: B009 (typed as a plain command)
    for name, command in commands.items():
        parts += [f"## {name}", "", inspect.cleandoc(command.help or "").replace("``", "`"), ""]
        parts += ["```text", _usage(name, command), "```", ""]
        rows = [_row(parameter) for parameter in command.params if parameter.name != "help"]
        if rows and name not in _HYDRA:
            parts += ["| word | | default |", "| --- | --- | --- |", *rows, ""]
    return "\n".join(parts)


def _usage(name: str, command: Any) -> str:
    words = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    shown = [each.name.upper() if each.required else f"[{each.name.upper()}]" for each in words]
    return " ".join(["strokelab", name, *(["SETTINGS..."] if name in _HYDRA else shown), "[OPTIONS]"])


def _row(parameter: Any) -> str:
    argument = parameter.param_type_name == "argument"
    names = parameter.name.upper() if argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    default = "needed" if parameter.required else ""
    if not parameter.required and parameter.default not in (None, False) and not callable(parameter.default):
        default = f"`{parameter.default}`"
    said = _MARKUP.sub(r"\\\1", getattr(parameter, "help", "") or "")
    return f"| `{names}` | {said} | {default} |"
