"""A cohort's geometry becomes a plan: spacing, patch, batch and stages of a U-Net within a memory budget.

The rules are nnU-Net's (Isensee 2021), in our own words; where ours differ is said in ``docs/methods/mapping.md``.
Knows no model and no trainer; ``training.planning`` asks for a plan and binds it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.planning.fingerprint import Fingerprint, fingerprint
from strokelab.planning.stages import Stages, check_given
from strokelab.planning.topology import Ints, feature_values
from strokelab.preparation.recipe import Preparation

__all__ = ["Fingerprint", "Plan", "Planner", "fingerprint"]

_VALUES_PER_GB = 560e6 / 8
"""Feature values of one patch (``feature_values``) per GB, for batches of two: nnU-Net's reference of 8 GB."""
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
    normalize: str | Mapping[str, str]
    widths: tuple[int, ...]
    kernels: tuple[Ints, ...]
    strides: tuple[Ints, ...]

    def facts(self) -> dict[str, Any]:
        """Late facts for ``configuration.bind``."""
        return asdict(self)


@buildable(training="planner")
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

    dimensions: ClassVar[int] = 3
    """Of the samples that it plans."""
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
        check_given(given)
        extents = seen.boxes if preparation.box else seen.shapes
        spacing = given["spacing"] if "spacing" in given else self._spacing(seen.spacings, extents)
        mm, median = _grid(seen.spacings, extents, spacing)
        if preparation.crop is not None:
            median = np.array([size or length for size, length in zip(preparation.crop, median, strict=True)])
        limits = (self.width, self.widest, self.shortest_side)
        stages = Stages(given, mm, (2 if hemispheres else 1, 1, 1), *limits)
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
            normalize=given.get("normalize", "zscore_nonzero" if masked else "zscore_volume"),
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


def _grid(
    spacings: NDArray[np.float64], extents: NDArray[np.int64], spacing: Sequence[float] | NDArray[np.float64] | None
) -> tuple[list[float], NDArray[np.float64]]:
    """Voxel size and median shape of the cohort on the prepared grid; its own where there is none."""
    if spacing is None:
        return np.median(spacings, axis=0).tolist(), np.median(extents, axis=0)
    shapes = np.round(extents * spacings / np.asarray(spacing, dtype=np.float64))
    return [float(value) for value in spacing], np.median(shapes, axis=0)
