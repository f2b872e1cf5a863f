"""Brain and tissues of the MNI-152 template, and which grids lie in its space; the only place that asks nilearn for it.

nilearn ships MNI-152 2009a symmetric at 1 mm: 197 x 233 x 189 voxels, origin (-98, -134, -72), 1,882,989 of them
brain. ATLAS v1.2 and v2.0 lie on exactly this grid.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.grid import Grid, Orient, resample

_Box = tuple[NDArray[np.float64], NDArray[np.float64]]  # lowest and highest voxel edges, mm
MNI = Grid.of((197, 233, 189), [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])

_MNI_BOXES: tuple[_Box, ...] = tuple(  # FSL's, and those of SPM's templates and of its normalised volumes
    (np.asarray(first, dtype=float) - 0.5, np.asarray(last, dtype=float) + 0.5)
    for first, last in (
        ((-91, -126, -72), (90, 91, 109)),
        ((-90, -126, -72), (90, 90, 108)),
        ((-78, -112, -70), (78, 76, 85)),
    )
)

BRAIN_CENTRE_MM = (0.0, -17.0, 5.0)
"""Middle of the box around the template's brain, in the world."""

WHITE_FROM = 0.77
"""Brightness of the T1 template from which a voxel is white matter: midway between its grey and its white."""


def in_mni_box(grid: Grid) -> bool:
    """Whether a grid is axis-aligned and its field of view is the MNI box within one of its voxels on each side."""
    return _fills(grid, _box(MNI))


def is_axis_aligned(grid: Grid) -> bool:
    """Whether each axis of a grid is one of the world's, in any order and direction."""
    linear = Orient(grid).target.matrix[:3, :3]
    return bool(np.abs(linear - np.diag(np.diag(linear))).max() <= 1e-3)


def in_mni_space(grid: Grid) -> bool:
    """Whether a grid is axis-aligned and its field of view is one of those in which MNI volumes are published.

    These are the box of ``in_mni_box``, that of FSL (182 x 218 x 182 at 1 mm) and those of SPM (-90..90, -126..90,
    -72..108 and -78..78, -112..76, -70..85 mm), each within one voxel of the grid on each side.
    """
    return any(_fills(grid, box) for box in (_box(MNI), *_MNI_BOXES))


def is_mni_view(sides_mm: NDArray[np.float64], tolerance_mm: float) -> bool:
    """Whether a field of view (3,) has the lengths of one in which MNI volumes are published, within two voxels."""
    boxes = (_box(MNI), *_MNI_BOXES)
    return any(bool((np.abs(high - low - sides_mm) <= 2 * tolerance_mm + 1e-3).all()) for low, high in boxes)


def template_brain(grid: Grid) -> NDArray[np.bool_]:
    """The template's brain (X, Y, Z) on a grid of the MNI box; exact on the 1 mm grid, else linear and >= 0.5."""
    mask = _mni_brain()
    orient = Orient(grid)
    if orient.target.matches(MNI):
        return np.asarray(orient.invert(mask), dtype=bool)
    return np.asarray(resample(mask.astype(np.float32), MNI, grid, "linear") >= 0.5)


def template_on(grid: Grid) -> NDArray[np.bool_]:
    """The template's brain (X, Y, Z) on any grid of its space, linear and >= 0.5."""
    return np.asarray(resample(_mni_brain().astype(np.float32), MNI, grid, "linear") >= 0.5)


def template_tissues() -> NDArray[np.float32]:
    """Grey and white matter of the template (2, X, Y, Z) on ``MNI``, each scaled to a maximum of 1.

    They reach beyond the template's brain mask.
    """
    from nilearn.datasets import load_mni152_gm_template, load_mni152_wm_template  # as in ``_mni_brain``

    images = (load_mni152_gm_template(resolution=1), load_mni152_wm_template(resolution=1))
    maps = np.stack([np.asarray(_on_mni(image).dataobj, dtype=np.float32) for image in images])
    return np.asarray(maps / maps.max(axis=(1, 2, 3), keepdims=True), dtype=np.float32)


def template_release() -> str:
    """Which template it is, for the addresses of what is made of it."""
    return f"nilearn {version('nilearn')}"


def template_t1() -> NDArray[np.float32]:
    """The template's T1 image (X, Y, Z) on ``MNI``, 0 outside its brain."""
    from nilearn.datasets import load_mni152_template

    image = _on_mni(load_mni152_template(resolution=1))
    return np.where(_mni_brain(), np.asarray(image.dataobj, dtype=np.float32), np.float32(0))


@lru_cache(maxsize=1)
def _mni_brain() -> NDArray[np.bool_]:
    from nilearn.datasets import load_mni152_brain_mask  # two seconds of imports; only where a template is needed

    return np.asarray(_on_mni(load_mni152_brain_mask(resolution=1)).dataobj) > 0


def _on_mni(image: Any) -> Any:
    if not Grid.of(image.shape, image.affine).matches(MNI):
        raise RuntimeError(f"nilearn's template lies on {Grid.of(image.shape, image.affine).describe()}")
    return image


def _fills(grid: Grid, box: _Box) -> bool:
    """Whether a grid is axis-aligned and its field of view is a box (mm), within one of its voxels on each side."""
    oriented = Orient(grid).target
    if not is_axis_aligned(grid):
        return False
    tolerance = np.asarray(oriented.spacing) + 1e-3
    ends = zip(_box(oriented), box, strict=True)
    return all(bool((np.abs(end - expected) <= tolerance).all()) for end, expected in ends)


def _box(grid: Grid) -> _Box:
    """Lowest and highest voxel *edges* of a RAS grid, mm."""
    half = np.diag(grid.matrix[:3, :3]) / 2
    low = grid.matrix[:3, 3] - half
    return low, low + 2 * half * np.asarray(grid.shape)
