"""Headers without voxels, voxels as float32, masks, whole writes."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.files import replacing
from strokelab.grid import Grid

if TYPE_CHECKING:
    from strokelab.contract import LesionFile


def read_grid(path: Path) -> Grid:
    """Shape and affine from the header alone; a trailing axis of length 1 is dropped.

    Raises:
        DataError: the file is missing, is no NIfTI, or is not three-dimensional.
    """
    return _grid(path, _open(path))


def read_voxels(path: Path) -> tuple[NDArray[np.float32], Grid]:
    """The volume (X, Y, Z) as float32 with its grid; NaN and Inf become 0 with a warning that counts them.

    Raises:
        DataError: as ``read_grid``, and when the voxels cannot be read (truncated or damaged file) or are no real
            numbers (complex, colours).
    """
    image = _open(path)
    grid = _grid(path, image)
    if image.get_data_dtype().kind not in "iuf":
        raise DataError(
            path,
            found=f"voxels of type {image.header.get_value_label('datatype')}",
            expected="whole or real numbers",
            remedy="save the magnitude, or one channel, as its own file",
        )
    try:
        voxels = np.asanyarray(image.dataobj, dtype=np.float32).reshape(grid.shape)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            path,
            found=f"voxels that cannot be read ({type(error).__name__}: {error})",
            expected="a whole NIfTI file",
            remedy="the file is truncated or damaged: copy or download it again",
        ) from error
    finite = np.isfinite(voxels)
    if not finite.all():
        count = int(voxels.size - np.count_nonzero(finite))
        warnings.warn(f"{path}: {count} voxels are NaN or Inf and were set to 0", DataWarning, stacklevel=2)
        voxels = np.where(finite, voxels, np.float32(0))
    return voxels, grid


def read_lesion(files: Sequence[LesionFile], expected: Grid, image: Path) -> NDArray[np.uint8]:
    """The union of a case's lesion files as 0/1 (X, Y, Z) on the grid of the image they were drawn on.

    A voxel is lesion when it exceeds half of its file's maximum (0/1, 0/255 and smoothed masks then agree; a file
    whose maximum is 0 is an empty mask); a file with ``values`` is read by these label values instead.

    Raises:
        DataError: a mask lies on another grid than ``image``, or a label file holds values nobody asked for.
    """
    union = np.zeros(expected.shape, dtype=np.uint8)
    for file in files:
        voxels, grid = read_voxels(file.path)
        if not grid.matches(expected):
            raise DataError(
                file.path,
                found=grid.describe(),
                expected=f"the grid of {image}: {expected.describe()}",
                remedy="resample the mask onto its image, or leave the case out with data.exclude",
            )
        union |= binarize(voxels, file)
    return union


def binarize(voxels: NDArray[np.float32], file: LesionFile) -> NDArray[np.uint8]:
    """One lesion file's voxels (X, Y, Z) as 0/1 by the rule of ``read_lesion``."""
    maximum = float(voxels.max(initial=0.0))
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
    if between or voxels.min() < 0:
        warnings.warn(
            f"{file.path}: values other than 0 and {maximum:g}; voxels above {file.above * maximum:g} count as lesion",
            DataWarning,
            stacklevel=3,
        )
    return (voxels > file.above * maximum).astype(np.uint8)


def write_volume(path: Path, voxels: NDArray[Any], grid: Grid) -> Path:
    """Write (X, Y, Z) as ``.nii`` or ``.nii.gz``, whole or not at all, with the grid's affine in sform and qform.

    Raises:
        DataError: the folder cannot be written to.
        ValueError: the voxels do not have the grid's shape.
    """
    if voxels.shape != grid.shape:
        raise ValueError(f"voxels of shape {voxels.shape} on a grid of shape {grid.shape}")
    kind = np.dtype(np.uint8) if voxels.dtype == bool else voxels.dtype
    image = nib.Nifti1Image(voxels.astype(kind, copy=False), grid.matrix)
    image.set_data_dtype(kind)
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


def _open(path: Path) -> Any:
    if not path.is_file():
        raise DataError(path, found="no such file", expected="a NIfTI file", remedy="check the path and the dataset")
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise nib.filebasedimages.ImageFileError(f"a {type(image).__name__}")
        return image
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(
            path,
            found=f"not readable as NIfTI ({type(error).__name__}: {error})",
            expected="a whole NIfTI-1 or NIfTI-2 file",
            remedy="the file is truncated, damaged or of another kind: copy or download it again",
        ) from error


def _grid(path: Path, image: Any) -> Grid:
    shape = tuple(int(n) for n in image.shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) != 3 or min(shape, default=0) < 1:
        raise DataError(
            path,
            found=f"{len(shape)} dimensions {shape}",
            expected="three dimensions (X, Y, Z), or a fourth of length 1",
            remedy="split the series into volumes and name the one that is meant",
        )
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise DataError(
            path,
            found="an affine that is singular or not finite",
            expected="an invertible voxel-to-world matrix",
            remedy="repair the sform or qform of the header",
        )
    return Grid.of(shape, affine)
