"""What validation measures on its batches: named metrics, each logged as ``val/<name>`` (``model.validation_metrics``).

A metric is a ``torchmetrics.Metric`` whose ``update`` takes a ``Validated`` and whose ``compute`` gives one number.
Its states are summed or gathered over the processes of a training, which see every sample once. ``higher_is_better``
says which direction is the better one, so that a monitor with the wrong mode is refused. Knows tensors; knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torchmetrics import Metric

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.metrics.live import PooledDice, SampleMean


@dataclass(frozen=True)
class Validated:
    """A validation batch and what the model made of it: whole samples, also where a model looks at hemispheres.

    Args:
        loss: the training's loss of this batch, of all processes, ().
        logits: (B, K, *S).
        probability: sigmoid of a single map, softmax over several, (B, K, *S) float32 or better.
        target: what the loss compares with, (B, K, *S) float32; the lesion alone, (B, 1, *S), where nothing else is.
        lesion: non-zero inside, (B, 1, *S).
        lesion_channel: which of the K maps is the lesion.
        labelled_classes: the classes that each sample knows, (B, K) bool; None: all.
    """

    loss: Tensor
    logits: Tensor
    probability: Tensor
    target: Tensor
    lesion: Tensor
    lesion_channel: int = 0
    labelled_classes: Tensor | None = None

    @property
    def samples(self) -> int:
        """B."""
        return len(self.lesion)

    @property
    def lesion_probability(self) -> Tensor:
        """(B, *S)."""
        return self.probability[:, self.lesion_channel]


@buildable("model")
class Loss(SampleMean):
    """Mean of the training's loss over samples."""

    higher_is_better = False

    def update(self, batch: Validated) -> None:  # type: ignore[override]
        """Add a batch."""
        SampleMean.update(self, batch.loss, batch.samples)


@buildable("model")
class PooledLesionDice(PooledDice):
    """``PooledDice`` of the lesion where its probability is at least 0.5."""

    def update(self, batch: Validated) -> None:  # type: ignore[override]
        """Add a batch."""
        PooledDice.update(self, batch.lesion_probability >= 0.5, batch.lesion[:, 0])


@buildable("model")
class SoftDice(SampleMean):
    """Mean over samples of ``(2 sum(p y) + eps) / (sum(p^2) + sum(y^2) + eps)`` of the lesion's probability p.

    Args:
        eps: keeps 0/0 at 1; a sample without a lesion is near 0 unless nothing at all is predicted.

    Source: SynthStroke's choice of a checkpoint.
    """

    higher_is_better = True

    def __init__(self, eps: float = 1e-5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.eps = eps

    def update(self, batch: Validated) -> None:  # type: ignore[override]
        """Add a batch."""
        p = batch.lesion_probability.flatten(start_dim=1)
        y = (batch.lesion[:, 0] != 0).to(p.dtype).flatten(start_dim=1)
        size = p.square().sum(dim=1) + y.sum(dim=1)
        each = (2 * (p * y).sum(dim=1) + self.eps) / (size + self.eps)
        SampleMean.update(self, each.mean(), batch.samples)


@buildable("model")
class L1ErrorRate(SampleMean):
    """Mean over samples of ``mean |p - y|`` plus the share of wrong voxels, lesion against all else: 0 is perfect.

    A voxel is called lesion where the lesion's probability p is the largest (above 0.5 for a single map).

    Source: SUNet's early stopping, there a mean over batches: the same numbers for batches of equal size.
    """

    higher_is_better = False

    def update(self, batch: Validated) -> None:  # type: ignore[override]
        """Add a batch."""
        p, y = batch.lesion_probability, batch.lesion[:, 0] != 0
        several = batch.probability.shape[1] > 1
        found = batch.probability.argmax(dim=1) == batch.lesion_channel if several else p > 0.5
        l1, wrong = (p - y.to(p.dtype)).abs().mean(), (found != y).to(p.dtype).mean()
        SampleMean.update(self, l1 + wrong, batch.samples)


DEFAULTS: Mapping[str, type[Metric]] = {"loss": Loss, "pooled_dice": PooledLesionDice}
"""What every training measures unless ``model.validation_metrics`` says otherwise."""


def measured(given: Mapping[str, Metric | None] | None) -> dict[str, Metric]:
    """The metrics of a training by name: the defaults and those given; None leaves one out.

    Raises:
        ConfigError: one is no ``torchmetrics.Metric``.
    """
    chosen = {**{name: kind() for name, kind in DEFAULTS.items()}, **(given or {})}
    for name, metric in chosen.items():
        if metric is not None and not isinstance(metric, Metric):
            raise ConfigError(
                f"model.validation_metrics.{name}",
                found=f"an object of the type {type(metric).__name__}",
                expected="a torchmetrics.Metric whose update takes a batch (strokelab.metrics.validation.Validated)",
                remedy="let its _target_ name such a class; docs/own_parts.md has an example",
            )
    return {name: metric for name, metric in chosen.items() if metric is not None}
