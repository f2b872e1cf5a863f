"""Models for others: packed into one file, or as a challenge's container."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from strokelab.cli.app import APPLY, app, console
from strokelab.command_words import word

Licence = Annotated[str, typer.Option(help="Under which others may use it, e.g. CC-BY-4.0; the card names it.")]
Checkpoint = Annotated[
    list[str] | None,
    typer.Option(help="last, best, snapshots (all) or a file; repeated: the mean. Default: the run's own."),
]
Allow = Annotated[list[str] | None, typer.Option(help="Prefix of your own classes in the run's config.")]


@app.command(rich_help_panel=APPLY)
def pack(
    run: Annotated[Path, typer.Argument(help="A run folder, or the folder of a sweep: the mean of its runs.")],
    out: Annotated[Path, typer.Argument(help="model.zip")],
    licence: Licence = "",
    evaluation: Annotated[
        Path | None, typer.Option(help="Folder of an evaluation of these weights, for the card's scores.")
    ] = None,
    checkpoint: Checkpoint = None,
    allow: Allow = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
) -> None:
    """Pack a run or a sweep into one file that predicts elsewhere: weights, settings, model card, digests; no ids."""
    from strokelab.evaluation.new_scans import Applying
    from strokelab.evaluation.sweep import members
    from strokelab.exchange.pack import pack as packed

    trained = Applying(checkpoints=checkpoint or (), allow=allow or ()).load(members(run))
    digest = packed(trained, out, licence=licence, evaluation=evaluation, overwrite=overwrite)
    console.print(f"Model: [bold]{escape(str(out))}[/]   ({out.stat().st_size / 1e6:,.1f} MB)", soft_wrap=True)
    console.print(f"SHA-256 of its manifest: {digest}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"Predict: strokelab predict {word(out)} SCAN.nii.gz --out DIR", markup=False, soft_wrap=True)


@app.command("export-challenge", rich_help_panel=APPLY)
def export_for_challenge(
    challenge: Annotated[str, typer.Argument(help="atlas or isles22 (conf/challenge), or a yaml file like theirs.")],
    run: Annotated[Path, typer.Argument(help="A run folder, the folder of a sweep, or a packed model.")],
    out: Annotated[Path, typer.Argument(help="The build context, a new folder.")],
    licence: Licence = "",
    checkpoint: Checkpoint = None,
    allow: Allow = None,
) -> None:
    """Write the container of a challenge: Dockerfile, entry point, requirements, test script and the packed model."""
    from strokelab.evaluation.new_scans import Applying
    from strokelab.evaluation.sweep import members
    from strokelab.exchange.challenge import find_challenge
    from strokelab.exchange.container import export_challenge, next_step

    found = find_challenge(challenge)
    trained = Applying(checkpoints=checkpoint or (), allow=allow or ()).load(members(run))
    export_challenge(found, trained, run, out, licence=licence, name=Path(challenge).stem)
    console.print(f"Build context: [bold]{escape(str(out))}[/]", soft_wrap=True)
    console.print(f"Try it without Docker: {next_step(out)}", markup=False, highlight=False, soft_wrap=True)
