"""Channels that are made of the modalities: what makes them, and those of the multi-path 2.5D CNN (Xue 2020).

Knows arrays and grids; knows no files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.grid import Grid
from strokelab.preparation.normalize import Normalization, normalize

_PLANES = {"axial": 2, "sagittal": 0, "coronal": 1}  # of RAS+ volumes, the axis that slices are cut across
_RULES: dict[str, Normalization] = {
    "slice": "zscore_slice_brain",
    "pixel": "zscore_pixel",
    "pixel_slice": "zscore_pixel_slice",
}


class FurtherChannels(Protocol):
    """Makes channels beside the modalities, e.g. mirrored ones: a frozen dataclass of plain data, which is hashed.

    One that says ``ready`` makes channels that are normalised already; ``normalize`` need not name them.
    """

    def names(self, modalities: Sequence[str]) -> Sequence[str]:
        """Of the channels it adds, in order."""

    def __call__(self, image: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
        """The added channels (C', X, Y, Z) from the modalities (C, X, Y, Z) in their units, before normalisation."""


def ready_of(further: FurtherChannels, modalities: Sequence[str]) -> Sequence[str]:
    """The channels that it makes ready for a network, for which a preparation needs no rule of normalisation."""
    return further.names(modalities) if getattr(further, "ready", False) else ()


@buildable("view")
@dataclass(frozen=True)
class PathInputs:
    """The first modality as each of nine paths sees it, and the second image of each path: 17 channels.

    In the order of the paths (planes axial, sagittal, coronal; of each, z-scores of each slice, of each pixel along
    the normal, and both in turn): the normalised image and its mirror image from left to right, in sagittal slices the
    image itself. The very first is not among them: it is the modality under ``normalize: zscore_slice_brain``.
    """

    ready: ClassVar[bool] = True
    """These channels are normalised already: of a preparation's rules they need none."""

    def names(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """``<plane>_<rule>`` and ``<plane>_<rule>_second`` of each path, without ``axial_slice``."""
        paths = [f"{plane}_{rule}" for plane, rule in product(_PLANES, _RULES)]
        return tuple(name for path in paths for name in (path, f"{path}_second"))[1:]

    def __call__(self, image: NDArray[np.float32], brain: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
        """The channels (17, X, Y, Z) of modalities (C, X, Y, Z), of which the first is the scan."""
        return np.stack([*self._inputs(image[0], np.asarray(brain, dtype=bool))][1:])

    def _inputs(self, scan: NDArray[np.float32], brain: NDArray[np.bool_]) -> Iterator[NDArray[np.float32]]:
        for (plane, axis), rule in product(_PLANES.items(), _RULES.values()):
            across = normalize(np.moveaxis(scan, axis, 2), np.moveaxis(brain, axis, 2), rule)
            seen = np.moveaxis(across, 2, axis)
            yield seen
            yield seen if plane == "sagittal" else seen[::-1]
