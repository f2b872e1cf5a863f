"""Volumes on disk (NIfTI, MGH): which files they are, headers without voxels, voxels as float32, masks, whole writes.

The rules (also for masks that are not 0/1) are those of ``docs/datasets.md``, section "Rules for every file".
"""

from strokelab.nifti.endings import SUFFIXES, check_new_volumes, foreign_format, is_volume, partner, stem
from strokelab.nifti.lesions import ANY_LABEL, LesionFile, binarize, check_lesion_volume, onto, read_lesion, read_union
from strokelab.nifti.memory import as_file, as_image, is_image, is_pair
from strokelab.nifti.voxels import count_channels, read_channels, read_grid, read_voxels, verify, write_volume

__all__ = [
    "ANY_LABEL",
    "SUFFIXES",
    "LesionFile",
    "as_file",
    "as_image",
    "binarize",
    "check_lesion_volume",
    "check_new_volumes",
    "count_channels",
    "foreign_format",
    "is_image",
    "is_pair",
    "is_volume",
    "onto",
    "partner",
    "read_channels",
    "read_grid",
    "read_lesion",
    "read_union",
    "read_voxels",
    "stem",
    "verify",
    "write_volume",
]
