"""Lesion masks of a labelled cohort, brought onto an anatomy, and those that cannot be pasted. Knows no files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.errors import DataError
from strokelab.grid import Grid, places_in, resample, turned
from strokelab.phantoms.anatomy import template
from strokelab.phantoms.lesion_law import draw_strokes
from strokelab.phantoms.lesion_shapes import grow, seed_of_stroke
from strokelab.preparation.template import MNI, in_mni_space
from strokelab.seeding import stream
from strokelab.synthesis.anatomy import Anatomy


@dataclass(frozen=True)
class LesionMask:
    """The lesions of one case.

    Args:
        case_id: of the case.
        voxels: (X, Y, Z), non-zero = lesion.
        grid: of the mask.
        native: grid of the case's file, which says whether it lies in MNI space; None: that of the mask.
    """

    case_id: str
    voxels: NDArray[Any]
    grid: Grid
    native: Grid | None = None


def lesion_on(lesion: NDArray[Any], source: Grid, grid: Grid) -> NDArray[np.uint8]:
    """A lesion mask (X, Y, Z) on the grid of an anatomy, 0/1: as it is where the grids are one, turned where only axes
    differ, else interpolated linearly through both affines and cut at one half.

    A lesion that coarser voxels would lose keeps those that hold most of it.

    Args:
        lesion: non-zero = lesion.
        source: its grid.
        grid: of the anatomy.
    """
    mask = np.asarray(lesion != 0)
    same = turned(mask, source, grid)
    if same is not None:
        return np.asarray(same, dtype=np.uint8)
    shares = resample(mask.astype(np.float32), source, grid, "linear")
    highest = float(shares.max())
    if highest == 0:
        shares, highest = _counted(mask, source, grid)
    return np.asarray((shares >= min(0.5, highest)) & (highest > 0), dtype=np.uint8)


def _counted(mask: NDArray[np.bool_], source: Grid, grid: Grid) -> tuple[NDArray[np.float32], float]:
    """How many voxels of a mask lie in each voxel of a grid (X, Y, Z), and the highest number."""
    voxels = np.rint(places_in(mask, source, grid)).astype(int)
    voxels = voxels[((voxels >= 0) & (voxels < grid.shape)).all(axis=1)]
    counts = np.zeros(grid.shape, dtype=np.float32)
    np.add.at(counts, tuple(voxels.T), 1)
    highest = float(counts.max())
    return counts / max(highest, 1), min(highest, 1.0)


def check_lesions(masks: Sequence[LesionMask], anatomy: Anatomy) -> None:
    """Lesions that can be pasted into an anatomy: in MNI space, and inside its brain with a voxel at least.

    Args:
        masks: of the training cases; those without a lesion voxel are not looked at.
        anatomy: any of the anatomies: all lie in MNI space.

    Raises:
        DataError: there is no lesion; a mask is not in MNI space; a lesion lies outside the brain altogether.
    """
    filled = [mask for mask in masks if mask.voxels.any()]
    if not filled:
        raise DataError(
            "lesion masks to be pasted",
            found=f"{len(masks)} masks without a lesion voxel" if masks else "an empty list",
            expected="training cases with lesions",
            remedy="train on a cohort with lesion masks, or without synthetic samples",
        )
    for mask in filled:
        native = mask.native or mask.grid
        if not in_mni_space(native):
            raise DataError(
                f"the lesion of case {mask.case_id}",
                found=native.describe(),
                expected=f"a mask in MNI space, such as {MNI.describe()}",
                remedy="set data.sources.synthetic.register, as conf/experiment/synthstroke_isles2022.yaml does, or "
                "leave the case out with data.exclude",
            )
        places = places_in(mask.voxels != 0, mask.grid, anatomy.grid).T
        brain = ndimage.map_coordinates(anatomy.brain.view(np.uint8), places, np.float32, order=1, mode="constant")
        if not brain.any():
            raise DataError(
                f"the lesion of case {mask.case_id}",
                found=f"no voxel of it inside the brain of {anatomy.name}",
                expected="a lesion in the brain",
                remedy="look whether image and mask are in MNI space, or leave the case out with data.exclude",
            )


def phantom_lesions(count: int, seed: int, spacing: float = 2.0) -> list[LesionMask]:
    """Lesions of the phantom generator, grown in the template's brain: sizes, numbers and places are those of ATLAS.

    Args:
        count: how many heads with strokes.
        seed: of sizes, places and shapes.
        spacing: of the masks, mm.
    """
    head = template(spacing)
    masks = []
    for number, strokes in enumerate(draw_strokes(seed, "synthesis", count), start=1):
        name = f"phantom-lesion-{number}"
        places = stream(seed, "stroke places", name)
        mask = np.zeros(head.brain.shape, dtype=bool)
        for index, stroke in enumerate(strokes):
            start = seed_of_stroke(stroke, places)
            mask |= grow(head, stroke, start, key=(seed, f"{name}/{index}"), free=~mask).mask
        masks.append(LesionMask(name, mask, head.grid))
    return masks
