"""Images and masks through the steps of a preparation; knows voxels and grids, no files and no grey values' meaning."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.contract import Case, Registered
from strokelab.errors import DataWarning
from strokelab.grid import CropPad, Grid, Interpolation, Orient, Resample, Step, places_in, resample
from strokelab.preparation.brain import border

_CUT_BRAIN = 0.01  # share of the brain outside the crop that is said; edges of rough masks are less
_CUT_HEAD = 0.03  # share of the template's brain outside the scan that is said; its lowest slices are less
DOUBTFUL = 0.85
"""Overlap (Dice) of a registered brain with the template's below which a registration is warned of."""
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


def say_cut_brain(native_brain: NDArray[np.bool_], steps: Sequence[Step], case: Case) -> None:
    """Warn of brain that the model cannot see, labelled or not."""
    native, target = steps[0].source, steps[-1].target
    if len(steps) == 1 or native.inside(target):
        return
    places = places_in(native_brain, native, target)
    share = float(((places < -0.5) | (places > np.asarray(target.shape) - 0.5)).any(axis=1).mean())
    if share > _CUT_BRAIN:
        _warn(case, f"{share:.1%} of the brain lies outside the crop and is not looked at")


def say_doubts(registered: Registered, case: Case) -> None:
    """Warn of a registration with little overlap of the brains, and of brain that the scan does not show."""
    if registered.overlap < DOUBTFUL:
        numbers = f"brain overlap (Dice) {registered.overlap:.2f}, where good ones reach 0.9"
        _warn(case, f"its registration is doubtful: {numbers}; look at its picture, or give it a brain mask")
    if registered.outside is not None and registered.outside > _CUT_HEAD:
        share = f"{registered.outside:.0%} of the brain lies outside the field of view of the scan"
        _warn(case, f"{share} (by its registration), and nothing is found there")


def lesion_onto(annotated: NDArray[np.uint8], steps: Sequence[Step], case: Case) -> NDArray[np.uint8]:
    """A lesion mask (X, Y, Z) brought to the end of the steps, by the rules of ``recipe.prepare``."""
    native, target = steps[0].source, steps[-1].target
    places = places_in(annotated, native, target)
    if len(places) == 0:
        return np.zeros(target.shape, dtype=np.uint8)
    cut = int(((places < -0.5) | (places > np.asarray(target.shape) - 0.5)).any(axis=1).sum())
    if cut:
        _warn(case, f"{cut} of {len(places)} lesion voxels lie outside the crop and are lost to the model")
    lesion = mask_onto(annotated, steps)
    if not lesion.any() and cut < len(places):
        lesion = resample(annotated, native, target, "nearest") > 0
        rule = "the nearest voxels are taken instead" if lesion.any() else "the prepared mask is empty"
        _warn(case, f"a lesion of {len(places)} voxels is too small for the prepared grid; {rule}")
    return lesion.astype(np.uint8)


def _resamples(steps: Sequence[Step]) -> bool:
    return any(isinstance(step, Resample) for step in steps)


def _overhang(steps: Sequence[Step]) -> bool:
    return any(
        begin < 0 or begin + length > size
        for step in steps
        if isinstance(step, CropPad)
        for begin, length, size in zip(step.start, step.shape, step.source.shape, strict=True)
    )


def _warn(case: Case, message: str) -> None:
    warnings.warn(f"case {case.case_id}: {message}", DataWarning, stacklevel=2)
