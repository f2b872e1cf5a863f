"""The geometry of a cohort: voxel sizes, shapes, and the boxes that are not zero. Knows files; knows no network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case
from strokelab.errors import DataError, DataWarning
from strokelab.grid import Orient
from strokelab.nifti import read_grid
from strokelab.preparation.nonzero import remembered_box
from strokelab.preparation.progress import bar
from strokelab.preparation.recipe import Preparation


@dataclass(frozen=True)
class Fingerprint:
    """What a plan depends on, one row per case; rows and axes as the preparation orients them.

    Args:
        spacings: (N, 3) mm.
        shapes: (N, 3) voxels of the whole volumes.
        boxes: (N, 3) voxels of the boxes that are not zero.
    """

    spacings: NDArray[np.float64]
    shapes: NDArray[np.int64]
    boxes: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.spacings)

    @property
    def median_box_share(self) -> float:
        """Volume of the box over that of the whole, median over the cases."""
        return float(np.median(self.boxes.prod(axis=1) / self.shapes.prod(axis=1)))

    def to_json(self) -> dict[str, Any]:
        """The figures a reader of a plan asks for."""
        return {
            "cases": len(self),
            "median_spacing_mm": np.median(self.spacings, axis=0).tolist(),
            "median_shape": np.median(self.shapes, axis=0).tolist(),
            "median_box": np.median(self.boxes, axis=0).tolist(),
            "median_box_share": self.median_box_share,
        }


def fingerprint(
    cases: Sequence[Case], preparation: Preparation, *, store: Path, workers: int = 1, progress: bool = False
) -> Fingerprint:
    """Read the geometry of a cohort: headers, and once per case its voxels, whose box the store remembers.

    Args:
        cases: at least one; their order does not matter to a plan.
        preparation: its modalities, its orientation and its registration count.
        store: folder of the prepared store.
        workers: threads that read (unpacking a file lets others run).
        progress: show a bar.

    Raises:
        DataError: a file is missing or unreadable, or the store cannot be written to.
    """

    def row(case: Case) -> tuple[Any, Any, Any]:
        native = read_grid(case.reference_image)
        orient = Orient(native, preparation.axes_of(native))
        box = remembered_box(case, preparation.modalities, store).along(orient)
        if preparation.register is not None:  # the template's grid; the box keeps about its size
            shape = preparation.register.target(orient.target.spacing).shape
            return orient.target.spacing, shape, np.minimum(box.shape, shape)
        return orient.target.spacing, orient.target.shape, box.shape

    try:
        with warnings.catch_warnings(), ThreadPoolExecutor(max(1, workers)) as threads:
            warnings.simplefilter("ignore", DataWarning)  # preparation reads the same files and says it then
            with bar("Measuring cases", len(cases), shown=progress) as shown:
                rows = []
                for one in threads.map(row, cases):
                    rows.append(one)
                    shown.advance(shown.task_ids[0])
    except OSError as error:  # inputs raise DataError, so this is the store
        raise DataError(
            store,
            found=f"{type(error).__name__}: {error.strerror or error}",
            expected="a prepared store that can be written to",
            remedy="free disk space or permissions, or put the store elsewhere: data.store=DIR",
        ) from error
    spacings, shapes, boxes = (np.array(column) for column in zip(*rows, strict=True))
    return Fingerprint(spacings.astype(np.float64), shapes.astype(np.int64), boxes.astype(np.int64))
