"""NIfTI files: headers without voxels, voxels as float32, whole writes, and the rules every reader obeys.

The rules (also for masks that are not 0/1) are those of ``docs/datasets.md``, section "Rules for every file".
"""

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
from strokelab.lesions import label_volumes

if TYPE_CHECKING:
    from strokelab.contract import LesionFile

SUFFIXES = (".nii", ".nii.gz")

_ANY = 256  # so many allowed label values mean any (contract.ANY_LABEL)

LARGEST_LESION_ML = 1000.0
"""Twice the largest lesions of ATLAS v2.0 and ISLES 2022 (about 500 and 482 ml), and two thirds of a brain (1,450 ml).

A mask of the brain, an inverted one, or one of everything but the lesion inside the brain is larger.
"""


def stem(path: Path) -> str:
    """The file name without ``.nii`` or ``.nii.gz``."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


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
    """``read_union`` of a case's lesion files, held against what a brain can lose.

    Raises:
        DataError: as ``read_union`` and ``check_lesion_volume``.
    """
    lesion = read_union(files, expected, image)
    check_lesion_volume(lesion, expected, image, files)
    return lesion


def read_union(files: Sequence[LesionFile], expected: Grid, image: Path) -> NDArray[np.uint8]:
    """The union of a case's mask files as 0/1 (X, Y, Z) on the grid of the image they were drawn on.

    A voxel is lesion when it exceeds half of its file's maximum (0/1, 0/255 and smoothed masks then agree; a file
    whose maximum is 0 is an empty mask); a file with ``values`` is read by these label values instead.

    Raises:
        DataError: a mask lies on another grid than ``image``; a label file holds values that were not asked for, or
            several without ``values``.
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
        union |= binarize(voxels, file, grid.voxel_volume_mm3)
    return union


def check_lesion_volume(lesion: NDArray[np.uint8], grid: Grid, image: Path, files: Sequence[LesionFile]) -> None:
    """Hold a case's lesion (X, Y, Z) against what a brain can lose.

    Raises:
        DataError: it is larger than ``LARGEST_LESION_ML``: usually an inverted mask, or one of the brain.
    """
    volume_ml = int(np.count_nonzero(lesion)) * grid.voxel_volume_mm3 / 1000
    if volume_ml > LARGEST_LESION_ML:
        raise DataError(
            files[0].path,
            found=f"a lesion of {volume_ml:,.0f} ml, {np.mean(lesion != 0):.0%} of the volume of {image}",
            expected=f"at most {LARGEST_LESION_ML:,.0f} ml: the largest published lesions have about 500 ml",
            remedy="an inverted mask? Or one of the brain? Correct it, or leave the case out with data.exclude",
        )


def binarize(voxels: NDArray[np.float32], file: LesionFile, voxel_mm3: float | None = None) -> NDArray[np.uint8]:
    """One lesion file's voxels (X, Y, Z) as 0/1 by the rule of ``read_union``.

    Args:
        voxels: of the file.
        file: the file and its rule.
        voxel_mm3: volume of a voxel, mm^3, for the message about labels; None: voxels are counted.

    Raises:
        DataError: several labels without ``values``, or values that are not ``allowed``.
    """
    maximum = float(voxels.max(initial=0.0))
    if file.values is not None:
        rounded = np.rint(voxels)
        strange = sorted(set(np.unique(rounded).astype(int).tolist()) - set(file.allowed))
        if strange and len(file.allowed) < _ANY:
            raise DataError(
                file.path,
                found=f"label values {strange[:8]}",
                expected=f"only {sorted(file.allowed)}",
                remedy="name the values that mean lesion in the dataset's options (data.options.values)",
            )
        mask = np.isin(rounded, file.values)
        if not mask.any() and rounded.any():
            there = ", ".join(map(str, np.unique(rounded[rounded != 0]).astype(int)[:8]))
            warnings.warn(
                f"{file.path}: holds the label values {there} but none of {list(file.values)}, so it has no lesion",
                DataWarning,
                stacklevel=3,
            )
        return mask.astype(np.uint8)
    if maximum <= 0:
        return np.zeros(voxels.shape, dtype=np.uint8)
    if labels := label_volumes(voxels):
        raise _several_labels(labels, file, voxel_mm3)
    between = np.count_nonzero((voxels > 0) & (voxels < maximum))
    if between or voxels.min() < 0:
        warnings.warn(
            f"{file.path}: values other than 0 and {maximum:g}; voxels above {file.above * maximum:g} count as lesion",
            DataWarning,
            stacklevel=3,
        )
    return (voxels > file.above * maximum).astype(np.uint8)


def _several_labels(labels: dict[int, int], file: LesionFile, voxel_mm3: float | None) -> DataError:
    told = [
        f"{value} ({count} voxels)" if voxel_mm3 is None else f"{value} ({count * voxel_mm3 / 1000:.4g} ml)"
        for value, count in labels.items()
    ]
    more = f" and {len(told) - 12} more" if len(told) > 12 else ""
    chosen = ",".join(map(str, list(labels)[:12]))
    return DataError(
        file.path,
        found=f"several labels: {', '.join(told[:12])}{more}",
        expected="a mask (0 and one other value), or the values that mean lesion",
        remedy=f"name those that mean lesion: data.options.values=[{chosen}] in train.py, --values {chosen} in "
        f"strokelab check, --reference-labels {chosen} in strokelab score; or save the file as a mask of 0 and 1",
    )


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
