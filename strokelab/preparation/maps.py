"""Further maps of a case, such as tissue fractions or labels, on the model's grid; knows files and grids, no images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, MapFiles, MapLayout, Registered
from strokelab.errors import DataError
from strokelab.grid import Orient, Step, resample
from strokelab.nifti import read_voxels
from strokelab.placement import share_covered

_ROUNDING = 0.01  # fractions come from registrations and 8-bit files


def maps_onto(
    case: Case, names: Sequence[str], steps: Sequence[Step], registered: Registered | None = None
) -> dict[str, NDArray[Any]]:
    """The maps of a case that it has among ``names``, each (C, X, Y, Z) on the grid that the steps end in.

    Fractions are interpolated linearly, masks likewise and cut at one half, labels take their nearest voxel; beyond
    their file everything is 0. They may lie on any grid of the case's space, and go where it was ``registered`` to.

    Raises:
        DataError: a file cannot be read or lies elsewhere, fractions lie outside 0..1 or sum to more than 1, or a label
            does not fit into a byte.
    """
    return {name: _onto(case.maps[name], steps, registered) for name in names if name in case.maps}


def layouts_of(case: Case, names: Sequence[str]) -> dict[str, MapLayout]:
    """The layouts of the maps that ``maps_onto`` gives."""
    return {name: case.maps[name].layout for name in names if name in case.maps}


def _onto(files: MapFiles, steps: Sequence[Step], registered: Registered | None) -> NDArray[Any]:
    layout, target = files.layout, steps[-1].target
    out = np.empty((layout.length, *target.shape[::-1]), dtype=layout.dtype).transpose(0, 3, 2, 1)
    for channel, path in zip(out, files.files, strict=True):
        voxels, grid = read_voxels(path)
        _check_values(path, voxels, layout)
        grid = grid if registered is None else registered.carried(grid)
        if share_covered(steps[0].source, grid) == 0:
            raise _wrong(path, f"nothing of the case's volume: {grid.describe()}", "a map in the space of the case")
        orient = Orient(grid, target.orientation)
        array = orient.apply(voxels, "nearest")
        same = orient.target.matches(target)
        moved = array if same else resample(array, orient.target, target, "nearest" if layout.is_label else "linear")
        channel[...] = moved >= 0.5 if layout.kind == "mask" else moved
    if layout.kind == "fraction" and float(out.sum(axis=0).max()) > 1 + _ROUNDING:
        raise _wrong(files.files[0], f"fractions that sum to {float(out.sum(axis=0).max()):.3g}", "to 1 at most")
    out.flags.writeable = False
    return out


def _check_values(path: Path, voxels: NDArray[np.float32], layout: MapLayout) -> None:
    low, high = float(voxels.min()), float(voxels.max())
    if layout.is_label:
        if low < 0 or high > 255 or (voxels != np.rint(voxels)).any():
            raise _wrong(path, f"values from {low:g} to {high:g}", "labels: whole numbers from 0 to 255")
    elif low < -_ROUNDING or high > 1 + _ROUNDING:
        raise _wrong(path, f"values from {low:g} to {high:g}", f"a {layout.kind}: values from 0 to 1")


def _wrong(path: Path, found: str, expected: str) -> DataError:
    return DataError(path, found=found, expected=expected, remedy="write the file anew, or leave the map out")
