"""A cohort's geometry becomes a plan: spacing, patch, batch and stages of a U-Net within a memory budget.

The rules are nnU-Net's (Isensee 2021), in our own words; where ours differ is said in ``docs/methods/mapping.md``.
Knows no model and no trainer; ``training.planning`` asks for a plan and binds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import ConfigError
from strokelab.planning.fingerprint import Fingerprint, fingerprint
from strokelab.planning.topology import Ints, Topology, feature_values, topology_of
from strokelab.preparation.recipe import Preparation

__all__ = ["Fingerprint", "Plan", "Planner", "fingerprint"]

_VALUES_PER_GB = 560e6 / 8
"""Feature values of one patch (``feature_values``) per GB, for batches of two: nnU-Net's reference of 8 GB."""
_LONGEST = 256
"""A patch starts as a cube of this many millimetres' voxels, before it is fitted to data and memory."""
_MASKED_BELOW = 0.75
"""Share of the volume in the non-zero box below which grey values are normalised over the non-zero region."""


@dataclass(frozen=True)
class Plan:
    """What the planner decides, by the keys of the config that it fills in.

    Args:
        patch: sides in voxels along X, Y, Z.
        spacing: of the prepared grid, mm; None: each case's own.
        batch_size: samples per step, of all devices together.
        normalize: as ``Preparation.normalize``.
        widths: channels of each stage, finest first.
        kernels: sides of each stage's convolutions.
        strides: of each stage's first convolution.
    """

    patch: Ints
    spacing: tuple[float, float, float] | None
    batch_size: int
    normalize: str
    widths: tuple[int, ...]
    kernels: tuple[Ints, ...]
    strides: tuple[Ints, ...]

    def facts(self) -> dict[str, Any]:
        """Late facts for ``configuration.bind``."""
        return asdict(self)


@dataclass(frozen=True)
class Planner:
    """The rules; nnU-Net's defaults. The two networks of MAPPING get one plan, that of the plain U-Net.

    Args:
        memory_gb: of the device a training is planned for.
        width: channels of the first stage; doubled at each further one.
        widest: no stage has more.
        shortest_side: no side of a feature map is shorter.
        smallest_batch: samples per step, at least.
        largest_share: a batch covers at most this share of the cohort's voxels.
        anisotropy: spacing and shape that differ by more than this factor make one axis the coarse one.

    Raises:
        ConfigError: a setting is out of range.
    """

    memory_gb: float = 8.0
    width: int = 32
    widest: int = 320
    shortest_side: int = 4
    smallest_batch: int = 2
    largest_share: float = 0.05
    anisotropy: float = 3.0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not value > 0:
                raise ConfigError(f"planner.{name}", found=f"{value}", expected="more than 0", remedy="leave it out")

    def plan(
        self,
        seen: Fingerprint,
        preparation: Preparation,
        *,
        given: Mapping[str, Any] | None = None,
        hemispheres: bool = False,
    ) -> Plan:
        """Decide what is not given; what is given is obeyed, and the rest is planned around it.

        Args:
            seen: the cohort.
            preparation: of which ``box`` and ``crop`` count (its spacing and normalisation are in ``given``).
            given: values of ``Plan`` that stand already.
            hemispheres: patches are halved along X before the network sees them, and so span the prepared width.

        Raises:
            ConfigError: what is given does not fit together, or no patch fits into the memory.
        """
        given = dict(given or {})
        _check_given(given)
        extents = seen.boxes if preparation.box else seen.shapes
        spacing = given["spacing"] if "spacing" in given else self._spacing(seen.spacings, extents)
        mm, median = _grid(seen.spacings, extents, spacing)
        if preparation.crop is not None:
            median = np.array([size or length for size, length in zip(preparation.crop, median, strict=True)])
        stages = _Stages(self, given, mm, halves=(2 if hemispheres else 1, 1, 1))
        batch = int(given.get("batch_size", self.smallest_batch))
        # A batch larger than nnU-Net's reference of two leaves less for each of its patches.
        budget = self.memory_gb * _VALUES_PER_GB * 2 / max(batch, 2)
        patch, topology = stages.of(given["patch"]) if "patch" in given else stages.largest(median, budget)
        widths = stages.widths(topology)
        values = feature_values(patch, topology.strides, widths)
        covered = float(np.prod(median)) * len(seen) * self.largest_share / math.prod(patch)
        most = min(round(2 * self.memory_gb * _VALUES_PER_GB / values), round(covered))
        masked = seen.median_box_share < _MASKED_BELOW
        return Plan(
            patch=patch,
            spacing=None if spacing is None else (float(spacing[0]), float(spacing[1]), float(spacing[2])),
            batch_size=int(given.get("batch_size", max(most, self.smallest_batch))),
            normalize=str(given.get("normalize", "zscore_nonzero" if masked else "zscore_volume")),
            widths=widths,
            kernels=topology.kernels,
            strides=topology.strides,
        )

    def _spacing(self, spacings: NDArray[np.float64], extents: NDArray[np.int64]) -> NDArray[np.float64]:
        """The median; along an axis much coarser and shorter than the others the finest tenth's, lest slices be lost.

        Rounded to 1e-4 mm, so that two ways of storing a header plan alike.
        """
        target, sides = np.median(spacings, axis=0), np.median(extents, axis=0)
        worst = int(np.argmax(target))
        others = [axis for axis in range(3) if axis != worst]
        coarse = target[worst] > self.anisotropy * target[others].max()
        if coarse and sides[worst] * self.anisotropy < sides[others].min():
            target[worst] = max(np.percentile(spacings[:, worst], 10), target[others].max())
        return np.asarray(target.round(4))


@dataclass(frozen=True)
class _Stages:
    """Patches and their stages under what was given of them."""

    planner: Planner
    given: Mapping[str, Any]
    spacing: Sequence[float]
    halves: Ints  # 2 along X: the network sees halves

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
        """The patch that fits into the budget with the proportions of the median case."""
        cube = [_LONGEST * (math.prod(self.spacing) ** (1 / 3)) / mm for mm in self.spacing]
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
            if side < self.planner.shortest_side:
                raise ConfigError(
                    "planner.memory_gb",
                    found=f"{self.planner.memory_gb:g}",
                    expected="room for a patch of some voxels",
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
            return tuple(min(self.planner.widest, self.planner.width * 2**stage) for stage in range(count))
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
        free = topology_of(patch, self.spacing, shortest_side=self.planner.shortest_side, most_stages=most)
        strides = _triples(self.given["strides"]) if "strides" in self.given else free.strides
        kernels = free.kernels if len(free.kernels) == len(strides) else ((3, 3, 3),) * len(strides)
        return Topology(strides, _triples(self.given["kernels"]) if "kernels" in self.given else kernels)

    def _divisors(self, topology: Topology) -> list[int]:
        return [side * half for side, half in zip(topology.divisors, self.halves, strict=True)]


def _grid(
    spacings: NDArray[np.float64], extents: NDArray[np.int64], spacing: Sequence[float] | NDArray[np.float64] | None
) -> tuple[list[float], NDArray[np.float64]]:
    """Voxel size and median shape of the cohort on the prepared grid; its own where there is none."""
    if spacing is None:
        return np.median(spacings, axis=0).tolist(), np.median(extents, axis=0)
    shapes = np.round(extents * spacings / np.asarray(spacing, dtype=np.float64))
    return [float(value) for value in spacing], np.median(shapes, axis=0)


def _triples(values: Sequence[Sequence[int]]) -> tuple[Ints, ...]:
    return tuple((int(value[0]), int(value[1]), int(value[2])) for value in values)


def _check_given(given: Mapping[str, Any]) -> None:
    """What stands already must be of its kind, or planning around it makes no sense."""
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
