"""Heads with strokes in them: planned lesions, grown into a subject's brain. Knows no scanner and no file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.lesions import count_lesions
from strokelab.phantoms.anatomy import Anatomy, subject
from strokelab.phantoms.contrasts import Stricken, draw_glare, draw_vessels
from strokelab.phantoms.fields import Volume, smooth_field
from strokelab.phantoms.lesion_law import LARGEST_MM3, Stroke
from strokelab.phantoms.lesion_shapes import Lesion, grow, pull_of, seed_of_stroke
from strokelab.phantoms.settings import Truth
from strokelab.seeding import stream


def struck_head(
    seed: int, name: str, spacing: float, strokes: tuple[Stroke, ...], *, chronic: bool
) -> tuple[Anatomy, list[Lesion]]:
    """A subject's head with the tissue moved by the strokes, and the lesions grown in it, in the strokes' order.

    Old strokes draw the tissue in (ex vacuo), fresh ones push it away (mass effect).
    """
    draw = stream(seed, "stroke places", name)
    seeds = [seed_of_stroke(stroke, draw) for stroke in strokes]
    strength = draw.uniform(0.10, 0.28) if chronic else -draw.uniform(0.05, 0.14)
    pulls = tuple(
        pull_of(start, stroke, strength)
        for start, stroke in zip(seeds, strokes, strict=True)
        if stroke.volume_mm3 > 500
    )
    anatomy = subject(seed, name, spacing, pulls)
    free = np.ones(anatomy.brain.shape, dtype=bool)
    lesions = []
    for index, (stroke, start) in enumerate(zip(strokes, seeds, strict=True)):
        lesion = grow(anatomy, stroke, start, key=(seed, f"{name}/{index}"), free=free)
        free &= ~ndimage.binary_dilation(
            lesion.mask, np.ones((3, 3, 3), dtype=bool), iterations=max(1, round(3 / spacing))
        )
        lesions.append(lesion)
    return anatomy, lesions


def old_strokes(anatomy: Anatomy, lesions: list[Lesion], draw: np.random.Generator) -> Volume:
    """The tissue coordinate (X, Y, Z) of a head whose strokes have become cavities with a scarred rim."""
    tissue = anatomy.tissue.copy()
    texture = smooth_field(draw, anatomy.axes, 9.0)
    for lesion in lesions:
        depth = draw.uniform(0.85, 1.0)  # share of the tissue that is lost
        floor = np.float32(draw.uniform(-0.1, 0.15)) + np.float32(0.08) * texture
        lost = np.float32(depth) * lesion.core
        tissue = np.where(lesion.core > 0.01, tissue * (1 - lost) + lost * np.minimum(floor, tissue), tissue)
        scar = np.float32(draw.uniform(0.2, 0.5)) * lesion.rim * np.clip(tissue - 1.0, 0, 1)
        tissue = (tissue - scar).astype(np.float32)
    return np.asarray(tissue, dtype=np.float32)


def fresh_strokes(
    seed: int, name: str, spacing: float, strokes: tuple[Stroke, ...], *, halo_times: float = 1.0
) -> Stricken:
    """A subject's head with fresh strokes.

    Args:
        seed: the cohort's seed.
        name: of the subject.
        spacing: of the MNI frame the head is built in, mm.
        strokes: the cores; none = a head without a stroke.
        halo_times: volume of the perfusion lesion around each core, as a multiple of the core.
    """
    anatomy, lesions = struck_head(seed, name, spacing, strokes, chronic=False)
    draw = stream(seed, "fresh", name)
    core = np.zeros(anatomy.grid.shape, dtype=np.float32)
    halo = np.zeros_like(core)
    places = stream(seed, "stroke places", name)  # the same seeds as the cores'
    starts = [seed_of_stroke(stroke, places) for stroke in strokes]
    free = np.ones(anatomy.grid.shape, dtype=bool)
    for index, (lesion, start) in enumerate(zip(lesions, starts, strict=True)):
        core = np.maximum(core, lesion.core * np.float32(draw.uniform(0.85, 1.0)))
        if halo_times > 1:
            wide = replace(lesion.stroke, volume_mm3=min(halo_times * lesion.stroke.volume_mm3, LARGEST_MM3))
            halo = np.maximum(halo, grow(anatomy, wide, start, key=(seed, f"{name}/{index}"), free=free).core)
    return Stricken(
        anatomy,
        core,
        halo=np.maximum(halo, core),
        vessels=draw_vessels(anatomy, draw),
        glare=draw_glare(anatomy, draw),
        age=float(draw.uniform(0.45, 1.0)),
    )


def union(lesions: list[Lesion], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """All lesions of a head in one mask (X, Y, Z)."""
    mask = np.zeros(shape, dtype=bool)
    for lesion in lesions:
        mask |= lesion.mask
    return mask


def describe(strokes: tuple[Stroke, ...], mask: NDArray[np.bool_], voxel_mm3: float) -> Truth:
    """The lesion columns of the truth table, measured on the mask as it is written."""
    voxels = int(np.count_nonzero(mask))
    return {
        "lesion_voxels": voxels,
        "lesion_mm3": round(voxels * voxel_mm3, 3),
        "planned_mm3": round(sum(stroke.volume_mm3 for stroke in strokes), 1),
        "lesions": len(strokes),
        "components": count_lesions(mask),
        "side": strokes[0].side if strokes else "none",
        "places": " ".join(stroke.place for stroke in strokes),
    }
