"""Two masks on one grid, from arrays, tensors or files, ready to be compared. Knows no metric.

Everything a metric needs lies in the smallest box around both masks; of the rest of the grid only its size counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import LesionFile
from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, resample
from strokelab.metrics.overlap import Mask
from strokelab.metrics.surface import Spacing
from strokelab.nifti import binarize, read_voxels


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference, cropped to the box that holds both."""

    prediction: Mask  # (x, y, z), may share memory with the caller's array: read only
    reference: Mask
    shape: tuple[int, int, int]  # of the whole grid
    spacing_mm: Spacing
    voxel_mm3: float

    @property
    def diagonal_mm(self) -> float:
        """Length of the whole grid's diagonal, mm."""
        return float(np.linalg.norm(np.multiply(self.shape, self.spacing_mm)))


def read_pair(
    prediction: Any,
    reference: Any,
    spacing_mm: float | Sequence[float] | None,
    *,
    voxel_volume_mm3: float | None = None,
    strict_grid: bool = False,
) -> Pair:
    """Bring two masks of any form onto one grid.

    Args:
        prediction: mask (X, Y, Z): array or tensor of any dtype, or path of a NIfTI file. Non-zero is lesion; when
            there are several non-zero values, what exceeds half of the largest is (with a warning).
        reference: the same, independently of the form of the prediction.
        spacing_mm: voxel spacing in mm along X, Y, Z, or one number for all; None takes the reference file's.
        voxel_volume_mm3: volume of a voxel; default: the reference file's, else the product of the spacing.
        strict_grid: refuse files on different grids instead of resampling the prediction (nearest neighbour).

    Raises:
        DataError: a file cannot be read, shapes or grids differ, a value is not finite, the spacing is not positive.
    """
    predicted, its_grid = _mask(prediction, "prediction")
    true, grid = _mask(reference, "reference")
    if its_grid is not None and grid is not None and not its_grid.matches(grid):
        predicted = _onto(predicted, its_grid, grid, where=prediction, strict=strict_grid)
    if predicted.shape != true.shape:
        raise DataError(
            "prediction",
            found=f"shape {predicted.shape}",
            expected=f"the reference's shape {true.shape}",
            remedy="bring the prediction onto the reference's grid, or give both as NIfTI files",
        )
    spacing = _spacing(spacing_mm, grid)
    box = common_box(predicted, true) or (slice(0, 0),) * 3
    x, y, z = true.shape
    volume = grid.voxel_volume_mm3 if grid is not None else float(np.prod(spacing))
    volume = volume if voxel_volume_mm3 is None else voxel_volume_mm3
    return Pair(predicted[box], true[box], (x, y, z), spacing, volume)


def common_box(one: Mask, other: Mask) -> tuple[slice, slice, slice] | None:
    """The smallest box that holds every voxel of both masks (X, Y, Z); None when both are empty."""
    union = one | other
    box: list[slice] = []
    for axis in range(3):
        # Earlier axes are cropped already, so that only the first pass touches the whole grid.
        held = np.flatnonzero(union.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(held) == 0:
            return None
        box.append(slice(int(held[0]), int(held[-1]) + 1))
        union = union[(slice(None),) * axis + (box[-1],)]
    return box[0], box[1], box[2]


def _mask(source: Any, name: str) -> tuple[Mask, Grid | None]:
    """A boolean mask (X, Y, Z) and, for a file, its grid."""
    if isinstance(source, str | Path):
        path = Path(source)
        voxels, grid = read_voxels(path)
        return binarize(voxels, LesionFile(path)).astype(bool), grid
    if hasattr(source, "detach"):  # a tensor, without importing torch for it
        source = source.detach().cpu()
        source = (source.float() if str(source.dtype) == "torch.bfloat16" else source).numpy()
    array = np.asarray(source)
    while array.ndim > 3 and array.shape[0] == 1:  # (1, X, Y, Z), (1, 1, X, Y, Z)
        array = array[0]
    if array.ndim != 3:
        raise DataError(
            name,
            found=f"{array.ndim} dimensions, shape {array.shape}",
            expected="a mask (X, Y, Z)",
            remedy="score one volume at a time; give a slice as (X, Y, 1)",
        )
    return array if array.dtype == bool else _nonzero(array, name), None


def _nonzero(array: NDArray[Any], name: str) -> Mask:
    largest = array.max(initial=0)
    if not (np.isfinite(largest) and np.isfinite(array.min(initial=0))):
        raise DataError(name, found="NaN or Inf", expected="a binary mask", remedy="replace them by 0 or 1 first")
    mask: Mask = array == largest if largest > 0 else np.zeros(array.shape, dtype=bool)
    if np.count_nonzero(mask) != np.count_nonzero(array):
        mask = binarize(array.astype(np.float32), LesionFile(Path(name))).astype(bool)
    return mask


def _onto(mask: Mask, source: Grid, target: Grid, *, where: Any, strict: bool) -> Mask:
    if strict:
        raise DataError(
            str(where),
            found=source.describe(),
            expected=f"the reference's grid: {target.describe()}",
            remedy="resample the prediction, or leave strict_grid off",
        )
    warnings.warn(f"{where}: brought to the reference's grid by nearest neighbour", DataWarning, stacklevel=4)
    return resample(mask, source, target, "nearest")


def _spacing(spacing_mm: float | Sequence[float] | None, grid: Grid | None) -> Spacing:
    if spacing_mm is None and grid is not None:
        return grid.spacing
    try:
        x, y, z = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), 3).tolist()
    except (TypeError, ValueError):
        x = y = z = float("nan")
    if not all(0 < s < float("inf") for s in (x, y, z)):
        raise DataError(
            "spacing_mm",
            found=repr(spacing_mm),
            expected="three positive lengths in mm, along X, Y, Z",
            remedy="take them from the reference's header, e.g. strokelab.nifti.read_grid(path).spacing",
        )
    return x, y, z
