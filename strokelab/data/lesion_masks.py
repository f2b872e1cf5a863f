"""Lesion masks to be pasted, straight from files: of a labelled cohort, or of a folder. Prepares nothing."""

from __future__ import annotations

from pathlib import Path

from strokelab.data import readers
from strokelab.errors import DataError
from strokelab.nifti import LesionFile, binarize, is_volume, read_grid, read_lesion, read_voxels, stem
from strokelab.seeding import stream
from strokelab.synthesis.lesions import LesionMask


def masks_of(source: str, count: int, seed: int) -> list[LesionMask]:
    """Masks of some cases, chosen at random.

    Args:
        source: ``DATASET:ROOT``, a cohort as ``readers.read`` reads it, or a folder of mask files in MNI space.
        count: how many at most; no others are read.
        seed: of the choice.

    Raises:
        DataError: the cohort or a file cannot be read, or there is no mask.
    """
    dataset, _, root = source.partition(":")
    if root and dataset in readers.names():
        cases = [case for case in readers.read(dataset, root) if case.labelled]
        masks = []
        for index in _chosen(len(cases), count, seed):
            case = cases[index]
            grid = read_grid(case.reference_image)
            masks.append(LesionMask(case.case_id, read_lesion(case.lesions, grid, case.reference_image), grid))
    else:
        files = sorted(file for file in Path(source).rglob("*") if is_volume(file) and not file.name.startswith("."))
        masks = [_mask(files[index]) for index in _chosen(len(files), count, seed)]
    if not masks:
        raise DataError(
            source,
            found="no lesion mask",
            expected="a folder of NIfTI masks, or DATASET:ROOT of a labelled cohort",
            remedy=f"check the path; datasets are {', '.join(readers.names())}",
        )
    return masks


def _chosen(there: int, count: int, seed: int) -> list[int]:
    return [int(index) for index in stream(seed, "lesion masks").permutation(there)[:count]]


def _mask(path: Path) -> LesionMask:
    voxels, grid = read_voxels(path)
    return LesionMask(stem(path), binarize(voxels, LesionFile(path), grid.voxel_volume_mm3), grid)
