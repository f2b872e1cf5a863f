"""Models and cohorts from and to nnU-Net."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strokelab.cli.app import APPLY, COMPARE, Dataset, app, console


@app.command("import-nnunet", rich_help_panel=APPLY)
def import_from_nnunet(
    folder: Annotated[Path, typer.Argument(help="A trained model: plans.json (v2) or plans.pkl (v1), fold_0, ...")],
    out: Annotated[Path, typer.Option(help="With one --fold the run folder, otherwise one folder per fold in it.")],
    fold: Annotated[list[str] | None, typer.Option(help="0, 1, ... or all; repeatable. Default: every one.")] = None,
    checkpoint: Annotated[str, typer.Option(help="final, best or latest.")] = "final",
    modality: Annotated[list[str] | None, typer.Option(help="Our name of a channel, in order; repeatable.")] = None,
    dataset: Annotated[str | None, typer.Option(help="What it was trained on, e.g. atlas_v2.")] = None,
    root: Annotated[Path | None, typer.Option(help="With --dataset: its folder.")] = None,
    splits: Annotated[
        Path | None, typer.Option(help="With --dataset: splits_final.json, who tests which fold.")
    ] = None,
) -> None:
    """Turn a trained nnU-Net model (v2, v1) into run folders that predict the same masks. Executes nothing of it."""
    from strokelab.exchange.command import import_model

    import_model(
        folder,
        out,
        folds=fold or (),
        checkpoint=checkpoint,
        modalities=modality or (),
        dataset=dataset,
        root=root,
        splits=splits,
        console=console,
    )


@app.command("export-nnunet", rich_help_panel=COMPARE)
def export_to_nnunet(
    root: Annotated[Path, typer.Argument(help="The dataset's folder; of several: a run or sweep on them.")],
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="nnU-Net's folder of raw datasets (nnUNet_raw).")],
    number: Annotated[int, typer.Option("--id", help="Number of the dataset there, 1 to 999.")] = 501,
    name: Annotated[str | None, typer.Option(help="Its name; default: that of --dataset.")] = None,
    modality: Annotated[list[str] | None, typer.Option(help="A channel; repeatable. Default: all of a case.")] = None,
    folds: Annotated[int, typer.Option(help="Folds of equal lesion sizes for splits_final.json; 0: none.")] = 5,
    val_fraction: Annotated[float, typer.Option(help="As split.val_fraction: subjects that neither part gets.")] = 0.0,
    sweep: Annotated[Path | None, typer.Option(help="Instead: the folds that the runs in this folder had.")] = None,
) -> None:
    """Write a cohort as an nnU-Net raw dataset with our folds, to check us against nnU-Net on the same data."""
    from strokelab.exchange.command import export_cohort

    export_cohort(
        root,
        dataset,
        out,
        number=number,
        name=name,
        modalities=modality or (),
        folds=folds,
        val_fraction=val_fraction,
        sweep=sweep,
        console=console,
    )
