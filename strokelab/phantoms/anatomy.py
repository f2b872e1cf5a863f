"""Subjects: the MNI152 anatomy, smoothly deformed. Knows tissue; knows no strokes, no scanners and no files.

Anatomy is one number per voxel, the tissue coordinate: 0 is fluid, 1 grey matter, 2 white matter, and between two of
them lies their mixture (marks outside the brain: ``head``). A scanner is then a curve over it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.grid import Grid, resample
from strokelab.phantoms.fields import Axes, Volume, axes_of, smooth_field
from strokelab.phantoms.head import AIR, add_head
from strokelab.seeding import stream

MNI_GRID = Grid.of((197, 233, 189), [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])
_T1_MARKS = (0.0, 0.36, 0.66, 0.88, 1.0)  # template brightness of: nothing, fluid, grey, white, brightest white
_TISSUE = (-0.1, 0.0, 1.0, 2.0, 2.25)


@dataclass(frozen=True)
class Anatomy:
    """A head on an axis-aligned grid: tissue coordinate, brain mask, damage of small vessels 0..1 (X, Y, Z)."""

    grid: Grid
    tissue: Volume
    brain: NDArray[np.bool_]
    damage: Volume

    @property
    def axes(self) -> Axes:
        """World coordinates of the voxel centres along each axis, mm."""
        return axes_of(self.grid)


@dataclass(frozen=True)
class Pull:
    """A place that draws the tissue around it in (ex vacuo, > 0) or pushes it away (mass effect, < 0)."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    strength: float  # share of the distance by which tissue at the centre moves


def mni_grid(spacing: float) -> Grid:
    """The MNI152 template's field of view at an isotropic spacing in mm; 1 mm is the template's own grid exactly."""
    return MNI_GRID if spacing == 1 else MNI_GRID.resized((spacing, spacing, spacing))


@lru_cache(maxsize=2)
def template(spacing: float) -> Anatomy:
    """The undeformed head on ``mni_grid(spacing)``, from the maps that nilearn ships; nothing is downloaded."""
    from nilearn.datasets import load_mni152_brain_mask, load_mni152_template  # slow to import

    t1 = np.asarray(load_mni152_template(resolution=1).dataobj, dtype=np.float32)
    mask = np.asarray(load_mni152_brain_mask(resolution=1).dataobj) > 0
    tissue = np.interp(t1, _T1_MARKS, _TISSUE).astype(np.float32)
    tissue[~mask] = 0.0
    # An average of 152 subjects is smoother than any of them.
    tissue += 0.7 * (tissue - ndimage.gaussian_filter(tissue, 1.6))
    grid = mni_grid(spacing)
    if spacing != 1:
        tissue = resample(ndimage.gaussian_filter(tissue, 0.3 * spacing), MNI_GRID, grid)
        smooth = ndimage.gaussian_filter(mask.astype(np.float32), 0.3 * spacing)
        mask = resample(smooth, MNI_GRID, grid) > 0.5
    tissue = np.clip(tissue, -0.15, 2.3)
    return Anatomy(grid, add_head(tissue, mask, grid), mask, np.zeros(grid.shape, dtype=np.float32))


def ventricles(anatomy: Anatomy) -> NDArray[np.bool_]:
    """The fluid in the middle of the brain (X, Y, Z)."""
    x, y, z = np.meshgrid(*anatomy.axes, indexing="ij", sparse=True)
    box = (abs(x) < 34) & (y > -50) & (y < 40) & (z > -5) & (z < 32)
    return np.asarray(anatomy.brain & (anatomy.tissue < 0.5) & box)


@lru_cache(maxsize=2)
def _ventricle_push(spacing: float) -> Volume:
    """Unit-height directions (3, X, Y, Z) away from the ventricles, along which they grow or shrink."""
    soft = ndimage.gaussian_filter(ventricles(template(spacing)).astype(np.float32), 5.0 / spacing)
    push: NDArray[np.float32] = np.stack(list(np.gradient(soft, spacing)))
    return np.asarray(push / np.sqrt((push**2).sum(0)).max(), dtype=np.float32)


def subject(seed: int, name: str, spacing: float, pulls: tuple[Pull, ...] = ()) -> Anatomy:
    """A subject's head: a pure function of (seed, name, pulls), the same at every spacing but for the sampling.

    Args:
        seed: the cohort's seed.
        name: of the subject; test and retest share it.
        spacing: isotropic voxel size, mm.
        pulls: where strokes draw or push the tissue.
    """
    head = template(spacing)
    axes = head.axes
    draw = stream(seed, "anatomy", name)
    scale = draw.normal(0.0, 0.015, 3) + draw.normal(0.0, 0.01)
    turn = draw.normal(0.0, 0.02, 3)
    widening = draw.normal(1.2, 1.6)
    points = list(np.broadcast_arrays(*np.meshgrid(*(axis.astype(np.float32) for axis in axes), indexing="ij")))
    linear = np.diag(1 + scale) + np.array([[0, -turn[2], turn[1]], [turn[2], 0, -turn[0]], [-turn[1], turn[0], 0]])
    shift = _shift_of(points, pulls)
    push = _ventricle_push(spacing)
    source = []
    for i in range(3):
        bend = 2.6 * smooth_field(draw, axes, 55.0) + 1.3 * smooth_field(draw, axes, 20.0)
        moved = sum(np.float32(linear[i, j]) * points[j] for j in range(3)) + bend - np.float32(widening) * push[i]
        moved += shift[i]
        source.append((moved - np.float32(head.grid.matrix[i, 3])) / np.float32(spacing))
    tissue = ndimage.map_coordinates(head.tissue, source, order=1, mode="nearest", output=np.float32)
    brain = ndimage.map_coordinates(head.brain.astype(np.float32), source, order=1, mode="constant") > 0.5
    aged, damage = _age(tissue, brain, draw, axes)
    return Anatomy(head.grid, aged, brain, damage)


def _shift_of(points: list[NDArray[np.float32]], pulls: tuple[Pull, ...]) -> list[NDArray[np.float32] | float]:
    shift: list[NDArray[np.float32] | float] = [0.0, 0.0, 0.0]
    for pull in pulls:
        away = [points[i] - np.float32(pull.centre_mm[i]) for i in range(3)]
        square = away[0] ** 2 + away[1] ** 2 + away[2] ** 2
        weight = np.float32(pull.strength) * np.exp(-square / np.float32(2 * (1.1 * pull.radius_mm) ** 2))
        shift = [total + weight * part for total, part in zip(shift, away, strict=True)]
    return shift


def _age(tissue: Volume, brain: NDArray[np.bool_], draw: np.random.Generator, axes: Axes) -> tuple[Volume, Volume]:
    """What looks like a stroke and is none: wide sulci, and white-matter damage of small vessels (second result)."""
    atrophy = abs(draw.normal(0.0, 0.25))
    burden = min(abs(draw.normal(0.0, 0.9)), 2.0) * 0.5
    sulci = np.clip(smooth_field(draw, axes, 30.0) + 0.5, 0, None) * np.clip(1.0 - tissue, 0, 0.6)
    spots = smooth_field(draw, axes, 9.0) + 0.5 * smooth_field(draw, axes, 30.0)
    white = np.clip(tissue - 1.5, 0, 0.5) * 2 * brain
    damage = (burden * white / (1 + np.exp(-6 * (spots - 2.2)))).astype(np.float32)
    aged = np.where(brain, np.maximum(tissue - atrophy * sulci - 0.9 * damage, np.minimum(tissue, 0.0)), tissue)
    return np.maximum(aged, AIR).astype(np.float32), damage
