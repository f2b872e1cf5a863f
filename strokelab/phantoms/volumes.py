"""NIfTI files the way a release wrote them: number type, form codes, odd trailing axes. Knows no anatomy."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from strokelab.files import replacing
from strokelab.grid import Grid

_NIFTI: Any = nib.Nifti1Image  # nibabel is not typed
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
    image = _NIFTI(voxels[..., None] if trailing_axis else voxels, None)
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


def write_picture(path: Path, values: NDArray[Any]) -> None:
    """Write a slice (X, Y) as a small grey PNG, first axis to the right, second upwards."""
    low, high = float(values.min()), float(np.percentile(values, 99.5))
    grey = np.clip((values - low) / max(high - low, 1e-9) * 255, 0, 255).astype(np.uint8).T[::-1]
    rows = b"".join(b"\x00" + row.tobytes() for row in grey)
    header = struct.pack(">IIBBBBB", grey.shape[1], grey.shape[0], 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in chunks:
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(kind + content)))
