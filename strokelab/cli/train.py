"""Train, through the door that ``train.py`` of a clone is."""

from __future__ import annotations

import typer

from strokelab.cli.app import HYDRA_WORDS, TRAIN, app


@app.command(context_settings=HYDRA_WORDS, rich_help_panel=TRAIN)
def train(ctx: typer.Context) -> None:
    """Train a model, as ``python train.py`` does; ``strokelab train --help`` lists groups, options and settings."""
    from strokelab.doors import enter_module

    enter_module("train", ctx.args)
