"""How a family sees a brain: preparation, sampler, order, augmentation, windows; one object, since they must agree.

Knows no network and no data; a model's yaml names its view.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, get_args

import numpy as np
from torch import Tensor

from strokelab.augment.recipes import OnBatch
from strokelab.buildable import buildable
from strokelab.contract import Batch
from strokelab.errors import ConfigError
from strokelab.inference.predict import Where
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.boxes import Part, Sampler
from strokelab.sampling.order import InOrder, Order, Shuffle

Windows = Callable[[Tensor, Callable[[Tensor, Tensor], Tensor], Tensor], Tensor]
"""``(image (C, X, Y, Z), predict, brain (X, Y, Z)) -> scores (K, X, Y, Z)``; see ``inference``.

A plan may also have ``sample_shape(crop)``, as samplers have it: the spatial shape of what ``predict`` is given, which
is held against the network; and ``check_samples(sampler)``, which refuses training samples that it cannot serve.
"""


class Augment(Protocol):
    """Augmentation in two phases: draw before anything is read, apply to a batch wherever its tensors are.

    One may also have ``check_samples(sampler)``, which refuses samples that it cannot change.
    """

    @property
    def pure(self) -> bool:
        """Whether ``apply`` is a pure function of its arguments, on any device and in any thread; may be left out."""

    def draw(self, stream: np.random.Generator, channels: int, patch: tuple[int, int, int]) -> Any:
        """All parameters of one sample; ``source`` (x, y, z), if it has one, says how large a box must be read."""

    def apply(self, batch: Batch, plans: Sequence[Any]) -> Batch:
        """The changed batch, of the contract; takes ``batch["sources"]`` in (see ``data.samples``)."""


@buildable("view")
@dataclass(frozen=True)
class View:
    """Everything between a case on disk and a sample, and between scores and a volume.

    Args:
        preparation: how a case is brought onto the model's grid.
        sampler: which boxes of it are samples.
        windows: how a whole volume is predicted from such samples.
        augment: random changes of training samples, in two phases or a callable on (batch, one stream per sample);
            None = none.
        order: in which order an epoch visits its samples; None: shuffled, or as the sampler wants it.
        classes: what the K maps of the network are, for a network that learns more than the lesion (``data.targets``):
            ``background``, ``lesion`` and channels of ``preparation.maps``; None: the lesion alone.
        finish: the grid on which scores become a mask; ``native``: scores are brought back first (SynthStroke).
        any_contrast: the network has one channel and takes any contrast (SynthStroke): a training sample is of one
            modality of its case, and whatever image there is can be predicted.

    Raises:
        ConfigError: windows or augmentation cannot serve such samples, the sampler needs another order, or
            ``any_contrast`` comes with channels that are no modalities.
    """

    preparation: Preparation
    sampler: Sampler
    windows: Windows
    augment: Augment | None = None
    order: Order | None = None
    classes: Sequence[str] | None = None
    finish: Where = "prepared"
    any_contrast: bool = False

    def __post_init__(self) -> None:
        for part in (self.windows, self.augment):
            check = getattr(part, "check_samples", None)
            if check is not None:
                check(self.sampler)
        if self.augment is not None and not (hasattr(self.augment, "draw") and hasattr(self.augment, "apply")):
            object.__setattr__(self, "augment", OnBatch(cast(Any, self.augment)))
        if self.finish not in get_args(Where):
            raise ConfigError(
                "view.finish",
                found=repr(self.finish),
                expected="prepared or native",
                remedy="leave it out, for prepared",
            )
        derived = set(self.preparation.channels) - set(self.preparation.modalities)
        if self.any_contrast and derived:
            raise ConfigError(
                "view.any_contrast",
                found=f"true, with channels made of the modalities: {sorted(derived)}",
                expected="modalities alone, of which each sample takes one",
                remedy="leave out view.preparation.mirror and view.preparation.further",
            )
        wanted = self.sampler.order("train")
        if wanted is not None and self.order not in (None, wanted):
            raise ConfigError(
                "view.order",
                found=f"{type(self.order).__name__} with {type(self.sampler).__name__}, whose places are its order",
                expected=f"{wanted}",
                remedy="leave view.order as conf/view has it",
            )

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Spatial shape S of a sample, (Y, X) for slices; None where it depends on the case."""
        return self.sampler.sample_shape(self.preparation.crop)

    @property
    def input_channels(self) -> int:
        """C, of what the network is given: of slabs, the slices of each channel."""
        slices: int = getattr(self.sampler, "slices", 1)
        return self.case_channels * slices

    @property
    def case_channels(self) -> int:
        """How many channels of a prepared case a sample is made of."""
        return 1 if self.any_contrast else len(self.preparation.channels)

    @property
    def augments_on_cpu(self) -> bool:
        """Whether batches are augmented before they get to the device: slices always, volumes where it is not pure."""
        return self.augment is not None and not (is_pure(self.augment) and len(self.input_shape or ()) == 3)

    def order_of(self, part: Part) -> Order:
        """In which order training or validation samples are visited."""
        own = self.sampler.order(part)
        return own or ((self.order or Shuffle()) if part == "train" else InOrder())


def is_pure(augment: Augment) -> bool:
    """Whether an augmentation says that it is pure, or says nothing, as those of two phases once did."""
    return bool(getattr(augment, "pure", True))
