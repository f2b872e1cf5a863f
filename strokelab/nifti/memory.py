"""Images of nibabel that lie in memory, as files for as long as they are read: one way of reading for all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib


def is_image(thing: Any) -> bool:
    """Whether something is an image of nibabel: voxels with a place in the world."""
    return isinstance(thing, nib.spatialimages.SpatialImage)


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
