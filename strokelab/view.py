"""How a family sees a brain: preparation, sampler, order, augmentation, windows; one object, since they must agree.

Knows no network and no data; a model's yaml names its view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from strokelab.contract import Batch
from strokelab.errors import ConfigError
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.boxes import Part, PatchSampler, Sampler
from strokelab.sampling.order import InOrder, Order, Shuffle

Windows = Callable[[Tensor, Callable[[Tensor, Tensor], Tensor], Tensor], Tensor]
"""``(image (C, X, Y, Z), predict, brain (X, Y, Z)) -> scores (K, X, Y, Z)``; see ``inference``."""
Augment = Callable[[Batch, Sequence[np.random.Generator]], Batch]
"""``(batch, one stream per sample) -> batch``; see ``augment.recipes.Recipe``."""


@runtime_checkable
class PlannedAugment(Protocol):
    """Augmentation of patches in two phases: draw before anything is read, apply to a batch on whatever device."""

    def draw(self, stream: np.random.Generator, channels: int, patch: tuple[int, int, int]) -> Any:
        """All parameters of one sample; ``source`` (x, y, z) says how large a box around the patch must be read."""

    def apply(self, batch: Batch, plans: Sequence[Any]) -> Batch:
        """The changed batch, of the contract; takes ``batch["sources"]`` in (see ``data.random_patches``)."""


@dataclass(frozen=True)
class View:
    """Everything between a case on disk and a sample, and between scores and a volume.

    Args:
        preparation: how a case is brought onto the model's grid.
        sampler: which boxes of it are samples.
        windows: how a whole volume is predicted from such samples.
        augment: random changes of training samples; None = none.
        order: in which order an epoch visits its samples; None: shuffled, or as they are drawn.

    Raises:
        ConfigError: training and inference would see different slices or patches, or augmentation or order need
            other samples than these.
    """

    preparation: Preparation
    sampler: Sampler | PatchSampler
    windows: Windows
    augment: Augment | PlannedAugment | None = None
    order: Order | None = None

    def __post_init__(self) -> None:
        for setting in ("min_brain_pixels", "axis", "patch"):
            seen = [getattr(part, setting, None) for part in (self.sampler, self.windows)]
            if None not in seen and seen[0] != seen[1]:
                raise ConfigError(
                    f"view.windows.{setting}",
                    found=str(seen[1]),
                    expected=f"{seen[0]}, as in view.sampler.{setting}",
                    remedy="set both alike, or leave them as conf/view has them",
                )
        if isinstance(self.sampler, PatchSampler):
            self._check_order()
        elif isinstance(self.augment, PlannedAugment) and not callable(self.augment):
            raise ConfigError(
                "view.augment",
                found=f"{type(self.augment).__name__}, made for patches",
                expected=f"augmentation of the samples of {type(self.sampler).__name__}",
                remedy="choose augment=none, or augment=as_model for what the model brings",
            )

    def _check_order(self) -> None:
        if self.order not in (None, InOrder(fixed=False)):
            raise ConfigError(
                "view.order",
                found=f"{type(self.order).__name__} with {type(self.sampler).__name__}, which draws its cases itself",
                expected="strokelab.sampling.order.InOrder with fixed=false",
                remedy="leave view.order as conf/view has it",
            )

    @property
    def modalities(self) -> tuple[str, ...]:
        """The channels of a sample, in order."""
        return tuple(self.preparation.modalities)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Spatial shape S of a sample, (Y, X) for slices; None where it depends on the case."""
        return self.sampler.sample_shape(self.preparation.crop)

    @property
    def augments_on_cpu(self) -> bool:
        """Whether batches are augmented before they get to the device, wherever that is."""
        planned = isinstance(self.sampler, PatchSampler) and isinstance(self.augment, PlannedAugment)
        return self.augment is not None and not planned

    def order_of(self, part: Part) -> Order:
        """In which order training or validation samples are visited."""
        if part == "train":
            return self.order or (InOrder(fixed=False) if isinstance(self.sampler, PatchSampler) else Shuffle())
        return InOrder(fixed=self.sampler.fixed_validation if isinstance(self.sampler, PatchSampler) else True)
