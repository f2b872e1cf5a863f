"""Prepared cases whose arrays stay mapped, and boxes cut out of them. Knows memory maps; knows no samplers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import MapLayout, PreparedCase
from strokelab.errors import ConfigError, DataError
from strokelab.preparation.store import StoredCase

OPEN_CASES = 8192
"""Cases whose arrays stay mapped at once, three maps each: well below Linux's limit of 65,530 for a process."""


class OpenCases:
    """The most recently used cases, mapped; older ones are closed."""

    def __init__(self, cases: Sequence[StoredCase], capacity: int = OPEN_CASES) -> None:
        self.cases = cases
        self.capacity = capacity
        self._open: OrderedDict[int, PreparedCase] = OrderedDict()

    def __getitem__(self, index: int) -> PreparedCase:
        """The arrays of case ``index``."""
        if index in self._open:
            self._open.move_to_end(index)
        else:
            self._open[index] = self._loaded(index)
            if len(self._open) > self.capacity:
                self._open.popitem(last=False)
        return self._open[index]

    def _loaded(self, index: int) -> PreparedCase:
        try:
            return self.cases[index].load()
        except DataError:
            if not self._open:
                raise
            # The system may allow no more maps at once: half of them will do, from now on.
            self.capacity = max(1, len(self._open) // 2)
            while len(self._open) > self.capacity - 1:
                self._open.popitem(last=False)
            return self.cases[index].load()

    def __len__(self) -> int:
        """How many are open now."""
        return len(self._open)

    def __getstate__(self) -> dict[str, Any]:
        # Maps stay in their process: a loader worker opens its own.
        return {"cases": self.cases, "capacity": self.capacity, "_open": OrderedDict()}


def check_cases(cases: Sequence[StoredCase], *, maps_suffice: bool = False) -> dict[str, MapLayout]:
    """Cases to train or validate on are labelled, and have the same channels and the same form of further maps.

    Args:
        cases: prepared.
        maps_suffice: whether a case may have another map instead of a lesion mask: for targets of several classes.

    Returns:
        The layout of every further map that some case has.

    Raises:
        DataError: an unlabelled case.
        ConfigError: cases with different channels or layouts.
    """
    unlabelled = [case.case_id for case in cases if not (case.labelled or (maps_suffice and case.maps))]
    if unlabelled:
        raise DataError(
            unlabelled[0],
            found=f"{len(unlabelled)} cases without a lesion mask among those to train or validate on",
            expected="a mask for each of them",
            remedy="leave them out with data.exclude, or put them into the test part",
        )
    channels = {case.channels for case in cases}
    if len(channels) > 1:
        raise ConfigError(
            "data.modalities",
            found=f"cases with different channels: {sorted(channels)}",
            expected="the same for all",
            remedy="prepare all with one view",
        )
    layouts: dict[str, MapLayout] = {}
    for case in cases:
        for name, layout in case.maps.items():
            if layouts.setdefault(name, layout) != layout:
                raise ConfigError(
                    f"map {name!r} of case {case.case_id}",
                    found=f"{layout.kind} of {', '.join(layout.channels)}",
                    expected=f"{layouts[name].kind} of {', '.join(layouts[name].channels)}, as in other cases",
                    remedy="give all cases the same columns, or leave the map out of view.preparation.maps",
                )
    return layouts


def cut(source: NDArray[Any], start: Iterable[int], out: NDArray[Any], outside: Any = 0) -> None:
    """Copy the box of ``out``'s shape that begins at ``start`` from (C, X, Y, Z); ``outside`` beyond the border."""
    x, y, z = map(int, start)
    (_, *sides), (_, *sizes) = out.shape, source.shape
    if min(x, y, z) >= 0 and x + sides[0] <= sizes[0] and y + sides[1] <= sizes[1] and z + sides[2] <= sizes[2]:
        out[...] = source[:, x : x + sides[0], y : y + sides[1], z : z + sides[2]]
        return
    take: list[slice] = []
    put: list[slice] = []
    for begin, length, size in zip((x, y, z), sides, sizes, strict=True):
        low = min(max(begin, 0), size)
        high = max(min(begin + length, size), low)
        take.append(slice(low, high))
        put.append(slice(low - begin, high - begin) if high > low else slice(0, 0))
    out[...] = outside
    out[:, put[0], put[1], put[2]] = source[:, take[0], take[1], take[2]]


def arrays_of(case: PreparedCase) -> dict[str, NDArray[Any]]:
    """All maps that a case has, (C, X, Y, Z); plain arrays, which are cut faster than NumPy's maps of files."""
    lesion = {} if case.lesion is None else {"lesion": np.asarray(case.lesion)[None]}
    brain = np.asarray(case.brain).view(np.uint8)[None]
    return {"image": np.asarray(case.image), **lesion, "brain": brain, **case.maps}


def fill_box(
    case: PreparedCase, start: NDArray[np.int64], box: Mapping[str, NDArray[Any]], outside: Any, before: int
) -> None:
    """Copy the box that begins at ``start`` from every map of a case; maps that it lacks are 0.

    Args:
        case: opened.
        start: the lowest corner (x, y, z).
        box: where it goes, by name, (C, z, y, x).
        outside: of the image, beyond its border; other maps are 0 there.
        before: how many slices earlier the image begins.
    """
    whole = arrays_of(case)
    for name, array in box.items():
        if name in whole:
            first = start - np.array([0, 0, before]) if name == "image" and before else start
            cut(whole[name], first, array.transpose(0, 3, 2, 1), outside if name == "image" else 0)
        else:
            array[...] = 0
