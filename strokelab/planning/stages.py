"""The largest patch that a memory holds, and its stages. Knows lengths and what was given; knows no data.

The way to the patch is nnU-Net's (Isensee 2021), in our own words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from strokelab.errors import ConfigError
from strokelab.planning.topology import Ints, Topology, feature_values, topology_of

_SIDE = 256
"""A patch starts as a cube with the volume of so many voxels a side, before it is fitted to data and memory."""


@dataclass(frozen=True)
class Stages:
    """Patches and their stages, under what was given of them.

    Args:
        given: ``widths``, ``kernels`` and ``strides`` that stand already.
        spacing: of the prepared grid, mm.
        halves: into how many parts a patch is cut along each axis before the network sees it.
        width: channels of the first stage; doubled at each further one.
        widest: no stage has more.
        shortest_side: no side of a feature map is shorter.
    """

    given: Mapping[str, Any]
    spacing: Sequence[float]
    halves: Ints
    width: int
    widest: int
    shortest_side: int

    def of(self, patch: Sequence[int]) -> tuple[Ints, Topology]:
        """The stages of a given patch.

        Raises:
            ConfigError: it does not divide through them.
        """
        topology, fitting = self._fitted(patch)
        if tuple(patch) != fitting:
            raise ConfigError(
                "view.sampler.patch",
                found=f"{list(patch)}",
                expected=f"sides divisible by {self._divisors(topology)} ({len(topology.strides) - 1} poolings"
                f"{', two hemispheres' if self.halves[0] == 2 else ''})",
                remedy=f"use {list(fitting)}, or fewer model.network.widths",
            )
        return fitting, topology

    def largest(self, median: NDArray[Any], budget: float) -> tuple[Ints, Topology]:
        """The patch that fits into the budget with the proportions of the median case.

        Args:
            median: shape of the median case on the prepared grid.
            budget: feature values (``topology.feature_values``) that a patch may take.

        Raises:
            ConfigError: not even a small patch fits, or the prepared width cannot be halved and pooled.
        """
        cube = [_SIDE * (math.prod(self.spacing) ** (1 / 3)) / mm for mm in self.spacing]
        start = [min(round(side), math.ceil(length)) for side, length in zip(cube, median, strict=True)]
        if self.halves[0] == 2:
            start[0] = int(median[0])  # the prepared width, to be cut in the middle
        topology, patch = self._fitted(start)
        # Of sides that are equally large for their case nnU-Net shortens X before Y before Z, the coarsest axis last.
        free = [axis for axis in (2, 1, 0) if axis >= self.halves[0] - 1]
        coarsest = max((2, 1, 0), key=lambda axis: self.spacing[axis])
        free.sort(key=lambda axis: axis != coarsest)
        while feature_values(patch, topology.strides, self.widths(topology)) > budget:
            shares = [side / length for side, length in zip(patch, median, strict=True)]
            axis = max(free, key=lambda axis: (shares[axis], free.index(axis)))
            # The next smaller side may pool less often, and so be nearer than one divisor of this one.
            smaller, _ = self._fitted(
                [side - self._divisors(topology)[axis] * (axis == i) for i, side in enumerate(patch)]
            )
            side = patch[axis] - self._divisors(smaller)[axis]
            if side < self.shortest_side:
                raise ConfigError(
                    "planner.memory_gb",
                    found=f"no room for a patch of {_sides(patch)}",
                    expected="a memory that holds at least a small one",
                    remedy="raise it, give a smaller data.batch_size, or fewer model.network.widths",
                )
            topology, patch = self._fitted([side if axis == i else other for i, other in enumerate(patch)])
        if self.halves[0] == 2 and patch[0] != int(median[0]):
            raise ConfigError(
                "view.preparation.crop",
                found=f"{int(median[0])} voxels from left to right",
                expected=f"a multiple of {self._divisors(topology)[0]}, which halves divide through the poolings",
                remedy=f"use view.preparation.crop=[{patch[0]},null,null]",
            )
        return patch, topology

    def widths(self, topology: Topology) -> tuple[int, ...]:
        """Channels per stage.

        Raises:
            ConfigError: other widths are given than there are stages.
        """
        count = len(topology.strides)
        if "widths" not in self.given:
            return tuple(min(self.widest, self.width * 2**stage) for stage in range(count))
        widths = tuple(int(width) for width in self.given["widths"])
        if len(widths) != count:
            raise ConfigError(
                "model.network.widths",
                found=f"{len(widths)} stages",
                expected=f"{count}: the patch cannot be pooled more often than {count - 1} times",
                remedy="give fewer widths, or a larger view.sampler.patch",
            )
        return widths

    def _fitted(self, patch: Sequence[int]) -> tuple[Topology, Ints]:
        seen = [-(-side // half) for side, half in zip(patch, self.halves, strict=True)]
        topology = self._topology(seen)
        x, y, z = (side * half for side, half in zip(topology.padded(seen), self.halves, strict=True))
        return topology, (x, y, z)

    def _topology(self, patch: Sequence[int]) -> Topology:
        most = len(self.given["widths"]) if "widths" in self.given else None
        free = topology_of(patch, self.spacing, shortest_side=self.shortest_side, most_stages=most)
        strides = _triples(self.given["strides"]) if "strides" in self.given else free.strides
        kernels = free.kernels if len(free.kernels) == len(strides) else ((3, 3, 3),) * len(strides)
        return Topology(strides, _triples(self.given["kernels"]) if "kernels" in self.given else kernels)

    def _divisors(self, topology: Topology) -> list[int]:
        return [side * half for side, half in zip(topology.divisors, self.halves, strict=True)]


def _triples(values: Sequence[Sequence[int]]) -> tuple[Ints, ...]:
    return tuple((int(value[0]), int(value[1]), int(value[2])) for value in values)


def stand_ins(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values for ``widths``, ``kernels`` and ``strides`` that are still open, of the form of those that are given.

    A network that is built of them has the axes of the plan and as many stages as what is given; it divides no axis
    but by what is given.
    """
    lists = [given[name] for name in ("widths", "kernels", "strides") if isinstance(given.get(name), (list, tuple))]
    count = max((len(values) for values in lists), default=2)
    axes = next((len(value[0]) for value in lists if value and isinstance(value[0], (list, tuple))), 3)
    return {"widths": (1,) * count, "kernels": ((1,) * axes,) * count, "strides": ((1,) * axes,) * count} | dict(given)


def halvable(width: int, given: Mapping[str, Any], spacing: Sequence[float]) -> int:
    """The next width (voxels along x) whose halves a planned network can pool as often as their length allows.

    Args:
        width: of a patch that spans the volume from left to right.
        given: ``widths`` and ``strides`` that stand already.
        spacing: of the prepared grid, mm.
    """
    stages = Stages(given, spacing, (2, 1, 1), width=1, widest=1, shortest_side=4)
    _, fitting = stages._fitted((width, -(-width // 2), -(-width // 2)))
    return fitting[0]


def check_given(given: Mapping[str, Any]) -> None:
    """Refuse what stands already and is not of its kind: planning around it would make no sense.

    Raises:
        ConfigError: naming the setting.
    """
    expected = {
        "batch_size": ("data.batch_size", "a whole number of at least 1", _is_count),
        "widths": ("model.network.widths", "a list of channels, one number per stage", _is_list_of(_is_count)),
        **{
            name: (
                f"model.network.{name}",
                "a list with three numbers per stage, along x, y and z",
                _is_list_of(_is_triple),
            )
            for name in ("kernels", "strides")
        },
    }
    for name, (setting, kind, fine) in expected.items():
        if name in given and not fine(given[name]):
            raise ConfigError(setting, found=f"{given[name]!r}", expected=kind, remedy="correct it, or have it planned")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_triple(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 3 and all(map(_is_count, value))


def _is_list_of(fine: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, (list, tuple)) and bool(value) and all(map(fine, value))


def _sides(patch: Sequence[int]) -> str:
    return " x ".join(map(str, patch))
