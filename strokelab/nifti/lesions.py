"""Lesion masks out of files, by the rule for datasets. Knows what the values of a mask may be; knows no headers."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, turned
from strokelab.lesions import label_volumes
from strokelab.nifti.endings import beside, python_command, text
from strokelab.nifti.voxels import read_voxels

ANY_LABEL = tuple(range(256))
"""``LesionFile.allowed`` of a file that may hold any label value."""

ROUNDING = 0.01
"""Share of its maximum by which interpolation may take a smooth mask below 0."""

LARGEST_LESION_ML = 1000.0
"""Twice the largest lesions of ATLAS v2.0 and ISLES 2022 (about 500 and 482 ml), and two thirds of a brain (1,450 ml).

A mask of the brain, an inverted one, or one of everything but the lesion inside the brain is larger.
"""


@dataclass(frozen=True)
class LesionFile:
    """One mask of a case and the rule by which its voxels become 0/1 (``nifti.read_lesion``)."""

    path: Path
    values: tuple[int, ...] | None = None  # label values that mean lesion; None: above a share of the maximum
    allowed: tuple[int, ...] = (0, 1, 2)  # label values the file may hold when it is read by value
    above: float = 0.5  # share of the file's maximum; 0 reproduces loaders that take everything non-zero


def read_lesion(files: Sequence[LesionFile], expected: Grid, image: Path) -> NDArray[np.uint8]:
    """``read_union`` of a case's lesion files, held against what a brain can lose.

    Raises:
        DataError: as ``read_union`` and ``check_lesion_volume``.
    """
    lesion = read_union(files, expected, image)
    check_lesion_volume(lesion, expected, image, files)
    return lesion


def read_union(files: Sequence[LesionFile], expected: Grid, image: Path) -> NDArray[np.uint8]:
    """The union of a case's mask files as 0/1 (X, Y, Z) on the grid of the image they belong to.

    A voxel is lesion when it exceeds half of its file's maximum (0/1, 0/255 and smoothed masks then agree; a file
    whose maximum is 0 is an empty mask); a file with ``values`` is read by these label values instead. A mask whose
    axes are those of the image in another order or direction is turned onto it, exactly.

    Raises:
        DataError: a mask lies on another grid than ``image``, holds negative values, or several labels without
            ``values``; or a label file holds values that were not asked for.
    """
    union = np.zeros(expected.shape, dtype=np.uint8)
    for file in files:
        voxels, grid = read_voxels(file.path)
        union |= onto(binarize(voxels, file, grid.voxel_volume_mm3), grid, expected, file=file.path, image=image)
    return union


def onto(mask: NDArray[Any], grid: Grid, expected: Grid, *, file: str | Path, image: str | Path) -> NDArray[Any]:
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
        DataError: negative values below rounding, several labels without ``values``, or values that are not
            ``allowed``.
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
        if strange and file.allowed != ANY_LABEL:
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
    if between or lowest < 0:
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


def _as_bytes(path: Path) -> str:
    """A line for the shell that writes a mask anew beside it, as 0 and 1."""
    load = f'i = nib.load({text(path)}); m = (np.asarray(i.dataobj) != 0).astype("uint8")'
    save = f"nib.save(nib.Nifti1Image(m, i.affine), {beside(path, 'uint8')})"
    return python_command(f"import nibabel as nib, numpy as np; {load}; {save}")
