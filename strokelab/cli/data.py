"""Look at data: phantom cohorts, and whether a dataset is what it should be."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from strokelab.cli.app import LOOK, app, console
from strokelab.cli.machine_readable import one_object
from strokelab.command_words import word

if TYPE_CHECKING:
    from strokelab.contract import Case
    from strokelab.data.check import CohortReport

CHOICES = "One of atlas_v1, atlas_v2, isles2015_siss, isles2015_spes, isles2022, bids, folder."
Spacing = Annotated[float | None, typer.Option(help="Voxel size in mm, 1 (full size, the default) to 8.")]


@app.command(rich_help_panel=LOOK)
def phantom(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings, as train.py takes them: the cohort of that training.")
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            help="atlas_v1, atlas_v2, isles2015_siss, isles2015_spes, isles2022 or bids; needed without settings."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the cohort goes; default: where train.py looks.")] = None,
    spacing: Spacing = None,
    sites: Annotated[int | None, typer.Option(help="Number of sites, at most the release's; default: 9.")] = None,
    cases_per_site: Annotated[int | None, typer.Option(help="Cases per site; default: 6.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same files, bit for bit; default: 0.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that write.")] = 2,
) -> None:
    """Write a phantom cohort with real MNI anatomy in the exact layout of a public dataset."""
    from strokelab.configuration.cohort import phantom_settings
    from strokelab.phantoms.cohort import read_truth, write_cohort

    if layout is None and not overrides:
        words = "neither a layout nor the settings of a training; e.g. strokelab phantom --layout atlas_v1 --spacing 4"
        raise typer.BadParameter(words, param_hint="--layout")
    given = {"spacing": spacing, "sites": sites, "cases_per_site": cases_per_site, "seed": seed}
    cohort = phantom_settings(overrides or (), layout, given)
    root = write_cohort(cohort.layout, out or cohort.folder, workers=workers, **cohort.settings)
    rows = read_truth(root)
    counted = f"scans: {len(rows)}, sites: {len({row['site'] for row in rows})}"  # releases may have fewer
    console.print(f"Cohort: {root}, {counted}   (strokelab check {word(root)} --dataset {cohort.layout})", markup=False)


@app.command(rich_help_panel=LOOK)
def check(
    root: Annotated[Path, typer.Argument(help="The dataset's folder, or a table of own files.")],
    dataset: Annotated[
        str | None, typer.Option(help=f"Default: told by the file names. {CHOICES}", show_default=False)
    ] = None,
    deep: Annotated[bool, typer.Option(help="Also read every image's voxels: NaN, Inf, constant images.")] = False,
    values: Annotated[
        str | None, typer.Option(help="Label values that mean lesion, as data.options.values: 1,2.")
    ] = None,
    mirror: Annotated[
        Path | None, typer.Option(help="Folder for pictures of every case above its mirrored channels.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Cases, sites, modalities, lesion volumes, and every problem with its file. Exit status 1 when there is one."""
    from strokelab.data import read_cases, readers
    from strokelab.data.check import check_cohort
    from strokelab.data.check_tables import render
    from strokelab.scoreboard.masks import labels_of

    options: dict[str, Any] = {} if values is None else {"values": labels_of(values)}

    def looked(name: str) -> CohortReport:
        return check_cohort(root, name, deep=deep, **options)

    if as_json and mirror is not None:
        raise typer.BadParameter("pictures are made without --json", param_hint="--mirror")
    if as_json:
        with one_object("strokelab.check/1") as content:
            content |= {"root": str(root), "dataset": dataset, "guessed": dataset is None}
            content["dataset"] = name = dataset or readers.guessed(root)
            content |= looked(name).to_json()
        return
    name = dataset or readers.guessed(root)
    if dataset is None:
        line = f"Dataset: {name}, told by the file names (--dataset chooses another one)"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    report = looked(name)
    render(report, console)
    if not report.ok:
        raise typer.Exit(1)
    if mirror is not None:
        _plot_mirrored(read_cases(name, root, **options), mirror)


def _plot_mirrored(cases: Sequence[Case], folder: Path) -> None:
    """One picture a case and a line for each; exit status 1 when a case cannot be prepared."""
    from strokelab.report.mirrored import mirror_pictures
    from strokelab.resources import cores

    failed = False
    for picture in mirror_pictures(cases, folder, workers=cores()):
        if picture.mirrored is None:
            failed, line = True, f"{picture.case_id}: {picture.failure}"
        else:
            made = picture.mirrored
            how = "plain flip" if made.is_flip else f"aligned by {made.reference}"
            correlations = f"correlation {made.correlation:.4f}, flip {made.flip_correlation:.4f}"
            line = f"{picture.case_id}: {how}, {correlations}, {made.seconds:.1f} s, {picture.path}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if failed:
        raise typer.Exit(1)
