"""Published weights of SynthStroke."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from strokelab.cli.app import APPLY, app, console
from strokelab.command_words import word


@app.command("import-synthstroke", rich_help_panel=APPLY)
def import_from_synthstroke(
    path: Annotated[Path, typer.Argument(help="A folder with model.safetensors and config.json, or a checkpoint.")],
    out: Annotated[Path, typer.Option(help="The run folder.")],
    modality: Annotated[
        list[str] | None, typer.Option(help="Of a model of several maps: name of a channel, in order; repeatable.")
    ] = None,
) -> None:
    """Turn SynthStroke's published weights into a run folder that predicts as they do. Executes nothing of them."""
    from strokelab.exchange.synthstroke import import_synthstroke

    run = import_synthstroke(path, out, modalities=modality or ())
    console.print(f"Run: [bold]{escape(str(run))}[/]", soft_wrap=True)
    console.print(f"Predict: strokelab predict {word(run)} SCAN.nii.gz --out DIR", markup=False, soft_wrap=True)
