"""Grey values of a case's files, in one unit and normalized; knows files and brain masks, no steps."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid
from strokelab.nifti import read_voxels
from strokelab.preparation.adc import PERFUSION, adc_factor, clip_outliers
from strokelab.preparation.normalize import BRIGHTEST, Normalization, brightest, normalize, of_another_range

_NEGATIVE_SHARE = 0.01  # of the voxels; fewer are interpolation's


def physical_units(
    voxels: NDArray[np.float32], brain: NDArray[np.bool_], *, modality: str, path: Path, clip: bool = True
) -> None:
    """In place: the prepared grey values of a modality in one unit; perfusion maps without outliers, with ``clip``."""
    if modality.lower() == "adc":
        voxels *= np.float32(adc_factor(voxels, brain, str(path)))
    elif clip and modality.lower() in PERFUSION:
        clip_outliers(voxels, brain)


def normalized(voxels: NDArray[np.float32], region: NDArray[np.bool_], *, path: Path, how: str) -> None:
    """In place: one channel normalized over a region; warns where a rule for 0..255 gets other grey values."""
    if how in ("scale255", "max255"):
        _say_range(voxels, path, how)
    normalize(voxels, region, cast(Normalization, how), out=voxels)
    if how != "none" and not voxels.any():
        raise DataError(
            path,
            found="an image without contrast inside the brain",
            expected="grey values that differ",
            remedy="check image and brain mask, or leave the case out with data.exclude",
        )


def _say_range(voxels: NDArray[np.float32], path: Path, how: str) -> None:
    if (below := float(np.mean(voxels < 0))) > _NEGATIVE_SHARE:
        found = f"{path}: {100 * below:.1f} % of the grey values below 0, where 0 to {BRIGHTEST:g} are expected"
        warnings.warn(f"{found}; division leaves them there", DataWarning, stacklevel=3)
    if not of_another_range(voxels):
        return
    found = f"{path}: grey values up to {float(voxels.max()):g}, where 0 to {BRIGHTEST:g} are expected"
    if how == "max255":
        rule = f"divided by {brightest(voxels):g}, their robust maximum"
    else:
        rule = f"divided by {BRIGHTEST:g} all the same; view.preparation.normalize=max255 takes their robust maximum"
    warnings.warn(f"{found}; {rule}", DataWarning, stacklevel=3)


def read_image(path: Path, *, flat: bool = False) -> tuple[NDArray[np.float32], Grid]:
    """The voxels (X, Y, Z) of an image that shows something, and its grid.

    Args:
        path: of the file.
        flat: it may show nothing, as a mask that another model left and that is used as it is.

    Raises:
        DataError: as ``nifti.read_voxels``, and when all voxels are the same.
    """
    voxels, grid = read_voxels(path)
    low, high = float(voxels.min()), float(voxels.max())
    if low == high and not flat:
        raise DataError(
            path,
            found=f"a constant image: every voxel is {low:g}",
            expected="grey values that differ",
            remedy="the file is empty or damaged: copy it again, or leave the case out with data.exclude",
        )
    return voxels, grid
