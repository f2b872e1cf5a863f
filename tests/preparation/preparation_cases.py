"""Tiny volumes on disk, written with nibabel alone."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, ornt_transform


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
