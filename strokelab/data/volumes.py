"""Lesion volumes of a cohort, read from the masks as they lie on disk, on their own grids. Knows no preparation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from strokelab.contract import Case
from strokelab.errors import DataWarning
from strokelab.nifti import read_grid, read_lesion


def lesion_volume_ml(case: Case) -> float:
    """Volume of a case's united lesions, ml.

    Raises:
        DataError: a mask cannot be read, or lies on another grid than its image.
    """
    grid = read_grid(case.reference_image)
    lesion = read_lesion(case.lesions, grid, case.reference_image)
    return int(np.count_nonzero(lesion)) * grid.voxel_volume_mm3 / 1000


def lesion_volumes_ml(cases: Sequence[Case], *, workers: int = 1) -> dict[str, float]:
    """Lesion volume (ml) of every labelled case, by id.

    Args:
        cases: the unlabelled ones among them are left out.
        workers: threads that read (unpacking a file lets others run).

    Raises:
        DataError: as ``lesion_volume_ml``.
    """
    labelled = [case for case in cases if case.labelled]
    with warnings.catch_warnings(), ThreadPoolExecutor(max(1, workers)) as threads:
        warnings.simplefilter("ignore", DataWarning)  # preparation reads the same files and says it then
        volumes = list(threads.map(lesion_volume_ml, labelled))
    return {case.case_id: volume for case, volume in zip(labelled, volumes, strict=True)}
