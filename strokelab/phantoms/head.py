"""Skull, scalp and neck around a brain that has none (the template is skull-stripped). Knows shapes, not scanners."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.grid import Grid
from strokelab.phantoms.fields import Volume, axes_of, smooth_field
from strokelab.seeding import stream

AIR, BONE, FLUID, GREY, WHITE, FAT = -1.0, -0.7, 0.0, 1.0, 2.0, 2.8
"""Marks on the tissue coordinate, ordered by T1-weighted brightness; between two marks lies their mixture."""

# Millimetres outside the brain -> tissue: fluid and dura, inner table, marrow, outer table, fat, skin, air.
_LAYERS_MM = (0.0, 1.5, 3.0, 4.2, 5.2, 6.5, 7.5, 9.0, 12.5, 13.5, 15.0, 16.0)
_LAYERS = (FLUID, -0.2, BONE, BONE, 0.7, 0.5, BONE, 2.0, FAT, 1.3, 1.0, AIR)


def add_head(tissue: Volume, brain: NDArray[np.bool_], grid: Grid) -> Volume:
    """The tissue coordinate (X, Y, Z) of a whole, defaced head around the brain's.

    Args:
        tissue: tissue coordinate inside the brain.
        brain: brain mask.
        grid: axis-aligned MNI grid of both.
    """
    axes = axes_of(grid)
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    inner = _closed(brain, 14.0, grid.spacing)
    # Below the brain the head goes on downwards: skull base and neck, as wide as what lies above, the neck narrower.
    below = np.logical_or.accumulate(inner[:, :, ::-1], axis=2)[:, :, ::-1]
    below &= (z < -18) & (y > -112 - 0.55 * (z + 18)) & (np.hypot(x / 74, (y + 20) / 96) < 1)
    depth = ndimage.distance_transform_edt(~(inner | below), sampling=grid.spacing)
    texture = smooth_field(stream(0, "head"), axes, 14.0) + 0.6 * smooth_field(stream(0, "neck"), axes, 6.0)
    shell = np.interp(depth * (1 + 0.12 * smooth_field(stream(0, "scalp"), axes, 45.0)), _LAYERS_MM, _LAYERS)
    base = np.interp(texture, (-1.8, -0.9, -0.3, 0.9, 1.5, 2.2), (AIR, BONE, 0.8, 1.1, 1.6, FAT))
    gap = ndimage.distance_transform_edt(~brain, sampling=grid.spacing)
    inside = np.where(gap < 3.0, FLUID - 0.1 * gap, np.where(gap < 8.0, 0.5 * (BONE + base), base))
    head = np.where(depth > 0, shell, np.where(inner & (z > -18), np.minimum(FLUID, -0.1 * gap), inside))
    face = (z + 72 < (y - 22) * 1.35) & (gap > 7.0)  # defaced, as the public releases are
    return np.where(brain, tissue, np.where(face, AIR, head)).astype(np.float32)


def _closed(mask: NDArray[np.bool_], radius_mm: float, spacing: tuple[float, float, float]) -> NDArray[np.bool_]:
    """Morphological closing by a ball, through two distance maps."""
    near = ndimage.distance_transform_edt(~mask, sampling=spacing) <= radius_mm
    return np.asarray((ndimage.distance_transform_edt(near, sampling=spacing) > radius_mm) | mask)
