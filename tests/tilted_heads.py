"""A head that is symmetric but for a lesion, tilted and shifted by known amounts; computed, not interpolated.

Points are (N, 3) in mm; a pose is a matrix (4, 4) from the head's own axes to the scan's.
"""

from __future__ import annotations

import numpy as np

RADII_MM = np.array([66.0, 84.0, 62.0])
LESION_MM = np.array([35.0, 10.0, 10.0])
# Centre in the right half (x, y, z), standard deviation, height: each has a twin on the left.
_BLOBS = (
    (35, 30, 10, 9, 35),
    (30, -40, -10, 11, -30),
    (42, -10, 25, 8, 30),
    (22, 45, -20, 8, 28),
    (38, 0, -25, 10, -28),
    (20, -30, 35, 9, 26),
    (45, -25, 0, 6, -25),
)


def pose(yaw: float = 0.0, roll: float = 0.0, shift: float = 0.0) -> np.ndarray:
    """Degrees about z and y, mm along x."""
    y, r = np.deg2rad([yaw, roll])
    about_z = [[np.cos(y), -np.sin(y), 0], [np.sin(y), np.cos(y), 0], [0, 0, 1]]
    about_y = [[np.cos(r), 0, np.sin(r)], [0, 1, 0], [-np.sin(r), 0, np.cos(r)]]
    matrix = np.eye(4)
    matrix[:3, :3] = np.matmul(about_z, about_y)
    matrix[0, 3] = shift
    return matrix


def points_of(shape: tuple[int, int, int], spacing: np.ndarray | float) -> np.ndarray:
    return (np.indices(shape).reshape(3, -1).T - (np.array(shape) - 1) / 2) * spacing


def head(
    shape: tuple[int, int, int],
    spacing: np.ndarray | float,
    pose: np.ndarray,
    *,
    lesion: float = 80.0,
    noise: float = 2.0,
    inverted: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image (float32), brain and lesion of a head in the middle of a volume, moved by a pose."""
    back = np.linalg.inv(pose)
    places = points_of(shape, spacing) @ back[:3, :3].T + back[:3, 3]
    x, y, z = places.T
    radius = np.sqrt(((places / RADII_MM) ** 2).sum(1))
    brain = radius < 1
    values = 100 * np.clip((1 - radius) * 12, 0, 1) - 40 * np.exp(-((x / 2.5) ** 2)) * (radius < 0.97)
    for side in (-1, 1):
        values -= 55 * np.exp(-(((x - side * 14) / 7) ** 2 + ((y - 5) / 22) ** 2 + ((z - 8) / 9) ** 2))
        for cx, cy, cz, sd, height in _BLOBS:
            values += height * np.exp(-((x - side * cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * sd * sd))
    ill = ((places - LESION_MM) ** 2).sum(1) < 14**2
    values = np.maximum(180 - values if inverted else values, 1) + lesion * ill
    values = (values + np.random.default_rng(0).normal(0, noise, len(values))) * brain
    return values.astype(np.float32).reshape(shape), brain.reshape(shape), (ill & brain).reshape(shape)


def homologous(pose: np.ndarray) -> np.ndarray:
    """From a point of the scan to the point of the other side, mm from the middle of the volume."""
    return np.asarray(pose @ np.diag([-1.0, 1, 1, 1]) @ np.linalg.inv(pose))


def distances(one: np.ndarray, other: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Between where two transforms bring points, mm."""
    difference = one - other
    return np.asarray(np.linalg.norm(points @ difference[:3, :3].T + difference[:3, 3], axis=1))
