"""Tiny cases on disk, written with nibabel alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform

from strokelab.contract import Case, LesionFile


def save(path: Path, voxels: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def oriented(codes: str, shape: tuple[int, int, int], spacing: float = 1.0) -> np.ndarray:
    """An affine whose axes run towards ``codes``, for a volume of ``shape`` in these axes."""
    change = ornt_transform(axcodes2ornt(tuple("RAS")), axcodes2ornt(tuple(codes)))
    ras = [0, 0, 0]
    for axis in range(3):
        ras[axis] = shape[int(change[axis, 0])]
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = (-20.0, -30.0, -10.0)
    return affine @ inv_ornt_aff(change, ras)


def head(shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """A bright noisy ball in noisy air."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    ball = (grid**2).sum(0) < 0.6
    return (np.where(ball, 300, 20) + rng.normal(0, 20, shape)).astype(np.float32)


@pytest.fixture
def make_case(tmp_path: Path) -> Callable[..., Case]:
    """``make_case("a", images={"T1w": voxels}, lesion=..., brain=..., affine=...)`` writes the files of a case."""

    def make(
        case_id: str = "a",
        *,
        images: dict[str, np.ndarray] | None = None,
        lesion: np.ndarray | None = None,
        brain: np.ndarray | None = None,
        affine: np.ndarray | None = None,
        suffix: str = ".nii",
        shape: tuple[int, int, int] = (10, 12, 8),
        **extra: object,
    ) -> Case:
        affine = oriented("RAS", shape) if affine is None else affine
        images = {"T1w": head(shape, seed=len(case_id) + ord(case_id[-1]))} if images is None else images
        folder = tmp_path / "data" / case_id
        paths = {name: save(folder / f"{name}{suffix}", voxels, affine) for name, voxels in images.items()}
        lesions = () if lesion is None else (LesionFile(save(folder / f"lesion{suffix}", lesion, affine)),)
        mask = None if brain is None else save(folder / f"brain{suffix}", brain, affine)
        return Case(case_id, case_id, "test", None, paths, lesions, brain=mask, **extra)

    return make
