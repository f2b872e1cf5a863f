"""The brain of the MNI-152 template on grids that lie in its box; the only place that asks nilearn for it.

nilearn ships MNI-152 2009a symmetric at 1 mm: 197 x 233 x 189 voxels, origin (-98, -134, -72), 1,882,989 of them
brain. ATLAS v1.2 and v2.0 lie on exactly this grid.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from strokelab.grid import Grid, Orient, resample

MNI = Grid.of((197, 233, 189), [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])


def in_mni_box(grid: Grid) -> bool:
    """Whether a grid is axis-aligned and its field of view is the MNI box within one of its voxels on each side."""
    oriented = Orient(grid).target
    linear = oriented.matrix[:3, :3]
    if np.abs(linear - np.diag(np.diag(linear))).max() > 1e-3:
        return False
    low, high = _box(oriented)
    mni_low, mni_high = _box(MNI)
    tolerance = np.asarray(oriented.spacing) + 1e-3
    return bool((np.abs(low - mni_low) <= tolerance).all() and (np.abs(high - mni_high) <= tolerance).all())


def template_brain(grid: Grid) -> NDArray[np.bool_]:
    """The template's brain (X, Y, Z) on a grid of the MNI box; exact on the 1 mm grid, else linear and >= 0.5."""
    mask = _mni_brain()
    orient = Orient(grid)
    if orient.target.matches(MNI):
        return np.asarray(orient.invert(mask), dtype=bool)
    return np.asarray(resample(mask.astype(np.float32), MNI, grid, "linear") >= 0.5)


def template_t1() -> NDArray[np.float32]:
    """The template's T1 image (X, Y, Z) on ``MNI``, 0 outside its brain."""
    from nilearn.datasets import load_mni152_template

    image = load_mni152_template(resolution=1)
    if not Grid.of(image.shape, image.affine).matches(MNI):
        raise RuntimeError(f"nilearn's template lies on {Grid.of(image.shape, image.affine).describe()}")
    return np.where(_mni_brain(), np.asarray(image.dataobj, dtype=np.float32), np.float32(0))


@lru_cache(maxsize=1)
def _mni_brain() -> NDArray[np.bool_]:
    from nilearn.datasets import load_mni152_brain_mask  # two seconds of imports; only where a template is needed

    image = load_mni152_brain_mask(resolution=1)
    if not Grid.of(image.shape, image.affine).matches(MNI):
        raise RuntimeError(f"nilearn's template lies on {Grid.of(image.shape, image.affine).describe()}")
    return np.asarray(image.dataobj) > 0


def _box(grid: Grid) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Lowest and highest voxel *edges* of a RAS grid, mm."""
    half = np.diag(grid.matrix[:3, :3]) / 2
    low = grid.matrix[:3, 3] - half
    return low, low + 2 * half * np.asarray(grid.shape)
