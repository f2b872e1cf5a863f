"""From the MNI frame to a scanner's own grid: a head in its pose, seen in slices. Knows geometry alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from strokelab.grid import Grid, resample
from strokelab.phantoms.fields import Volume

_BRAIN_CENTRE_MM = np.array([0.0, -18.0, 12.0])


@dataclass(frozen=True)
class Pose:
    """Where a head lies in the scanner: MNI = turn @ (world - place) + brain centre; mm."""

    turn: tuple[tuple[float, ...], ...]
    place: tuple[float, float, float]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Scanner world to MNI world (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.turn
        matrix[:3, 3] = _BRAIN_CENTRE_MM - matrix[:3, :3] @ np.asarray(self.place)
        return matrix


def pose(degrees: tuple[float, float, float], place: tuple[float, float, float]) -> Pose:
    """A head turned about x (nodding), y (tilting) and z (shaking), with its brain's centre at ``place`` (mm)."""
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    return Pose(tuple(tuple(float(v) for v in row) for row in turn), place)


def scan_grid(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    directions: NDArray[np.float64],
    centre: tuple[float, float, float],
) -> Grid:
    """A grid whose axes run along the columns of ``directions`` (3, 3) and whose middle lies at ``centre`` (mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = directions * np.asarray(spacing)
    matrix[:3, 3] = np.asarray(centre) - matrix[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return Grid.of(shape, matrix)


def see(volume: Volume, source: Grid, target: Grid, head: Pose) -> Volume:
    """A volume of the MNI frame on a scanner's grid, averaged over the extent of the target's voxels.

    Args:
        volume: (X, Y, Z) on ``source``.
        source: axis-aligned MNI grid.
        target: the scanner's grid, any orientation.
        head: where the head lies in the scanner.
    """
    placed = Grid.of(source.shape, np.linalg.inv(head.matrix) @ source.matrix)
    # Each source axis is blurred by the target axis that runs most nearly along it.
    along = np.abs(np.linalg.inv(placed.matrix[:3, :3] / placed.spacing) @ (target.matrix[:3, :3] / target.spacing))
    widths = [target.spacing[int(np.argmax(along[axis]))] for axis in range(3)]
    sigma = [0.35 * np.sqrt(max(w**2 - s**2, 0)) / s for w, s in zip(widths, source.spacing, strict=True)]
    return resample(ndimage.gaussian_filter(volume.astype(np.float32), sigma), placed, target)


def largest(share: Volume, voxels: int, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The ``voxels`` largest values of ``share`` among ``allowed`` as a mask; fewer when it is nearly 0 elsewhere."""
    values = np.where(allowed, share, 0).ravel()
    mask = np.zeros(values.size, dtype=bool)
    if voxels:
        order = np.argpartition(values, values.size - voxels)[-voxels:]
        mask[order[values[order] > 0.02]] = True
        if not mask.any():  # a lesion never vanishes
            mask[int(np.argmax(values))] = True
    return mask.reshape(share.shape)
