"""Where the brain of a scan lies and how large it is: measured once per scan. Knows files, grids and masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case
from strokelab.files import digest, write_json
from strokelab.grid import Grid, places_in
from strokelab.lesions import label_lesions, lesion_sizes
from strokelab.preparation.brain import find_brain
from strokelab.preparation.digests import FileDigests
from strokelab.preparation.images import read_image

Triple = tuple[float, float, float]
_EXTENT_VERSION = 1
"""Raise it whenever the same files would give another extent."""


@dataclass(frozen=True)
class Extent:
    """The box around a brain, along the axes of a grid.

    Args:
        low: its lower edges, in voxels of the grid.
        high: its upper edges.
        ml: volume of the brain.
    """

    low: Triple
    high: Triple
    ml: float

    @property
    def centre(self) -> NDArray[np.float64]:
        """In voxels of the grid (3,)."""
        return np.asarray(np.add(self.low, self.high) / 2)

    def size_mm(self, grid: Grid) -> NDArray[np.float64]:
        """Length of the sides (3,)."""
        return np.asarray(np.subtract(self.high, self.low) * grid.spacing)

    def centre_mm(self, grid: Grid) -> NDArray[np.float64]:
        """In the world (3,)."""
        return np.asarray((grid.matrix @ np.append(self.centre, 1.0))[:3])


def extent_of(brain: NDArray[np.bool_], native: Grid, grid: Grid) -> Extent:
    """The extent along the axes of ``grid`` of a brain mask (X, Y, Z) on ``native``, not empty; its largest piece."""
    labels, count = label_lesions(brain, 6)
    sizes = lesion_sizes(labels, count)
    largest = labels == 1 + int(np.argmax(sizes))
    places = places_in(largest, native, grid)
    half = (
        np.abs(np.linalg.inv(grid.matrix) @ native.matrix)[:3, :3].sum(axis=1) / 2
    )  # from a voxel's centre to its edge
    return Extent(
        _triple(places.min(axis=0) - half),
        _triple(places.max(axis=0) + half),
        int(sizes.max()) * native.voxel_volume_mm3 / 1000,
    )


def measured(case: Case, grid: Grid, store: Path | None = None) -> Extent:
    """The extent of a scan's brain along the axes of ``grid``.

    Args:
        case: its reference image and its brain mask are looked at.
        grid: any in the world.
        store: folder of a prepared store, which remembers what was measured; None: measured anew.

    Raises:
        DataError: a file is missing, unreadable or constant.
        OSError: the store cannot be written to.
    """
    note = None
    if store is not None:
        of = FileDigests(store / "digests").of
        brain_file = None if case.brain is None else of(case.brain)
        key = digest([_EXTENT_VERSION, of(case.reference_image), brain_file, grid.to_json()])
        note = store / "extents" / key[:2] / f"{key}.json"
        try:
            known = json.loads(note.read_text(encoding="utf-8"))
            return Extent(_triple(known["low"]), _triple(known["high"]), float(known["ml"]))
        except (OSError, ValueError, KeyError, TypeError):
            pass
    voxels, native = read_image(case.reference_image)
    brain, _ = find_brain(case, native, voxels)
    found = extent_of(brain, native, grid)
    if note is not None:
        write_json(note, {"low": list(found.low), "high": list(found.high), "ml": found.ml})
    return found


def _triple(values: Sequence[float] | NDArray[np.float64]) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z
