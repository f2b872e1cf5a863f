"""A case and a mask become an overlay. Reads the case's image and annotated lesion; knows no model and no figure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case
from strokelab.grid import Orient
from strokelab.nifti import read_lesion, read_voxels
from strokelab.report.material import Overlay


def overlay_of(
    label: str,
    case: Case,
    mask: NDArray[np.uint8],
    probability: NDArray[np.float32] | None = None,
    labels: NDArray[np.uint8] | None = None,
    class_names: tuple[str, ...] = (),
) -> Overlay:
    """One case for the report, its mask, probability and classes (X, Y, Z) on the grid of its reference image."""
    voxels, grid = read_voxels(case.reference_image)
    reference = read_lesion(case.lesions, grid, case.reference_image)
    orient = Orient(grid)
    shared = int((mask & reference).sum(dtype="int64"))
    total = int(mask.sum(dtype="int64")) + int(reference.sum(dtype="int64"))
    return Overlay(
        label=label,
        case=case.case_id,
        dice=2 * shared / total if total else 1.0,
        image=orient.apply(voxels),
        reference=orient.apply(reference),
        prediction=orient.apply(mask),
        spacing=orient.target.spacing,
        probability=None if probability is None else orient.apply(probability),
        labels=None if labels is None else orient.apply(labels),
        class_names=class_names,
    )
