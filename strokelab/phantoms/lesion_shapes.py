"""Where a planned stroke lies in a given brain and which voxels it takes. Knows geometry; knows no brightness."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strokelab.lesions import label_lesions, lesion_sizes
from strokelab.phantoms.anatomy import Anatomy, Pull, ventricles
from strokelab.phantoms.fields import Volume, smooth_field
from strokelab.phantoms.lesion_law import Place, Stroke
from strokelab.seeding import stream

_HUB_MM = (9.0, -18.0, 10.0)  # vessels' wedges point here, mirrored for the left
_DEEP_MM = {  # seeds on the right: mean position and spread, mm (MNI)
    "putamen": (27, 2, 4, 4.0),
    "capsule": (20, -8, 12, 3.0),
    "corona": (25, -2, 24, 4.0),
    "thalamus": (13, -18, 8, 3.0),
    "semiovale": (28, -18, 34, 5.0),
}
_BRAINSTEM_MM, _CEREBELLUM_MM = (5, -27, -34, 3.0), (27, -64, -38, 6.0)


@dataclass(frozen=True)
class Seed:
    """Where a stroke starts and how it stretches: centre (mm), main direction (unit), extents along and across it."""

    centre: NDArray[np.float64]
    direction: NDArray[np.float64]
    along: float
    across: float
    wedge: float  # 0 = ellipsoid, 1 = narrows to a point towards the hub


@dataclass(frozen=True)
class Lesion:
    """A stroke in voxels (X, Y, Z): the drawn mask, the soft core share 0..1, and a halo share outside the mask."""

    stroke: Stroke
    mask: NDArray[np.bool_]
    core: Volume
    rim: Volume


def seed_of_stroke(stroke: Stroke, draw: np.random.Generator) -> Seed:
    """Draw the seed of a stroke in template space."""
    sign = -1.0 if stroke.side == "left" or (stroke.side == "other" and draw.random() < 0.5) else 1.0
    mirror = np.array([sign, 1.0, 1.0])
    if stroke.place == "cortical":
        direction = _cortical_direction(draw)
        # A rough ellipsoid of the brain's surface; growth is cut by the brain itself.
        radius = 1.0 / np.sqrt((direction / np.array([56.0, 80.0, 62.0])) @ (direction / np.array([56.0, 80.0, 62.0])))
        centre = np.array(_HUB_MM) + direction * (radius - 9.0)
        along, across = draw.uniform(0.9, 1.5), draw.uniform(0.8, 1.2)
        return Seed(centre * mirror, -direction * mirror, along, across, draw.uniform(0.2, 0.6))
    spots = list(_DEEP_MM.values()) if stroke.place == "subcortical" else [_other_spot(stroke.place)]
    x, y, z, spread = spots[int(draw.integers(len(spots)))]
    centre = np.array([x, y, z]) + draw.normal(0.0, spread, 3)
    direction = draw.normal(0.0, (0.4, 0.8, 1.0), 3)
    direction /= np.linalg.norm(direction)
    return Seed(centre * mirror, direction * mirror, draw.uniform(1.0, 1.9), 1.0, 0.0)


def pull_of(seed: Seed, stroke: Stroke, strength: float) -> Pull:
    """How the stroke moves the tissue around it (> 0 draws in, < 0 pushes away)."""
    radius = (3 * stroke.volume_mm3 / (4 * np.pi)) ** (1 / 3)
    x, y, z = (float(v) for v in seed.centre)
    return Pull((x, y, z), float(radius) + 2.0, strength)


def grow(anatomy: Anatomy, stroke: Stroke, seed: Seed, *, key: tuple[int, str], free: NDArray[np.bool_]) -> Lesion:
    """Grow a stroke in a brain until it has its volume: the level set of a rough distance from the seed.

    Args:
        anatomy: the head.
        stroke: what was planned.
        seed: where it starts.
        key: (seed, name) of the random stream that roughens the boundary.
        free: voxels (X, Y, Z) it may take.

    Returns:
        The lesion: one piece of about ``volume / voxel volume`` voxels, at least one, at most what is free.
    """
    distance = _rough_distance(anatomy, seed, key)
    # As raters do: a cortical lesion takes the sulci inside it, none takes the ventricles.
    allowed = free & anatomy.brain & ~ventricles(anatomy)
    if stroke.side != "other":
        x = anatomy.axes[0][:, None, None]
        allowed = allowed & ((x < 0) if stroke.side == "left" else (x > 0))
    wanted = max(1, round(stroke.volume_mm3 / anatomy.grid.voxel_volume_mm3))
    wanted = min(wanted, int(np.count_nonzero(allowed)))
    if not wanted:
        raise ValueError(f"no free brain voxel for a stroke of {stroke.volume_mm3:.0f} mm^3 at {seed.centre}")
    mask, limit = _one_piece(distance, allowed, wanted)
    width = np.float32(max(0.7, 0.25 * anatomy.grid.spacing[0]))
    beyond = np.clip((distance - limit) / width, -30, 30)
    reached = allowed & (mask | (distance > limit))
    core = np.where(reached, 1 / (1 + np.exp(beyond)), 0).astype(np.float32)
    rim = np.where(reached & ~mask, np.exp(-np.maximum(beyond, 0) / 3), 0).astype(np.float32)
    return Lesion(stroke, mask, core, rim)


def _one_piece(distance: Volume, allowed: NDArray[np.bool_], wanted: int) -> tuple[NDArray[np.bool_], np.float32]:
    """The connected level set (X, Y, Z) of ``wanted`` voxels, and its level; islands across a sulcus are left out."""
    levels = np.sort(distance[allowed])
    low, high = wanted, min(levels.size, 3 * wanted + 8)  # how many voxels a level takes, islands included
    piece = _largest_piece(allowed & (distance <= levels[low - 1]))
    for _ in range(7):
        if np.count_nonzero(piece) >= wanted or high - low < 2:
            break
        middle = (low + high) // 2
        candidate = _largest_piece(allowed & (distance <= levels[middle - 1]))
        if np.count_nonzero(candidate) > wanted:
            high = middle
        else:
            low, piece = middle, candidate
    return piece, np.float32(levels[low - 1])


def _largest_piece(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = label_lesions(mask)
    return mask if count < 2 else np.asarray(labels == 1 + int(np.argmax(lesion_sizes(labels, count))))


def _rough_distance(anatomy: Anatomy, seed: Seed, key: tuple[int, str]) -> Volume:
    """Distance from the seed in mm, stretched, wedged and roughened at three scales (X, Y, Z)."""
    draw = stream(key[0], "boundary", key[1])
    away = [axis.astype(np.float32) - np.float32(c) for axis, c in zip(anatomy.axes, seed.centre, strict=True)]
    x, y, z = away[0][:, None, None], away[1][None, :, None], away[2][None, None, :]
    depth = (x * seed.direction[0] + y * seed.direction[1] + z * seed.direction[2]).astype(np.float32)
    lateral = np.sqrt(np.maximum(x**2 + y**2 + z**2 - depth**2, 0))
    narrow = 1 - np.float32(seed.wedge) * np.clip(depth / 45.0, -0.3, 0.95).astype(np.float32)
    distance = np.sqrt((lateral / (np.float32(seed.across) * narrow)) ** 2 + (depth / np.float32(seed.along)) ** 2)
    rough = sum(
        np.float32(size) * smooth_field(draw, anatomy.axes, pitch)
        for size, pitch in ((0.20, 26.0), (0.17, 11.0), (0.13, 5.0))
    )
    return np.asarray(distance * np.exp(rough), dtype=np.float32)


def _cortical_direction(draw: np.random.Generator) -> NDArray[np.float64]:
    """Towards the cortex of the middle, anterior or posterior cerebral artery (on the right)."""
    artery = draw.choice(3, p=(0.72, 0.10, 0.18))
    if artery == 0:
        direction = np.array([1.0, draw.uniform(-0.8, 0.7), draw.uniform(-0.15, 0.8)])
    elif artery == 1:
        direction = np.array([0.2, draw.uniform(0.2, 1.0), draw.uniform(0.4, 1.0)])
    else:
        direction = np.array([0.35, -1.0, draw.uniform(-0.15, 0.4)])
    return np.asarray(direction / np.linalg.norm(direction))


def _other_spot(place: Place) -> tuple[float, float, float, float]:
    return _BRAINSTEM_MM if place == "brainstem" else _CEREBELLUM_MM
