"""Voxels out of files and into files: verified to the last byte, whole writes. Knows no masks."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.files import replacing
from strokelab.grid import Grid
from strokelab.nifti.forms import write_forms
from strokelab.nifti.header import Header, named_errors, read_header, unpacked, wrong_size

_BLOCK = 1 << 20


def read_grid(path: Path) -> Grid:
    """Shape and affine (mm) from the header alone, and its two forms; a trailing axis of length 1 is dropped.

    Warns of a unit that is not mm, of voxel sizes that no head scan has, and of two forms that differ.

    Raises:
        DataError: the file is missing, is no NIfTI or MGH, is damaged, or is not three-dimensional.
    """
    return read_header(path).grid


def read_voxels(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """The volume (X, Y, Z) as float32 with its grid; NaN and Inf become 0 with a warning that counts them.

    The file is read to its end: checksum and length of what is packed are verified, and there are as many bytes as
    the header says.

    Raises:
        DataError: as ``read_grid``, and when the voxels cannot be read (truncated or damaged file) or are no real
            numbers (complex, colours).
    """
    header = read_header(path)
    voxels = _numbers(path, header).reshape(header.grid.shape)
    finite = np.isfinite(voxels)
    if not finite.all():
        count = int(voxels.size - np.count_nonzero(finite))
        warnings.warn(f"{path}: {count} voxels are NaN or Inf and were set to 0", DataWarning, stacklevel=2)
        voxels = np.where(finite, voxels, np.float32(0))
    return voxels, header.grid


def count_channels(path: Path) -> tuple[int, Grid]:
    """How many channels a volume has, and its grid, from the header alone.

    Raises:
        DataError: as ``read_grid``, where a fourth axis is allowed.
    """
    header = read_header(path, channels=True)
    return int(np.prod(header.shape[3:], dtype=int)), header.grid


def read_channels(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """The channels (N, X, Y, Z) of a volume with a fourth axis, or with none (N = 1), as they are in the file.

    NaN and Inf stay: only the caller knows what they mean in maps.

    Raises:
        DataError: as ``read_voxels``, where a fourth axis is allowed.
    """
    header = read_header(path, channels=True)
    return np.moveaxis(_numbers(path, header).reshape((*header.grid.shape, -1)), -1, 0), header.grid


def _numbers(path: Path, header: Header) -> NDArray[np.float32]:
    """The voxels as float32, in the shape of the file, which is read to its end."""
    if header.dtype.kind not in "iuf":
        raise DataError(
            path,
            found=f"voxels of type {header.kind}",
            expected="whole or real numbers",
            remedy="save the magnitude, or one channel, as its own file",
        )
    with named_errors(path, "voxels that cannot be read"), unpacked(header.data) as stream:
        spec = (header.shape, header.dtype, header.offset, header.slope, header.intercept)
        with np.errstate(over="ignore", invalid="ignore"):  # what is not finite the caller counts
            voxels = np.asanyarray(ArrayProxy(stream, spec, mmap=False), dtype=np.float32)
        _to_the_end(path, stream, header)
    return voxels


def verify(path: Path) -> None:
    """Read a volume to its end without keeping a voxel: header, length and, where it is packed, checksum are sound.

    Raises:
        DataError: as ``read_voxels``, whatever the type of the voxels.
    """
    header = read_header(path)
    with named_errors(path, "bytes that cannot be read"), unpacked(header.data) as stream:
        there = 0
        while there < header.end and (block := stream.read(min(_BLOCK, header.end - there))):
            there += len(block)
        if there < header.end:
            raise wrong_size(path, f"{there} bytes", header.end)
        _to_the_end(path, stream, header)


def _to_the_end(path: Path, stream: IO[bytes], header: Header) -> None:
    """Read what follows the voxels: only then has gzip compared its checksum."""
    while block := stream.read(_BLOCK):
        if not header.footer:
            raise wrong_size(path, f"at least {header.end + len(block)} bytes", header.end)


def write_volume(path: Path, voxels: NDArray[Any], grid: Grid) -> Path:
    """Write (X, Y, Z) as ``.nii`` or ``.nii.gz``, whole or not at all, with the header forms of the grid's own file.

    Where the grid comes from no NIfTI file, its affine is sform (code 2) and qform (code 0).

    Raises:
        DataError: the folder cannot be written to.
        ValueError: the voxels do not have the grid's shape.
    """
    if voxels.shape != grid.shape:
        raise ValueError(f"voxels of shape {voxels.shape} on a grid of shape {grid.shape}")
    kind = np.dtype(np.uint8) if voxels.dtype == bool else voxels.dtype
    image = nib.Nifti1Image(voxels.astype(kind, copy=False), grid.matrix if grid.forms is None else None)
    image.set_data_dtype(kind)
    if grid.forms is not None:
        write_forms(image.header, grid.forms)
    image.header.set_xyzt_units("mm", "sec")
    try:
        with replacing(path) as temporary:
            nib.save(image, temporary)
    except OSError as error:
        raise DataError(
            path,
            found=f"{type(error).__name__}: {error.strerror or error}",
            expected="a file that can be written",
            remedy="choose another output folder, or free disk space and permissions",
        ) from error
    return path
