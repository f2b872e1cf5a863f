"""What the header of a volume says, held against its file before a voxel is read. Knows headers; reads no voxels."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.freesurfer import mghformat
from numpy.typing import NDArray

from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.nifti.endings import foreign_format, is_volume, mend, partner, with_nibabel
from strokelab.nifti.forms import forms_of, in_millimetres, refuse_implausible, warn

_GZIP = b"\x1f\x8b"
_SIZES: dict[int, Any] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_LONGEST = 540
_MOST_PACKED = 1032  # deflate cannot pack more bytes into one
_MGH_OFFSET = 284
_UNREADABLE = (
    *(OSError, EOFError, ValueError, KeyError, TypeError, ArithmeticError, MemoryError, zlib.error),
    *(nib.spatialimages.HeaderDataError, nib.wrapstruct.WrapStructError, mghformat.MGHError),
)
"""What gzip, NumPy and nibabel raise over damaged files."""

COPY_AGAIN = "the file is truncated, damaged or of another kind: copy or download it again"


@dataclass(frozen=True)
class Header:
    """A sound header: how many voxels of what kind lie where in a file, and where they lie in the world."""

    data: Path  # the file that holds the voxels: the ``.img`` of a pair
    shape: tuple[int, ...]  # as in the file; trailing axes of 1 are in no grid
    dtype: np.dtype[Any]
    kind: str  # the number type in the format's own words
    offset: int
    slope: float
    intercept: float
    grid: Grid
    footer: bool  # the format allows something after the voxels

    @property
    def end(self) -> int:
        """Bytes up to the end of the last voxel, unpacked."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path, *, channels: bool = False) -> Header:
    """The header of a volume, checked by itself and against the size of the file.

    Args:
        path: the file.
        channels: whether a fourth (or, after a fourth of length 1, fifth) axis may hold several channels.

    Raises:
        DataError: the file is missing, of a kind that is not read, damaged, not three-dimensional, not invertible,
            or of another size than its header says.
    """
    head, data = _files(path)
    with named_errors(path, "not readable as a volume"):
        with unpacked(head) as stream:
            block = stream.read(_LONGEST)
        read = _mgh(path, data, block, channels) if block[:4] == b"\0\0\0\1" else None
        found = read or _nifti(path, head, data, block, channels)
    _hold_against_size(path, found)
    return found


@contextmanager
def unpacked(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked where it is gzip's, whatever its name; at its end the checksum is verified."""
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        if not packed:
            yield raw
            return
        with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
            yield cast("IO[bytes]", stream)


@contextmanager
def named_errors(path: Path, what: str) -> Iterator[None]:
    """Whatever the libraries raise over a damaged file, as an error that names it."""
    try:
        yield
    except _UNREADABLE as error:
        raise DataError(
            path,
            found=f"{what} ({type(error).__name__}: {error})",
            expected="a whole NIfTI-1, NIfTI-2 or MGH file",
            remedy=COPY_AGAIN,
        ) from error


def wrong_size(path: Path, there: str, needed: int) -> DataError:
    """The error of a file with more or fewer bytes than its header says."""
    return DataError(
        path,
        found=there,
        expected=f"{needed} bytes, as the header says",
        remedy="the file is truncated or damaged: copy or download it again; if other programs show it as it should "
        f"be, write it anew: {with_nibabel(path)}",
    )


def _files(path: Path) -> tuple[Path, Path]:
    """The file with the header and the one with the voxels."""
    if not path.is_file():
        raise DataError(path, found="no such file", expected="a NIfTI file", remedy="check the path and the dataset")
    foreign = foreign_format(path)
    if foreign is not None:
        raise DataError(
            path, found=f"a file of {foreign.name}", expected="NIfTI (.nii, .nii.gz) or MGH", remedy=foreign.remedy
        )
    other = partner(path)
    if other is None:
        return path, path
    if not other.is_file():
        raise DataError(
            path,
            found=f"one half of a pair: there is no {other.name} beside it",
            expected="header and voxels (.hdr and .img) in one folder",
            remedy="copy both files",
        )
    return (other, path) if is_volume(path) else (path, other)


def _nifti(path: Path, head: Path, data: Path, block: bytes, channels: bool) -> Header:
    size = next((n for n in _SIZES for order in ("<", ">") if block[:4] == np.array(n, f"{order}i4").tobytes()), None)
    if size is None or len(block) < size:
        raise ValueError(f"neither the first bytes of NIfTI nor of MGH: {block[:4].hex(' ') or 'an empty file'}")
    pair = head != data
    magic = block[344:347] if size == 348 else block[4:7]
    if magic not in ((b"ni1", b"ni2") if pair else (b"n+1", b"n+2")):
        raise _no_magic(path, magic)
    header = _SIZES[size](block[:size], check=True)
    raw = header.structarr
    dtype, offset = header.get_data_dtype(), float(raw["vox_offset"])
    if offset != int(offset) or int(offset) < (0 if pair else size + 4):
        raise ValueError(f"voxels that start at byte {offset:g}")
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if np.isinf(slope) or (slope and not np.isnan(slope) and not np.isfinite(intercept)):
        raise ValueError(f"a scaling by {slope:g} and {intercept:g}")
    slope, intercept = header.get_slope_inter()
    shape = _lengths(path, header.get_data_shape(), channels)
    matrix, factor = in_millimetres(path, header.get_best_affine(), int(raw["xyzt_units"]))
    grid = Grid.of(shape[:3], _invertible(path, matrix, two=raw["sform_code"] and raw["qform_code"]))
    grid = grid.with_forms(forms_of(path, header, grid, factor))
    refuse_implausible(path, grid, converted=factor != 1)
    return Header(
        data=data,
        shape=shape,
        dtype=dtype,
        kind=header.get_value_label("datatype"),
        offset=int(offset),
        slope=1.0 if slope is None else slope,
        intercept=0.0 if intercept is None else intercept,
        grid=grid,
        footer=False,
    )


def _mgh(path: Path, data: Path, block: bytes, channels: bool) -> Header:
    if len(block) < _MGH_OFFSET:
        raise EOFError("a header that is cut off")
    block = block[: mghformat.header_dtype.itemsize]
    header = mghformat.MGHHeader(block)
    if not int(np.frombuffer(block, mghformat.header_dtype)["goodRASFlag"][0]):
        warn(f"{path}: the header states no orientation; FreeSurfer's usual one (coronal slices of 1 mm) is taken")
    shape = _lengths(path, tuple(int(n) for n in header["dims"]), channels)
    grid = Grid.of(shape[:3], _invertible(path, header.get_affine()))
    refuse_implausible(path, grid, converted=None)
    dtype = header.get_data_dtype()
    return Header(data, shape, dtype, str(dtype), _MGH_OFFSET, 1.0, 0.0, grid, footer=True)


def _lengths(path: Path, lengths: tuple[Any, ...], channels: bool) -> tuple[int, ...]:
    shape = tuple(int(n) for n in lengths)
    inner = shape
    while len(inner) > 3 and inner[-1] == 1:
        inner = inner[:-1]
    if channels and len(inner) in (4, 5) and all(length == 1 for length in inner[3:-1]):
        inner = inner[:3]
    if len(inner) != 3 or min(shape, default=0) < 1:
        raise DataError(
            path,
            found=f"{len(inner)} dimensions {inner}",
            expected="three dimensions (X, Y, Z) of one voxel or more, or a fourth of length 1",
            remedy="split the series into volumes and name the one that is meant",
        )
    return shape


def _invertible(path: Path, affine: Any, *, two: bool = False) -> NDArray[np.float64]:
    matrix = np.asarray(affine, dtype=np.float64)
    # Singular by the matrix' own size, so that the unit does not count.
    lengths = np.sqrt((matrix[:3, :3] ** 2).sum(axis=0))
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) <= 1e-6 * np.prod(lengths):
        raise DataError(
            path,
            found="an affine that is singular or not finite",
            expected="an invertible voxel-to-world matrix",
            remedy="repair the sform or qform of the header"
            + (f"; where the qform is right: {mend(path, 'i.set_sform(None, 0)')}" if two else ""),
        )
    return matrix


def _no_magic(path: Path, magic: bytes) -> DataError:
    analyze = not magic.strip(b"\0")
    return DataError(
        path,
        found="an Analyze 7.5 header, which does not say where left is" if analyze else f"the kind {magic!r}",
        expected="NIfTI: 'n+1' or 'n+2' in a single file, 'ni1' or 'ni2' in a pair",
        remedy=f"convert it, then look whether left is left: {with_nibabel(path)}" if analyze else COPY_AGAIN,
    )


def _hold_against_size(path: Path, header: Header) -> None:
    """The size of the file, before anything is allocated for what its header says."""
    there = header.data.stat().st_size
    with header.data.open("rb") as file:
        packed = file.read(2) == _GZIP
    if packed and header.end > there * _MOST_PACKED + 1024:
        raise wrong_size(path, f"{there} packed bytes, which cannot hold so many", header.end)
    if not packed and (there < header.end or (there > header.end and not header.footer)):
        raise wrong_size(path, f"{there} bytes", header.end)
