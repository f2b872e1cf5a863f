"""Volumes on disk (NIfTI, MGH): which files they are, headers without voxels, voxels as float32, masks, whole writes.

The rules (also for masks that are not 0/1) are those of ``docs/datasets.md``, section "Rules for every file".
"""

from strokelab.nifti.endings import SUFFIXES, foreign_format, is_volume, stem
from strokelab.nifti.voxels import binarize, read_grid, read_lesion, read_voxels, write_volume

__all__ = [
    "SUFFIXES",
    "binarize",
    "foreign_format",
    "is_volume",
    "read_grid",
    "read_lesion",
    "read_voxels",
    "stem",
    "write_volume",
]
