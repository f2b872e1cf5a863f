"""The command itself, which the other files of this folder fill: one file per thing that people do."""

from __future__ import annotations

from typing import Annotated

import typer

from strokelab import __version__, terminal

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)
console = terminal.console()

# The five things people do, in the README's words and order.
LOOK, TRAIN, COMPARE, APPLY, SWEEP = "1. Look at data", "2. Train", "3. Compare", "4. Apply", "5. Sweep, on a cluster"
# Of a command whose words are Hydra's, flags such as --help and -m among them.
HYDRA_WORDS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

Dataset = Annotated[
    str, typer.Option(help="atlas_v1, atlas_v2, isles2015_siss, isles2015_spes, isles2022, bids, folder.")
]


def _say_version(asked: bool) -> None:
    if asked:
        console.print(f"strokelab {__version__}", highlight=False)
        raise typer.Exit


@app.callback(no_args_is_help=True)
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Train, compare and apply stroke-lesion segmentation models on MRI. For research; no medical device."""
