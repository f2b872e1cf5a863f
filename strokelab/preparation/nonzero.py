"""Where images are not zero: the region, the box around it, and that box remembered per case in the store.

Knows voxels, grids and files; knows no brain and no settings of a preparation.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.contract import Case
from strokelab.files import digest, write_json
from strokelab.grid import Grid, Orient, resample
from strokelab.nifti import read_grid, read_voxels
from strokelab.preparation.digests import FileDigests

Image = tuple[NDArray[np.float32], Grid]
_BOX_VERSION = 1
"""Raise it whenever the same files would give another box."""


@dataclass(frozen=True)
class Box:
    """A box of voxels: its lowest corner and its size along the array's axes."""

    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    def along(self, orient: Orient) -> Box:
        """The same box in the axes that ``orient`` leads to."""
        corners = np.array([self.start, np.add(self.start, self.shape) - 1])
        to_target = np.linalg.inv(orient.target.matrix) @ orient.source.matrix
        moved = np.rint(corners @ to_target[:3, :3].T + to_target[:3, 3]).astype(int)
        low, high = moved.min(axis=0), moved.max(axis=0)
        return Box(_triple(low), _triple(high - low + 1))


def nonzero_region(images: Sequence[Image], grid: Grid) -> NDArray[np.bool_]:
    """Voxels (X, Y, Z) of ``grid`` at which any image is not zero, and holes inside them (as nnU-Net has it).

    An image on another grid counts where the voxel nearest in space is not zero.
    """
    return np.asarray(ndimage.binary_fill_holes(_not_zero(images, grid)))


def nonzero_box(images: Sequence[Image], grid: Grid) -> Box:
    """The smallest box of ``grid`` with all voxels at which any image is not zero; holes do not change it."""
    anywhere = _not_zero(images, grid)
    starts, stops = [], []
    for axis in range(3):
        seen = np.flatnonzero(anywhere.any(axis=tuple(other for other in range(3) if other != axis)))
        starts.append(int(seen[0]) if len(seen) else 0)  # constant images are refused elsewhere
        stops.append(int(seen[-1]) + 1 if len(seen) else grid.shape[axis])
    return Box(_triple(starts), _triple(np.subtract(stops, starts)))


def remembered_box(case: Case, modalities: Sequence[str], store: Path) -> Box:
    """``nonzero_box`` of a case's images on its own grid, read from the store where it is known for these files.

    Raises:
        DataError: a file is missing or unreadable.
        OSError: the store cannot be written to.
    """
    of = FileDigests(store / "digests").of
    paths = [case.images[name] for name in modalities]
    content = {"version": _BOX_VERSION, "images": [of(path) for path in paths], "grid": of(case.reference_image)}
    key = digest(content)
    note = store / "boxes" / key[:2] / f"{key}.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        return Box(_triple(known["start"]), _triple(known["shape"]))
    except (OSError, ValueError, KeyError, TypeError):
        box = nonzero_box([read_voxels(path) for path in paths], read_grid(case.reference_image))
    write_json(note, {"start": list(box.start), "shape": list(box.shape)})
    return box


def _not_zero(images: Sequence[Image], grid: Grid) -> NDArray[np.bool_]:
    anywhere = np.zeros(grid.shape, dtype=bool, order="F")
    for voxels, own in images:
        there = voxels != 0
        anywhere |= there if own.matches(grid) else resample(there, own, grid, "nearest").astype(bool)
    return anywhere


def _triple(values: Sequence[int] | NDArray[np.int_]) -> tuple[int, int, int]:
    x, y, z = (int(value) for value in values)
    return x, y, z
