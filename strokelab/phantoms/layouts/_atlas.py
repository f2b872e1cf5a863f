"""What both releases of ATLAS share: the law of their lesions, the template beside the scans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from nilearn.datasets import load_mni152_template

from strokelab.grid import resample
from strokelab.phantoms.anatomy import MNI_GRID, mni_grid
from strokelab.phantoms.lesion_law import CHRONIC, SMALLEST_MM3, Law
from strokelab.phantoms.settings import Settings
from strokelab.phantoms.volumes import write_nifti


def law_of(settings: Settings) -> Law:
    """The law of chronic strokes; the option ``smallest_mm3`` leaves out subjects with less lesion than that."""
    return replace(CHRONIC, smallest_mm3=settings.number("smallest_mm3", SMALLEST_MM3, SMALLEST_MM3, 4_000.0))


def write_template(path: Path, spacing: float) -> None:
    """Write the MNI152 T1 template on the cohort's grid."""
    grid = mni_grid(spacing)
    t1 = np.asarray(load_mni152_template(resolution=1).dataobj, dtype=np.float32)
    template = t1 if grid == MNI_GRID else resample(t1, MNI_GRID, grid)
    write_nifti(path, np.rint(template * 100).astype(np.int16), grid)
