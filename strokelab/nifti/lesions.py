"""Lesion masks out of files, by the rule for datasets. Knows what the values of a mask may be; knows no headers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, turned
from strokelab.nifti.endings import beside, python_command, text
from strokelab.nifti.voxels import read_voxels

if TYPE_CHECKING:
    from strokelab.contract import LesionFile


ROUNDING = 0.01
"""Share of its maximum by which interpolation may take a smooth mask below 0."""


def read_lesion(files: Sequence[LesionFile], expected: Grid, image: Path) -> NDArray[np.uint8]:
    """The union of a case's lesion files as 0/1 (X, Y, Z) on the grid of the image they were drawn on.

    A voxel is lesion when it exceeds half of its file's maximum (0/1, 0/255 and smoothed masks then agree; a file
    whose maximum is 0 is an empty mask); a file with ``values`` is read by these label values instead. A mask whose
    axes are those of the image in another order or direction is turned onto it, exactly.

    Raises:
        DataError: a mask lies on another grid than ``image``, holds negative values, or a label file holds values that
            were not asked for.
    """
    union = np.zeros(expected.shape, dtype=np.uint8)
    for file in files:
        voxels, grid = read_voxels(file.path)
        union |= onto(binarize(voxels, file), grid, expected, file=file.path, image=image)
    return union


def onto(
    mask: NDArray[np.uint8], grid: Grid, expected: Grid, *, file: str | Path, image: str | Path
) -> NDArray[np.uint8]:
    """A mask (X, Y, Z) on the grid of its image: as it is, or turned where only the axes' order or direction differs.

    Args:
        mask: the mask.
        grid: on which it lies.
        expected: that of the image.
        file: the mask's, for messages.
        image: the image's, for messages.

    Raises:
        DataError: the voxels of the two grids lie at other places.
    """
    there = turned(mask, grid, expected)
    if there is None:
        raise DataError(
            file,
            found=grid.difference(expected),
            expected=f"the grid of {image}: {expected.describe()}",
            remedy="resample the mask onto its image, or leave the case out with data.exclude",
        )
    return there


def binarize(voxels: NDArray[np.float32], file: LesionFile) -> NDArray[np.uint8]:
    """One lesion file's voxels (X, Y, Z) as 0/1 by the rule of ``read_lesion``.

    Raises:
        DataError: negative values below rounding, or label values that were not asked for.
    """
    lowest, maximum = float(voxels.min(initial=0.0)), float(voxels.max(initial=0.0))
    if lowest < -ROUNDING * maximum:
        raise DataError(
            file.path,
            found=f"negative values down to {lowest:g} (the maximum is {maximum:g})",
            expected="a mask: 0 and one value above 0, or labels",
            remedy="255 saved as int8 becomes -1. Where all that is not 0 is lesion, save it as uint8: "
            + _as_bytes(Path(file.path)),
        )
    if file.values is not None:
        rounded = np.rint(voxels)
        strange = sorted(set(np.unique(rounded).astype(int).tolist()) - set(file.allowed))
        if strange:
            raise DataError(
                file.path,
                found=f"label values {strange[:8]}",
                expected=f"only {sorted(file.allowed)}",
                remedy="name the values that mean lesion in the dataset's options (data.options.values)",
            )
        return np.isin(rounded, file.values).astype(np.uint8)
    if maximum <= 0:
        return np.zeros(voxels.shape, dtype=np.uint8)
    between = np.count_nonzero((voxels > 0) & (voxels < maximum))
    if between or lowest < 0:
        warnings.warn(
            f"{file.path}: values other than 0 and {maximum:g}; voxels above {file.above * maximum:g} count as lesion",
            DataWarning,
            stacklevel=3,
        )
    return (voxels > file.above * maximum).astype(np.uint8)


def _as_bytes(path: Path) -> str:
    """A line for the shell that writes a mask anew beside it, as 0 and 1."""
    load = f'i = nib.load({text(path)}); m = (np.asarray(i.dataobj) != 0).astype("uint8")'
    save = f"nib.save(nib.Nifti1Image(m, i.affine), {beside(path, 'uint8')})"
    return python_command(f"import nibabel as nib, numpy as np; {load}; {save}")
