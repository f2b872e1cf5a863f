"""What both releases of ATLAS share: the template beside the scans."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from nilearn.datasets import load_mni152_template

from strokelab.grid import resample
from strokelab.phantoms.anatomy import MNI_GRID, mni_grid
from strokelab.phantoms.volumes import write_nifti


def write_template(path: Path, spacing: float) -> None:
    """Write the MNI152 T1 template on the cohort's grid."""
    grid = mni_grid(spacing)
    t1 = np.asarray(load_mni152_template(resolution=1).dataobj, dtype=np.float32)
    template = t1 if grid == MNI_GRID else resample(t1, MNI_GRID, grid)
    write_nifti(path, np.rint(template * 100).astype(np.int16), grid)
