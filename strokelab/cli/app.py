"""The command itself, which the other files of this folder fill: one file per thing that people do."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from strokelab.errors import StrokelabError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="The ``strokelab`` command. Nothing here is written twice: each of its commands calls its room.",
)
console = Console()

Dataset = Annotated[str, typer.Option(help="atlas_v1, atlas_v2, isles2015_siss, isles2015_spes, isles2022, folder.")]


def main() -> None:
    """Run the command; a user's mistake ends with its message and status 1."""
    try:
        app()
    except StrokelabError as error:
        console.print(f"[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
