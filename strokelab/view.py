"""How a family sees a brain: preparation, sampler, order, augmentation, windows; one object, since they must agree.

Knows no network and no data; a model's yaml names its view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from strokelab.contract import Batch
from strokelab.errors import ConfigError
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.boxes import Sampler
from strokelab.sampling.order import Order, Shuffle

Windows = Callable[[NDArray[np.float32], Callable[[Tensor, Tensor], Tensor], NDArray[np.bool_]], Tensor]
"""``(image (C, X, Y, Z), predict, brain (X, Y, Z)) -> scores (K, X, Y, Z)``; see ``inference``."""
Augment = Callable[[Batch, Sequence[np.random.Generator]], Batch]
"""``(batch, one stream per sample) -> batch``; see ``augment.recipes.Recipe``."""


@dataclass(frozen=True)
class View:
    """Everything between a case on disk and a sample, and between scores and a volume.

    Args:
        preparation: how a case is brought onto the model's grid.
        sampler: which boxes of it are samples.
        windows: how a whole volume is predicted from such samples.
        augment: random changes of training samples; None = none.
        order: in which order an epoch visits its samples.

    Raises:
        ConfigError: training and inference would see different slices.
    """

    preparation: Preparation
    sampler: Sampler
    windows: Windows
    augment: Augment | None = None
    order: Order = field(default_factory=Shuffle)

    def __post_init__(self) -> None:
        for setting in ("min_brain_pixels", "axis"):
            seen = [getattr(part, setting, None) for part in (self.sampler, self.windows)]
            if None not in seen and seen[0] != seen[1]:
                raise ConfigError(
                    f"view.windows.{setting}",
                    found=str(seen[1]),
                    expected=f"{seen[0]}, as in view.sampler.{setting}",
                    remedy="set both alike, or leave the interpolation of conf/view in place",
                )

    @property
    def modalities(self) -> tuple[str, ...]:
        """The channels of a sample, in order."""
        return tuple(self.preparation.modalities)

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Spatial shape S of a sample, (Y, X) for slices; None where it depends on the case."""
        return self.sampler.sample_shape(self.preparation.crop)
