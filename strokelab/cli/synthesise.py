"""Look at synthetic images before anything trains on them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from strokelab.cli.app import LOOK, app, console

if TYPE_CHECKING:
    from strokelab.synthesis.lesions import LesionMask


@app.command(rich_help_panel=LOOK)
def synthesise(
    out: Annotated[Path, typer.Argument(help="Folder of the sheet samples.png and the table samples.csv.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Settings, as train.py takes them: data.sources.synthetic.generator.flip_p=0."),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=1000, help="How many.")] = 24,
    seed: Annotated[int, typer.Option(help="Same seed, same samples, bit for bit.")] = 0,
    size: Annotated[int, typer.Option(min=32, max=512, help="Side of a crop, voxels.")] = 192,
    spacing: Annotated[float, typer.Option(min=0.5, max=10, help="Voxel size, mm.")] = 1.0,
    lesions: Annotated[
        str | None, typer.Option(help="DATASET:ROOT or a folder of masks; default: lesions of the phantom generator.")
    ] = None,
    nifti: Annotated[bool, typer.Option(help="Also write each image and its classes as NIfTI.")] = False,
) -> None:
    """Write a sheet of synthetic samples: image, lesion outline and classes; and their numbers as a table."""
    from dataclasses import replace

    from strokelab.configuration import build, compose, plain
    from strokelab.contract import BACKGROUND, LESION
    from strokelab.preparation.progress import advancing, bar
    from strokelab.report.synthetic_sheet import sheet_samples, write_sheet
    from strokelab.resources import cores
    from strokelab.synthesis.fractions import TISSUES
    from strokelab.synthesis.lesions import check_lesions

    node = plain(compose("train", ["synthesis=synthstroke", *(overrides or ())]))["data"]["sources"]["synthetic"]
    generator, tissues = build(node["generator"]), replace(build(node["tissues"]), spacing=spacing)
    heads = tissues.anatomies("train", seed, workers=cores(), progress=True)
    masks = _masks(lesions, samples, seed)
    check_lesions(masks, heads[0])
    filled = [mask for mask in masks if mask.voxels.any()]
    made = sheet_samples(generator, heads, filled, size=size, count=samples, seed=seed)
    with bar(f"Making {samples} samples", samples, shown=True) as shown:
        classes = (BACKGROUND, *TISSUES, LESION)
        table = write_sheet(advancing(shown, made), classes, out, spacing=spacing, nifti=nifti)
    stripped = f"{table['stripped'].mean():.0%} skull-stripped"
    lesion = f"lesion {table['lesion_ml'].median():.3g} ml (median), none in {(table['lesion_ml'] == 0).sum()}"
    console.print(f"{len(table)} samples, {stripped}, {lesion}: {out / 'samples.png'}", markup=False, soft_wrap=True)


def _masks(source: str | None, count: int, seed: int) -> list[LesionMask]:
    from strokelab.data.lesion_masks import masks_of
    from strokelab.synthesis.lesions import phantom_lesions

    return phantom_lesions(count, seed) if source is None else masks_of(source, count, seed)
