"""Look at data: phantom cohorts, and whether a dataset is what it should be."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from strokelab.cli.app import Dataset, app, console
from strokelab.command_words import word

Spacing = Annotated[float, typer.Option(help="Voxel size in mm, 1 (full size) to 8.")]


@app.command()
def phantom(
    layout: Annotated[str, typer.Option(help="atlas_v1, atlas_v2, isles2015_siss, isles2015_spes or isles2022.")],
    out: Annotated[Path, typer.Option(help="Where the cohort goes.")],
    spacing: Spacing = 1.0,
    sites: Annotated[int, typer.Option(help="Number of sites.")] = 9,
    cases_per_site: Annotated[int, typer.Option(help="Cases per site.")] = 6,
    seed: Annotated[int, typer.Option(help="Same seed, same files, bit for bit.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that write.")] = 2,
) -> None:
    """Write a phantom cohort with real MNI anatomy in the exact layout of a public dataset."""
    from strokelab.phantoms.cohort import write_cohort

    root = write_cohort(
        layout, out, spacing=spacing, sites=sites, cases_per_site=cases_per_site, seed=seed, workers=workers
    )
    console.print(f"Cohort: [bold]{escape(str(root))}[/]   (strokelab check {escape(word(root))} --dataset {layout})")


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="The dataset's folder.")],
    dataset: Dataset,
    deep: Annotated[bool, typer.Option(help="Also read every image's voxels: NaN, Inf, constant images.")] = False,
) -> None:
    """Cases, sites, modalities, lesion volumes, and every problem with its file. Exit status 1 when there is one."""
    from strokelab.data.check import check_cohort

    report = check_cohort(root, dataset, deep=deep)
    report.render(console)
    if not report.ok:
        raise typer.Exit(1)
