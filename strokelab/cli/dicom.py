"""DICOM in: a folder of series to a BIDS dataset that ``predict`` and ``bids`` take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strokelab.cli.app import LOOK, app, console
from strokelab.command_words import word
from strokelab.errors import ConfigError


@app.command(rich_help_panel=LOOK)
def dicom(
    dicom_dir: Annotated[Path, typer.Argument(help="Folder of DICOM files, searched at all depths.")],
    bids_dir: Annotated[Path, typer.Argument(help="The BIDS dataset that is written, or that subjects are added to.")],
    subject: Annotated[str, typer.Option(help="Label of the one subject. Default: running numbers.")] = "",
    session: Annotated[str, typer.Option(help="Label of the one session. Default: numbers, if several.")] = "",
    contrast: Annotated[
        list[str] | None, typer.Option(help="T1w, T1c, T2w, T2starw, FLAIR, PD, DWI or ADC; repeated. Default: all.")
    ] = None,
    take: Annotated[
        list[str] | None, typer.Option(help="Which of several series of a contrast, by its number: FLAIR=7.")
    ] = None,
    leave_out: Annotated[list[int] | None, typer.Option(help="Number of a series to leave out; repeated.")] = None,
    runs: Annotated[bool, typer.Option("--runs", help="Keep all series of a contrast, as run-1, run-2, ...")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Say what would be taken; write nothing.")] = False,
) -> None:
    """Convert DICOM series to a BIDS dataset, by contrast and without what identifies a subject."""
    from strokelab.exchange.dicom_import import Wishes, import_dicom

    wishes = Wishes(subject, session, contrast or (), _numbers(take or ()), leave_out or (), runs)
    out = import_dicom(dicom_dir, bids_dir, wishes, list_only=list_only, console=console)
    if not list_only:
        line = f"Dataset: {out}   (strokelab check {word(out)} --dataset bids)"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _numbers(words: list[str] | tuple[str, ...]) -> dict[str, int]:
    pairs = [(text, *text.partition("=")[::2]) for text in words]
    wrong = [text for text, _, number in pairs if not number.isdigit()]
    if wrong:
        raise ConfigError(
            "--take",
            found=wrong[0],
            expected="a contrast and the number of a series, such as FLAIR=7",
            remedy="--take FLAIR=7, with the numbers that --list says",
        )
    return {name: int(number) for _, name, number in pairs}
