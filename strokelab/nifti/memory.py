"""Images of nibabel that lie in memory, as files for as long as they are read: one way of reading for all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np


def is_image(thing: Any) -> bool:
    """Whether something is an image of nibabel: voxels with a place in the world."""
    return isinstance(thing, nib.spatialimages.SpatialImage)


def is_pair(thing: Any) -> bool:
    """Whether something is an array (X, Y, Z) with its affine (4, 4)."""
    return isinstance(thing, tuple) and len(thing) == 2 and np.shape(thing[1]) == (4, 4) and np.ndim(thing[0]) >= 3


def as_image(thing: Any) -> Any:
    """An image of nibabel for an array with its affine; anything else as it is.

    Numbers of kinds that NIfTI has no place for are kept as wider ones: boolean as bytes, half as single precision.
    """
    if not is_pair(thing):
        return thing
    voxels, affine = np.asarray(thing[0]), np.asarray(thing[1], dtype=np.float64)
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    elif voxels.dtype == np.float16:
        voxels = voxels.astype(np.float32)
    elif voxels.dtype.kind in "iu" and voxels.dtype.itemsize == 8:  # as NumPy and PyTorch make them by default
        fits = not voxels.size or (voxels.min() >= -(2**31) and voxels.max() < 2**31)
        voxels = voxels.astype(np.int32 if fits else np.float64)
    return nib.Nifti1Image(voxels, affine)


@contextmanager
def as_file(image: nib.spatialimages.SpatialImage, name: str = "image") -> Iterator[Path]:
    """A NIfTI file that holds the image, header and all, while the block runs.

    Args:
        image: of any format that nibabel knows.
        name: of the file, as messages show it.
    """
    with tempfile.TemporaryDirectory(prefix="strokelab-") as folder:
        path = Path(folder) / f"{name}.nii"
        nib.save(nib.Nifti1Image.from_image(image), path)
        yield path
