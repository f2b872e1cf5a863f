"""A BIDS App: ``strokelab bids BIDS_DIR OUT participant|group``."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from typer.core import TyperCommand

from strokelab import __version__
from strokelab.cli.app import APPLY, app, console
from strokelab.errors import ConfigError

_LISTS = ("--participant-label", "--session-label")
_ALSO = {  # as BIDS Apps of others spell them
    "--participant_label": "--participant-label",
    "--session_label": "--session-label",
    "--skip_bids_validator": "--skip-bids-validation",
}


class Level(StrEnum):
    """The analysis levels of a BIDS App."""

    participant = "participant"
    group = "group"


class _BidsCommand(TyperCommand):
    """Takes several values behind one option, and other spellings, as BIDS Apps do: ``--participant_label 01 02``."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """The arguments with the option, as this command spells it, before each of its values."""
        spelt: list[str] = []
        option, values = "", 0
        for given in args:
            name, equals, value = given.partition("=")
            name = _ALSO.get(name, name)
            word = name + equals + value
            if word.startswith("-"):
                option, values = name if name in _LISTS else "", len(equals)
            elif option:
                spelt += [option] if values else []
                values += 1
            spelt.append(word)
        return super().parse_args(ctx, spelt)


def _say_version(asked: bool) -> None:
    if asked:
        console.print(f"strokelab {__version__}", highlight=False)
        raise typer.Exit


@app.command(cls=_BidsCommand, rich_help_panel=APPLY)
def bids(
    bids_dir: Annotated[Path, typer.Argument(help="The BIDS dataset.")],
    output_dir: Annotated[Path, typer.Argument(help="The derivative that is written.")],
    analysis_level: Annotated[Level, typer.Argument(help="participant: predict each session; group: sum them up.")],
    model: Annotated[
        list[Path] | None,
        typer.Option(metavar="RUN", help="A run folder, a packed model or a sweep; repeated: the mean."),
    ] = None,
    participant_label: Annotated[
        list[str] | None, typer.Option(metavar="LABELS", help="Subjects, without sub-: 01 02. Default: all.")
    ] = None,
    session_label: Annotated[
        list[str] | None, typer.Option(metavar="LABELS", help="Sessions, without ses-: 1 2. Default: all.")
    ] = None,
    atlas: Annotated[
        Path | None, typer.Option(help="For group: labels of regions in the scans' space, a table of names beside it.")
    ] = None,
    images_from: Annotated[str, typer.Option(help="Folder of derivatives with the images. Default: raw scans.")] = "",
    prefer: Annotated[
        list[str] | None,
        typer.Option(metavar="WORDS", help="Which image where a contrast comes twice: run=1, space=MNI152."),
    ] = None,
    repeats: Annotated[str, typer.Option(help="Where that leaves several: error, first or last by name.")] = "error",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    no_probabilities: Annotated[bool, typer.Option("--no-probabilities", help="Write no probability maps.")] = False,
    work_dir: Annotated[
        Path | None,
        typer.Option("--work-dir", "-w", help="What is measured of scans is kept here. Default: STROKELAB_STORE."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Predict again what is there already.")] = False,
    skip_bids_validation: Annotated[
        bool, typer.Option("--skip-bids-validation", help="Do not ask bids-validator-deno first.")
    ] = False,
    allow: Annotated[
        list[str] | None, typer.Option(metavar="WORD", help="Prefix of your own classes in the run's config.")
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", "-v", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Apply a model to a BIDS dataset (a BIDS App): masks as a derivative, then a gallery and a table of all."""
    from strokelab.evaluation.bids_app import Asked, predict_participants
    from strokelab.evaluation.bids_group import summarise
    from strokelab.evaluation.new_scans import Applying, Writing

    if work_dir is not None:
        os.environ["STROKELAB_STORE"] = str(work_dir)
    options = {"images_from": images_from, "prefer": _pairs(prefer or ()), "repeats": repeats}
    asked = Asked(bids_dir, participant_label or (), session_label or (), options, not skip_bids_validation)
    if analysis_level is Level.group:
        summarise(asked, output_dir, atlas=atlas, console=console)
        return
    if not model:
        raise ConfigError(
            "--model",
            found="none",
            expected="the model that is applied at the level participant",
            remedy="--model with a run folder or the folder of a sweep",
        )
    applying = Applying(device=device, probabilities=not no_probabilities, allow=allow or ())
    writing = Writing(output_dir, overwrite=overwrite, resume=not overwrite)
    predict_participants(asked, model, applying, writing, console=console)


def _pairs(words: list[str] | tuple[str, ...]) -> dict[str, str | None]:
    wrong = [word for word in words if "=" not in word]
    if wrong:
        raise ConfigError(
            "--prefer",
            found=wrong[0],
            expected="an entity and its value, such as run=1; run= for images without it",
            remedy="write it with =",
        )
    return {key: value or None for key, _, value in (word.partition("=") for word in words)}
