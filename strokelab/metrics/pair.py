"""Two masks on one grid, ready to be compared. Knows files and grids; knows no metric.

Everything a metric needs lies in the smallest box around both masks; of the rest of the grid only its size counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, resample, turned
from strokelab.metrics.masks import read_mask
from strokelab.metrics.nearest import Spacing
from strokelab.metrics.overlap import Mask

_Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Pair:
    """A prediction and its reference, cropped to the box that holds both."""

    prediction: Mask  # (x, y, z), C order; may share memory with the caller's array: read only
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
    threshold: float | None = None,
    labels: Sequence[int] | None = None,
    reference_labels: Sequence[int] | None = None,
    without_spacing: bool = False,
    cubes_mm: float | None = None,
) -> Pair:
    """Bring two masks of any form onto one grid.

    Args:
        prediction: mask (X, Y, Z): array or tensor of any dtype, path of a NIfTI file, or an image of nibabel; 0 and
            one other value.
        reference: the same, independently of the form of the prediction.
        spacing_mm: voxel spacing in mm along X, Y, Z, or one number for all; None takes that of the reference's file
            or image, else of the prediction's; another one than that is taken with a warning.
        voxel_volume_mm3: volume of a voxel; default: the reference file's, else the product of the spacing.
        strict_grid: refuse files on different grids instead of resampling the prediction (nearest neighbour).
        threshold: either map may hold probabilities, of which at least this is lesion.
        labels: either map may hold labels, of which these are lesion.
        reference_labels: the reference's own, where they differ from the prediction's; (1,) for a 0/1 mask.
        without_spacing: where there is no spacing at all, go on with NaN and a warning.
        cubes_mm: side of the voxels that both are brought to, each taking the value of the voxel its centre lies in;
            the edges of the volume keep their place. None: as they are.

    Raises:
        DataError: a file cannot be read, a map is no mask (``masks.binary_mask``), shapes or grids differ, the spacing
            is not positive.
        ConfigError: threshold and labels contradict each other.
    """
    predicted, its_grid = read_mask(prediction, "prediction", threshold=threshold, labels=labels)
    rule = {"labels": reference_labels} if reference_labels is not None else {"labels": labels, "threshold": threshold}
    true, grid = read_mask(reference, "reference", **rule)
    if its_grid is not None and grid is not None and not its_grid.matches(grid):
        predicted = _onto(predicted, its_grid, grid, where=prediction, strict=strict_grid)
    if predicted.shape != true.shape:
        raise DataError(
            "prediction",
            found=f"shape {predicted.shape}",
            expected=f"the reference's shape {true.shape}",
            remedy="bring the prediction onto the reference's grid, or give both as NIfTI files",
        )
    grid = grid or its_grid  # of an array beside a file, the shape is all that can be compared
    if spacing_mm is None and grid is None and without_spacing:
        warnings.warn("score_case: arrays without spacing_mm: distances and volumes are NaN", DataWarning, stacklevel=3)
        spacing: Spacing = (float("nan"),) * 3
    else:
        spacing = _spacing(spacing_mm, grid)
    if cubes_mm is not None and not np.isnan(spacing[0]) and not _same(spacing, (cubes_mm,) * 3):
        predicted, true = (_in_cubes(mask, spacing, cubes_mm) for mask in (predicted, true))
        spacing, voxel_volume_mm3, grid = (cubes_mm,) * 3, cubes_mm**3, None
    box = common_box(predicted, true) or (slice(0, 0),) * 3
    x, y, z = true.shape
    if voxel_volume_mm3 is None:
        of_file = grid is not None and _same(grid.spacing, spacing)
        voxel_volume_mm3 = grid.voxel_volume_mm3 if grid and of_file else float(np.prod(spacing))
    return Pair(
        np.ascontiguousarray(predicted[box]),
        np.ascontiguousarray(true[box]),
        shape=(x, y, z),
        spacing_mm=spacing,
        voxel_mm3=voxel_volume_mm3,
    )


def _in_cubes(mask: Mask, spacing: Spacing, side: float) -> Mask:
    """A mask (X, Y, Z) at the centres of cubes over the same field of view, nearest neighbour."""
    places = []
    for size, own in zip(mask.shape, spacing, strict=True):
        centres = (np.arange(max(1, round(size * own / side))) + 0.5) * side / own - 0.5
        places.append(np.clip(np.rint(centres).astype(np.intp), 0, size - 1))
    return np.asarray(mask[np.ix_(*places)])


def common_box(one: Mask, other: Mask) -> _Box | None:
    """The smallest box that holds every voxel of both masks (X, Y, Z); None when both are empty."""
    boxes = [box for box in (_box(one), _box(other)) if box is not None]
    if not boxes:
        return None
    x, y, z = (
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in zip(*boxes, strict=True)
    )
    return x, y, z


def _box(mask: Mask) -> _Box | None:
    box = [slice(None)] * 3
    # The slowest axis first and cropped at once, so that only the first pass touches the whole grid, in its own order.
    for axis in sorted(range(3), key=lambda axis: -abs(mask.strides[axis])):
        held = np.flatnonzero(mask[tuple(box)].any(axis=tuple(a for a in range(3) if a != axis)))
        if len(held) == 0:
            return None
        box[axis] = slice(int(held[0]), int(held[-1]) + 1)
    return box[0], box[1], box[2]


def _onto(mask: Mask, source: Grid, target: Grid, *, where: Any, strict: bool) -> Mask:
    exact = turned(mask, source, target)
    if exact is not None:
        return exact
    apart = not source.overlaps(target)
    if strict or apart:
        raise DataError(
            str(where),
            found=source.describe() if apart else source.difference(target),
            expected=f"{'a volume that overlaps ' if apart else ''}the reference's grid: {target.describe()}",
            remedy="copy the affine of the image that was segmented: the header is probably wrong"
            if apart
            else "resample the prediction, or leave strict_grid off",
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
    if grid is not None and not _same(grid.spacing, (x, y, z)):
        own = " x ".join(f"{length:.4g}" for length in grid.spacing)
        warnings.warn(
            f"reference: scored with a spacing of {x:g} x {y:g} x {z:g} mm as given, the file says {own} mm",
            DataWarning,
            stacklevel=4,
        )
    return x, y, z


def _same(one: Spacing, other: Spacing) -> bool:
    return bool(np.allclose(one, other, rtol=1e-3, atol=0))
