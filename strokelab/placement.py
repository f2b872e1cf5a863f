"""Where two volumes lie in the world: whether a header lost its place, and how much of one the other covers.

Knows headers and grids; reads no voxels.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid

LEAST_COVERED = 0.9
"""Share of the reference's brain, or of its volume where no brain is known, that another image has to cover."""


def has_no_place(grid: Grid) -> bool:
    """Whether a header does not say where the volume lies: both form codes 0, or an origin of exactly 0 without turn.

    Programs that lose the affine write one or the other (an identity matrix, or the voxel sizes alone).
    """
    return at_zero(grid) or (grid.forms is not None and max(grid.forms.codes) <= 0)


def at_zero(grid: Grid) -> bool:
    """Whether the first voxel is the origin of the world and the axes are its axes: hardly so on any scanner."""
    linear = grid.matrix[:3, :3]
    return not grid.matrix[:3, 3].any() and np.count_nonzero(linear) == np.count_nonzero(np.diag(linear))


def share_covered(reference: Grid, other: Grid, region: NDArray[np.bool_] | None = None) -> float:
    """Share of the reference's voxels whose centres lie in the volume of ``other``.

    Args:
        reference: whose voxels count.
        other: the volume that may cover them.
        region: (X, Y, Z) on ``reference``; only these voxels count, None: all, sampled at up to 32 places an axis.
    """
    if region is None:
        places = [np.linspace(0, size - 1, min(size, 32)) for size in reference.shape]
        points = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1).reshape(-1, 3)
    else:
        points = np.argwhere(region).astype(float)
    if not len(points):
        return 0.0
    mapping = np.linalg.inv(other.matrix) @ reference.matrix
    inside = points @ mapping[:3, :3].T + mapping[:3, 3]
    edge = np.asarray(other.shape) - 0.5 + 1e-6
    return float(((inside >= -0.5 - 1e-6) & (inside <= edge)).all(axis=1).mean())


def check_covers(
    image: Path, grid: Grid, reference: Path, expected: Grid, region: NDArray[np.bool_] | None = None
) -> None:
    """One image of a case held against its reference image, on whose grid it will be brought.

    Args:
        image: the file.
        grid: its grid.
        reference: the reference image's file.
        expected: its grid.
        region: the brain (X, Y, Z) on ``expected``; None: not known, all of the volume counts.

    Raises:
        DataError: the two do not overlap, or the image's header lost its place.
    """
    if grid.matches(expected):
        return
    lost = not at_zero(expected) and has_no_place(grid)
    share = share_covered(expected, grid, region)
    what = "volume" if region is None else "brain"
    if lost or share == 0:
        place = "a header that does not say where the image lies" if lost else f"nothing of the {what} of {reference}"
        raise DataError(
            image,
            found=f"{place}: {grid.describe()}",
            expected=f"an image that covers {reference}: {expected.describe()}",
            remedy="the affine is probably lost or wrong: convert the image again from its source, or register it to "
            "the reference image; leave the case out with data.exclude",
        )
    if share < LEAST_COVERED:
        warnings.warn(
            f"{image}: covers {share:.0%} of the {what} of {reference} (less than {LEAST_COVERED:.0%}); the rest takes "
            "the image's background",
            DataWarning,
            stacklevel=2,
        )
