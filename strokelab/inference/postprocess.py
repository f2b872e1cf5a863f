"""Lesion probability in, binary mask out. Knows one volume; knows no affine, no case and no network.

Every function takes the probability (X, Y, Z) first and its settings by name, returns uint8 0/1 (X, Y, Z) and leaves
its input as it was. ``p >= threshold`` is lesion everywhere in the house; a voxel that is not a number never is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import ConfigError
from strokelab.lesions import Neighbours, drop_small_lesions


def threshold(probability: NDArray[Any], threshold: float = 0.5) -> NDArray[np.uint8]:
    """Voxels (X, Y, Z) whose probability is at least ``threshold``.

    Raises:
        ConfigError: the threshold is outside 0..1.
    """
    return _cut(probability, threshold)


def small_components(
    probability: NDArray[Any], threshold: float = 0.5, *, min_voxels: int = 10, neighbours: Neighbours = 26
) -> NDArray[np.uint8]:
    """The mask of ``threshold`` without its small connected components.

    Args:
        probability: lesion probability (X, Y, Z).
        threshold: a voxel is lesion from this probability on.
        min_voxels: components with fewer voxels vanish, one of exactly this size stays. The default is the size of
            the smallest lesion of ATLAS v1.2 (10 mm^3) on its 1 mm grid.
        neighbours: 6 (faces), 18 (and edges) or 26 (and corners) make voxels one component.

    Raises:
        ConfigError: the threshold is outside 0..1, or the neighbourhood is none of the three.
    """
    mask = _cut(probability, threshold)
    if neighbours not in (6, 18, 26):
        raise ConfigError(
            "postprocess.neighbours",
            found=str(neighbours),
            expected="6, 18 or 26",
            remedy="set postprocess.neighbours=26",
        )
    return drop_small_lesions(mask, min_voxels, neighbours)


def _cut(probability: NDArray[Any], level: float) -> NDArray[np.uint8]:
    if not 0 <= level <= 1:
        raise ConfigError(
            "postprocess.threshold",
            found=str(level),
            expected="a probability, 0 to 1",
            remedy="set postprocess.threshold=0.5",
        )
    return (np.asarray(probability) >= level).astype(np.uint8)
