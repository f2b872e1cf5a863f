"""Small masks on disk for the tests of the scoreboard."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from strokelab import cli

SHAPE = (12, 11, 10)
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])  # 0.012 ml a voxel


def block(*corners: tuple[int, int, int], size: int = 3, shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """Cubes that start at these voxels."""
    mask = np.zeros(shape, dtype=np.uint8)
    for x, y, z in corners:
        mask[x : x + size, y : y + size, z : z + size] = 1
    return mask


def save(path: Path, voxels: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(voxels, affine), path)
    return path


def touch(root: Path, *names: str) -> Path:
    """Files of which only the names count."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def run(monkeypatch, capsys, *arguments: object) -> tuple[int, str]:
    """``strokelab`` with these arguments: exit status and what it printed."""
    workers = () if "--workers" in arguments else ("--workers", "1")  # importing takes longer than these masks
    monkeypatch.setattr(sys, "argv", ["strokelab", *map(str, arguments), *workers])
    monkeypatch.setenv("COLUMNS", "300")
    try:
        cli.main()
        status = 0
    except SystemExit as stop:
        status = int(stop.code or 0)
    return status, capsys.readouterr().out
