"""A cohort of little ATLAS v1.2 files for tests of splits, datasets and datamodules; milliseconds to write."""

from pathlib import Path

import nibabel as nib
import numpy as np

from strokelab.inference.slices import SliceWindows
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.order import Shuffle
from strokelab.sampling.slices import Slices
from strokelab.view import View

SHAPE = (20, 24, 10)
CROP = (16, 20, None)


def write_cohort(root: Path, sites=(3, 2, 2), twice=()):
    """Persons per site in the INDI layout; those in ``twice`` (site, person) have a second visit."""
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    centre = (np.array(SHAPE) - 1) / 2
    distance = sum(((np.arange(n) - c) / (0.42 * n)).reshape([-1 if a == b else 1 for b in range(3)]) ** 2
                   for a, (n, c) in enumerate(zip(SHAPE, centre, strict=True)))  # fmt: skip
    for site, count in enumerate(sites, start=1):
        for person in range(count):
            who = f"03{site}{person:03d}"
            for visit in ("t01", "t02") if (site, person) in twice else ("t01",):
                rng = np.random.default_rng((site, person, int(visit[1:])))
                image = np.where(distance < 1, 100 * site + 20 * rng.standard_normal(SHAPE), 0).astype(np.float32)
                lesion = np.zeros(SHAPE, dtype=np.uint8)
                corner = rng.integers(6, 12, 2)
                lesion[corner[0] : corner[0] + 3, corner[1] : corner[1] + 3, 3 : 5 + person % 3] = 1
                folder = root / f"Site{site}" / who / visit
                folder.mkdir(parents=True)
                nib.save(nib.Nifti1Image(image, affine), folder / f"{who}_t1w_deface_stx.nii.gz")
                nib.save(nib.Nifti1Image(lesion, affine), folder / f"{who}_LesionSmooth_stx.nii.gz")
    return root


def small_view(modalities=("T1w",), sampler=None, augment=None, order=None, crop=CROP):
    """Slices of 20 rows and 16 columns."""
    return View(
        Preparation(modalities, crop=crop),
        sampler or Slices(min_brain_pixels=20),
        SliceWindows(min_brain_pixels=20),
        augment,
        order or Shuffle(),
    )
