"""A recipe: changes in order, each sampled from the sample's own stream and then applied. Knows no files or models.

Our own transforms draw their parameters first (``draw``) and are pure functions of them after (``apply``). A TorchIO
transform, or any callable on a dict of tensors or on an image tensor (MONAI's two habits), may stand in the same list.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.contract import KINDS, Batch, kinds_of, shape_of
from strokelab.errors import ConfigError

Tensors = dict[str, Tensor]
"""One sample's maps by name: ``image`` (C, *S) float32, ``lesion`` and ``brain`` (1, *S) uint8, and further ones."""


@runtime_checkable
class Transform(Protocol):
    """One change of a sample: randomness ends where its parameters are known."""

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> Any | None:
        """The parameters for an image of ``shape`` (C, *S); None = leave this sample as it is."""

    def apply(self, sample: Tensors, drawn: Any) -> Tensors:
        """The changed sample, of the same shapes; a pure function."""


@buildable(training="view")
@dataclass(frozen=True)
class Recipe:
    """An ordered list of transforms for a batch.

    Args:
        transforms: ours, TorchIO's, or other callables; the latter two are wrapped by ``Foreign``.
    """

    transforms: Sequence[Any] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "transforms", tuple(_transform(item) for item in self.transforms))

    @property
    def keeps_midline(self) -> bool:
        """Whether every transform leaves the mid-sagittal plane in the middle, as far as they say so."""
        return all(getattr(transform, "keeps_midline", True) for transform in self.transforms)

    @property
    def pure(self) -> bool:
        """False: transforms of other libraries seed the process's random numbers."""
        return False

    def draw(self, stream: np.random.Generator, channels: int, patch: tuple[int, int, int]) -> list[Any]:
        """What each transform does to one sample, None where it leaves it."""
        shape = (channels, *shape_of(patch))
        return [transform.draw(stream, shape) for transform in self.transforms]

    def apply(self, batch: Batch, plans: Sequence[Sequence[Any]]) -> Batch:
        """Change all maps (B, ., *S) of a batch in place."""
        kinds = kinds_of(batch)
        for index, plan in enumerate(plans):
            sample: Tensors = {key: batch[key][index] for key in kinds}
            for transform, drawn in zip(self.transforms, plan, strict=True):
                if drawn is not None:
                    sample = transform.apply(sample, drawn)
            for key in kinds:
                batch[key][index] = sample[key]
        return batch


@dataclass(frozen=True)
class OnBatch:
    """A callable on (batch, one stream per sample) -> batch, as an augmentation in two phases.

    Args:
        change: the callable; the plan of a sample is the stream that it gets.
    """

    change: Callable[[Batch, Sequence[np.random.Generator]], Batch]

    @property
    def pure(self) -> bool:
        """False: it is not known to be."""
        return False

    def draw(self, stream: np.random.Generator, channels: int, patch: tuple[int, int, int]) -> np.random.Generator:
        """The stream itself."""
        return stream

    def apply(self, batch: Batch, plans: Sequence[np.random.Generator]) -> Batch:
        """What the callable makes of the batch."""
        return self.change(batch, plans)


@buildable(training="view")
@dataclass(frozen=True)
class Foreign:
    """A transform of another library, made repeatable: its global randomness is seeded from the sample's stream.

    Args:
        transform: a TorchIO transform (gets a ``Subject`` whose image is a ``ScalarImage`` and whose other maps are
            ``LabelMap``; slices have Z = 1 there); a callable with the attribute
            ``keys`` (MONAI's dictionary transforms: gets and returns a dict of channel-first tensors); or any other
            callable, which gets the image (C, *S) alone.
        p: share of samples it is applied to, beside the transform's own probability.
    """

    transform: Callable[[Any], Any]
    p: float = 1.0

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> int | None:
        """The seed of this application."""
        return int(stream.integers(2**31)) if stream.random() < self.p else None

    def apply(self, sample: Tensors, drawn: int) -> Tensors:
        """The transform under seed ``drawn``.

        Raises:
            ConfigError: it changed a shape.
        """
        kind = f"{type(self.transform).__module__}.{type(self.transform).__name__}"
        with _seeded(drawn):
            reseed = getattr(self.transform, "set_random_state", None)
            if callable(reseed):
                reseed(drawn)
            if kind.startswith("torchio."):
                changed = self._through_subject(sample)
            elif hasattr(self.transform, "keys"):
                changed = {**sample, **self.transform({key: value.clone() for key, value in sample.items()})}
            else:
                changed = {**sample, "image": self.transform(sample["image"].clone())}
        return {key: _restored(changed[key], like=value, key=key, kind=kind) for key, value in sample.items()}

    def _through_subject(self, sample: Tensors) -> Mapping[str, Any]:
        torchio: Any = importlib.import_module("torchio")  # heavy, and loaded already by who made the transform

        flat = sample["image"].ndim == 3  # (C, Y, X): TorchIO's axes are (C, X, Y, Z)
        volumes = {key: value.mT.unsqueeze(-1).clone() if flat else value.clone() for key, value in sample.items()}
        images = {
            key: torchio.ScalarImage(tensor=value) if key == "image" else torchio.LabelMap(tensor=value)
            for key, value in volumes.items()
        }
        subject = cast(Any, self.transform)(torchio.Subject(**images))
        return {key: subject[key].data.squeeze(-1).mT if flat else subject[key].data for key in sample}


def _transform(item: Any) -> Transform:
    if isinstance(item, Transform):
        return item
    if callable(item):
        return Foreign(item)
    raise ConfigError(
        "view.augment.transforms",
        found=f"{type(item).__name__} {item!r}",
        expected="a transform: with draw and apply, or callable",
        remedy="give every entry of the list a _target_",
    )


def _restored(value: Any, *, like: Tensor, key: str, kind: str) -> Tensor:
    tensor = torch.as_tensor(value).detach()
    if tensor.shape != like.shape:
        raise ConfigError(
            f"view.augment: {kind}",
            found=f"{key} of shape {tuple(tensor.shape)}",
            expected=f"the shape it was given, {tuple(like.shape)}",
            remedy="use a transform that keeps shapes, or crop in view.preparation",
        )
    if like.is_floating_point():
        return tensor.to(like.dtype)
    return (tensor > 0.5 if KINDS.get(key) == "mask" else tensor.round()).to(like.dtype)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of torch, NumPy and Python, and put them back after."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
