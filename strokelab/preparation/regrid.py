"""Images and masks through the steps of a preparation; knows voxels and grids, no files and no grey values' meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.grid import CropPad, Grid, Interpolation, Orient, Resample, Step, resample
from strokelab.preparation.brain import border

_SAME_MM = 1e-3  # narrower than ``Grid.matches``: an image a hundredth of a voxel away is interpolated, as ever


def image_onto(
    voxels: NDArray[np.float32], grid: Grid, steps: Sequence[Step], interpolation: Interpolation = "linear"
) -> NDArray[np.float32]:
    """An image (X, Y, Z) on ``grid`` brought to the end of the steps, float32.

    Exact where it lies on the steps' own grid and none resamples; else one interpolation through the affines, after
    smoothing where the target's voxels are larger.
    """
    target = steps[-1].target
    native = steps[0].source
    exact = grid.shape == native.shape and grid.apart_mm(native) <= _SAME_MM and not _resamples(steps)
    outside = np.float32(0) if exact and not _overhang(steps) else np.float32(np.median(border(voxels)))
    array: NDArray[np.float32] = voxels - outside if outside else voxels
    if exact:
        for step in steps:
            array = step.apply(array)
    else:
        orient = Orient(grid, target.orientation)
        array = orient.apply(array)
        # Smoothed as scikit-image's rescale does, lest fine detail turn into noise on coarser grids.
        ratios = np.asarray(target.spacing) / np.asarray(orient.target.spacing)
        sigmas = np.maximum(0, (ratios - 1) / 2)
        if sigmas.max() > 0.05:
            array = ndimage.gaussian_filter(array, sigmas, mode="nearest", truncate=3)
        array = resample(array, orient.target, target, interpolation)
    return array + outside if outside else array


def image_on(voxels: NDArray[np.float32], grid: Grid, target: Grid) -> NDArray[np.float32]:
    """An image (X, Y, Z) on ``grid`` at the voxel centres of ``target``, linearly; its own background outside."""
    outside = np.float32(np.median(border(voxels)))
    return np.asarray(resample(voxels - outside, grid, target, "linear") + outside, dtype=np.float32)


def mask_onto(mask: NDArray[Any], steps: Sequence[Step]) -> NDArray[np.bool_]:
    """A mask (X, Y, Z) brought to the end of the steps: exact, or linear and >= 0.5 where a step resamples."""
    array = np.asarray(mask, dtype=bool)
    if _resamples(steps):
        return np.asarray(resample(array.astype(np.float32), steps[0].source, steps[-1].target, "linear") >= 0.5)
    for step in steps:
        array = step.apply(array, "nearest")
    return array


def _resamples(steps: Sequence[Step]) -> bool:
    return any(isinstance(step, Resample) for step in steps)


def _overhang(steps: Sequence[Step]) -> bool:
    return any(
        begin < 0 or begin + length > size
        for step in steps
        if isinstance(step, CropPad)
        for begin, length, size in zip(step.start, step.shape, step.source.shape, strict=True)
    )
