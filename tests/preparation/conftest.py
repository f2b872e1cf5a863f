"""Tiny cases on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from preparation_cases import head, oriented, save

from strokelab.contract import Case, LesionFile


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
