"""MAPPING's merging and splitting of components (Huo 2022; the released version). Knows one volume and constants.

Two labellings and one table, which component of the lower cut each component of the higher cut lies in, decide
everything; no loop runs over components. Components use faces (6 neighbours), every comparison is strict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import ConfigError
from strokelab.lesions import label_lesions, lesion_sizes

DropExtra = Literal["smallest", "weakest", "off"]
Fallback = Literal["nearest_max", "empty"]
Box = tuple[slice, ...]

_CANDIDATES = 3  # of "weakest": how many of the smallest cores are weighed


@dataclass(frozen=True)
class Constants:
    """What ``inference.postprocess.mapping`` documents, checked.

    Raises:
        ConfigError: a level is no probability, the levels are not in order, or a choice does not exist.
    """

    size_limit: float  # mm^3
    high_small: float
    high_large: float
    low: float
    relax: float
    max_components: int
    drop_extra: DropExtra
    fallback: Fallback
    fallback_margin: float

    def __post_init__(self) -> None:
        levels = ("relax", "low", "high_large", "high_small")
        values = [getattr(self, name) for name in levels]
        ordered = self.relax <= self.low <= min(self.high_large, self.high_small)
        if not (ordered and all(0 <= value <= 1 for value in values)):
            raise _wrong(
                levels, values, "probabilities with relax <= low <= high_large, high_small", "0.3 0.5 0.55 0.7"
            )
        if not (self.size_limit >= 0 and self.max_components >= 0 and 0 <= self.fallback_margin <= 1):
            names = ("size_limit", "max_components", "fallback_margin")
            found = [getattr(self, name) for name in names]
            raise _wrong(names, found, "numbers of 0 or more, the margin at most 1", "3000 4 0.1")
        for name, choices in (("drop_extra", ("smallest", "weakest", "off")), ("fallback", ("nearest_max", "empty"))):
            if getattr(self, name) not in choices:
                raise _wrong([name], [getattr(self, name)], f"one of {', '.join(choices)}", choices[0])


def merge_or_split(probability: NDArray[Any], constants: Constants, *, voxel_mm3: float = 1.0) -> NDArray[np.uint8]:
    """The mask of a lesion probability (X, Y, Z), 0 or 1.

    Args:
        probability: (X, Y, Z); what is not a number counts as no lesion. Left as it was.
        constants: of the method.
        voxel_mm3: volume of a voxel, for the size limit.
    """
    mask = np.zeros(probability.shape, dtype=np.uint8)
    box = _box(probability > constants.relax)  # nothing outside can be lesion, except by the fallback
    inside = probability[box]
    if not inside.size:
        return _near_maximum(probability, constants)
    small = np.count_nonzero(inside > constants.low) * voxel_mm3 < constants.size_limit
    cores, count = label_lesions(inside > (constants.high_small if small else constants.high_large), neighbours=6)
    alive = np.ones(count + 1, dtype=bool)
    alive[0] = False
    if small and count > constants.max_components and constants.drop_extra != "off":
        alive[_extra(cores, count, inside, constants.drop_extra)] = False
    core = alive[cores]
    if not alive.any():
        return _near_maximum(probability, constants)

    lesion = inside > constants.low
    if np.array_equal(core, lesion):
        lesion = inside > constants.relax
    lesions, found = label_lesions(lesion, neighbours=6)
    # A core is connected and lies in the lower cut, so it lies in one component of it.
    owner = np.zeros(count + 1, dtype=np.int64)
    owner[cores[core]] = lesions[core]
    held = np.bincount(owner[alive], minlength=found + 1)
    whole = held >= 1 if small else held <= 1
    whole[0] = False
    mask[box] = whole[lesions] | core
    return mask


def _extra(cores: NDArray[Any], count: int, probability: NDArray[Any], rule: str) -> int:
    """Which core goes: the one with the fewest voxels, or the weakest of the three smallest."""
    sizes = lesion_sizes(cores, count)
    if rule == "weakest":
        inside = cores > 0
        sums = np.bincount(cores[inside], weights=probability[inside], minlength=count + 1)[1:]
        candidates = _by_scan(cores, np.argsort(sizes, kind="stable")[:_CANDIDATES] + 1)
        means = sums[candidates - 1] / sizes[candidates - 1]
        return int(candidates[np.argmin(means)])
    smallest = np.flatnonzero(sizes == sizes.min()) + 1
    return int(smallest[0]) if len(smallest) == 1 else int(_by_scan(cores, smallest)[0])


def _by_scan(cores: NDArray[Any], labels: NDArray[Any]) -> NDArray[Any]:
    """Labels in the order in which a scan of the file, x fastest, comes upon them, however the array lies in memory."""
    places, indices = np.unique(cores.ravel(order="F"), return_index=True)
    first = indices[np.searchsorted(places, labels)]
    return labels[np.argsort(first, kind="stable")]


def _near_maximum(probability: NDArray[Any], constants: Constants) -> NDArray[np.uint8]:
    """Where nothing is sure: what comes close to the maximum, unless that is nothing, too."""
    highest = float(np.nanmax(probability, initial=0.0))
    # The margin as the map's own numbers have it: 0.1 in single precision is more than 0.1.
    least = float(np.asarray(constants.fallback_margin, dtype=np.result_type(probability, np.float16)))
    if constants.fallback == "empty" or highest <= least:
        return np.zeros(probability.shape, dtype=np.uint8)
    near: NDArray[np.uint8] = (probability > highest - constants.fallback_margin).astype(np.uint8)
    return near


def _box(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around what is true; an empty one where nothing is."""
    slices = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(other for other in range(mask.ndim) if other != axis)))
        slices.append(slice(int(hit[0]), int(hit[-1]) + 1) if len(hit) else slice(0, 0))
    return tuple(slices)


def _wrong(names: Any, values: Any, expected: str, usual: str) -> ConfigError:
    settings = ", ".join(f"postprocess.{name}" for name in names)
    return ConfigError(
        settings, found=", ".join(map(str, values)), expected=expected, remedy=f"the usual values are {usual}"
    )
