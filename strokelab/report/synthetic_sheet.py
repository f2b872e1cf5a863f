"""A sheet of synthetic samples: images with the outline of their lesions, above the classes that a network is to learn.

Knows samples (Chalcroft 2024, SynthStroke); knows no cohort, no run and no files but its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from strokelab.files import make_folder, replacing
from strokelab.grid import Grid
from strokelab.nifti import write_volume
from strokelab.report.drawing import COLOURS, legend_below, png
from strokelab.report.overlays import PLANES, through_largest_lesion
from strokelab.seeding import stream
from strokelab.synthesis.anatomy import Anatomy
from strokelab.synthesis.generator import Generator
from strokelab.synthesis.lesions import LesionMask, lesion_on

LESION = COLOURS[1]
_TISSUES = (
    COLOURS[2],
    COLOURS[4],
    COLOURS[3],
    COLOURS[5],
    *COLOURS[6:],
)  # between background and lesion
_PLANE = PLANES[0]
_INCHES = 1.35  # of one picture's side


@dataclass(frozen=True)
class SheetSample:
    """One synthetic sample.

    Args:
        image: (X, Y, Z), 0 to 1, RAS+ before flips.
        target: (K, X, Y, Z): background, tissues, lesion; sums to 1.
        facts: of the sample, for the table: which anatomy, whether it is stripped, ...
    """

    image: NDArray[np.float32]
    target: NDArray[np.float32]
    facts: dict[str, Any]


@dataclass(frozen=True)
class _Cell:
    image: NDArray[np.float32]  # (rows, columns)
    target: NDArray[np.float32]  # (K, rows, columns)
    title: str


def sheet_samples(
    generator: Generator, heads: Sequence[Anatomy], lesions: Sequence[LesionMask], *, size: int, count: int, seed: int
) -> Iterator[SheetSample]:
    """Samples of one channel, each a pure function of the seed and its number.

    Args:
        generator: its grid is in mm.
        heads: healthy anatomies of one voxel size.
        lesions: masks in MNI space.
        size: side of the cubic crop, voxels.
        count: how many samples.
        seed: of everything random.
    """
    x, y, z = (max(round(side / mm), size) for side, mm in zip(generator.grid, heads[0].grid.spacing, strict=True))
    generator = replace(generator, grid=(x, y, z))
    for number in range(count):
        rng = stream(seed, "sheet", number)
        head, mask = heads[int(rng.integers(len(heads)))], lesions[int(rng.integers(len(lesions)))]
        plan = generator.sampled(rng, size=(size, size, size), channels=len(head.channels))
        lesion = lesion_on(mask.voxels, mask.grid, head.grid)
        maps, brain = (torch.from_numpy(np.array(array)) for array in (head.maps, head.brain))
        made = generator.made(maps, brain, torch.from_numpy(lesion), plan)
        flips = "".join(axis for axis, flipped in zip("xyz", plan.flips, strict=True) if flipped)
        facts = {"anatomy": head.name, "lesion": mask.case_id, "stripped": plan.strip is not None, "flips": flips}
        yield SheetSample(made.image[0].numpy(), made.target.numpy(), facts)


def write_sheet(
    samples: Iterable[SheetSample],
    classes: Sequence[str],
    folder: Path,
    *,
    spacing: float = 1.0,
    columns: int = 6,
    nifti: bool = False,
) -> pd.DataFrame:
    """Write ``samples.png`` and ``samples.csv``, the axial slice through each sample's largest lesion, and the numbers.

    Args:
        samples: one after the other; only a slice of each is kept.
        classes: names of the target's channels.
        folder: of what is written; made if it is not there.
        spacing: of the voxels, mm.
        columns: samples in a row.
        nifti: also write each image and its most probable classes as NIfTI, in voxels of the crop.

    Returns:
        The table: facts, lesion volume (ml), and the image's mean where each class holds more than half a voxel.

    Raises:
        DataError: the folder cannot be written to.
    """
    make_folder(folder)
    cells, rows = [], []
    for number, sample in enumerate(samples, start=1):
        cells.append(_cell(number, sample, spacing))
        rows.append({"sample": number, **sample.facts, **numbers(sample, classes, spacing)})
        if nifti:
            _write_volumes(folder / f"sample-{number:02d}", sample, spacing)
    table = pd.DataFrame(rows)
    with replacing(folder / "samples.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4g")
    with replacing(folder / "samples.png") as temporary:
        temporary.write_bytes(png(_figure(cells, classes, columns), dpi=110))
    return table


def numbers(sample: SheetSample, classes: Sequence[str], spacing: float) -> dict[str, float]:
    """Lesion volume in ml, and for each class the mean of the image where it holds more than half of a voxel (or NaN).

    Args:
        sample: the sample.
        classes: names of the target's channels; the last is the lesion.
        spacing: of the voxels, mm.
    """
    found = {"lesion_ml": float(sample.target[-1].sum(dtype=np.float64)) * spacing**3 / 1000}
    for name, share in zip(classes, sample.target, strict=True):
        inside = sample.image[share > 0.5]
        found[f"mean_{name}"] = float(inside.mean(dtype=np.float64)) if inside.size else float("nan")
    return found


def _cell(number: int, sample: SheetSample, spacing: float) -> _Cell:
    lesion = sample.target[-1] >= 0.5
    index = through_largest_lesion(lesion)[_PLANE.normal]
    millilitres = float(sample.target[-1].sum(dtype=np.float64)) * spacing**3 / 1000
    target = np.stack([_PLANE.cut(share, index) for share in sample.target])
    return _Cell(_PLANE.cut(sample.image, index), target, f"{number}: {millilitres:.3g} ml")


def _figure(cells: Sequence[_Cell], classes: Sequence[str], columns: int) -> Figure:
    """Two rows of pictures for each row of samples: image with the lesion's outline, classes as colours."""
    columns = min(columns, max(len(cells), 1))
    rows = -(-len(cells) // columns)
    figure = Figure(figsize=(_INCHES * columns, rows * (2 * _INCHES + 0.25) + 0.4), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    grid = figure.subplots(2 * rows, columns, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    for place, cell in enumerate(cells):
        above, below = (grid[2 * (place // columns) + row, place % columns] for row in (0, 1))
        above.imshow(cell.image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        if (cell.target[-1] >= 0.5).any():
            for axes in (above, below):
                axes.contour(cell.target[-1], levels=[0.5], colors=[LESION], linewidths=0.7)
        above.set_title(cell.title, fontsize=7, pad=1.5, parse_math=False)
        below.imshow(_coloured(cell.target), interpolation="nearest")
    handles = [Patch(color=colour, label=name) for name, colour in _colours(classes).items()]
    legend_below(figure, handles, columns=len(handles))
    return figure


def _colours(classes: Sequence[str]) -> dict[str, str]:
    """A colour for each class but the background, which is black."""
    between = dict(zip(classes[1:-1], _TISSUES * len(classes), strict=False))
    return between | {classes[-1]: LESION}


def _coloured(target: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fractions (K, rows, columns) as a picture (rows, columns, 3): the mixture of the classes' colours."""
    colours = [to_rgb(colour) for colour in _colours([str(number) for number in range(len(target))]).values()]
    return np.asarray(np.einsum("kyx,kc->yxc", target[1:], np.asarray(colours)).clip(0, 1), dtype=np.float32)


def _write_volumes(stem: Path, sample: SheetSample, spacing: float) -> None:
    matrix = np.diag([spacing, spacing, spacing, 1.0])
    matrix[:3, 3] = -(np.asarray(sample.image.shape) - 1) / 2 * spacing
    grid = Grid.of(sample.image.shape, matrix)
    write_volume(stem.with_name(f"{stem.name}_image.nii.gz"), sample.image, grid)
    labels = sample.target.argmax(axis=0).astype(np.uint8)
    write_volume(stem.with_name(f"{stem.name}_dseg.nii.gz"), labels, grid)
