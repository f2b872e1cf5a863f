"""NIfTI files the way a release wrote them: number type, form codes, odd trailing axes. Knows no anatomy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from strokelab.files import replacing
from strokelab.grid import Grid

# What macOS leaves beside a file on foreign disks: an AppleDouble header, no image whatever its name ends in.
_APPLE_DOUBLE = bytes.fromhex("00051607000200004d6163204f532058") + bytes(16) + b"\x00\x02" + bytes(48)


def write_nifti(
    path: Path,
    voxels: NDArray[Any],
    grid: Grid,
    *,
    sform: int = 2,
    qform: int = 1,
    trailing_axis: bool = False,
) -> None:
    """Write (X, Y, Z) as ``.nii`` or ``.nii.gz``; equal content gives equal bytes.

    Args:
        path: where; its folder is made.
        voxels: the values, written in their own number type.
        grid: where they lie.
        sform: code of the voxel-to-world matrix.
        qform: code of the quaternion form; 0 leaves it unset.
        trailing_axis: write (X, Y, Z, 1) instead.
    """
    image = nib.Nifti1Image(voxels[..., None] if trailing_axis else voxels, None)
    image.header.set_data_dtype(voxels.dtype)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(grid.matrix, code=sform)
    image.set_qform(grid.matrix if qform else None, code=qform)
    with replacing(path) as temporary:
        nib.save(image, temporary)


def write_mask(path: Path, mask: NDArray[np.bool_], grid: Grid, *, lesion_value: int = 1, **forms: Any) -> None:
    """Write a lesion mask (X, Y, Z) of 0 and ``lesion_value`` as bytes; ``forms`` as in ``write_nifti``."""
    write_nifti(path, mask.astype(np.uint8) * np.uint8(lesion_value), grid, **forms)


def write_apple_double(path: Path) -> None:
    """Write the ``._`` twin of a file."""
    with replacing(path.with_name(f"._{path.name}")) as temporary:
        temporary.write_bytes(_APPLE_DOUBLE)
