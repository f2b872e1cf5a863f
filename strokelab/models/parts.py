"""What may stand around a network in a ``Segmenter``, by what each of them can do. Knows no implementation of any."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from strokelab.contract import Batch
from strokelab.errors import ConfigError


@runtime_checkable
class UShaped(Protocol):
    """A network whose forward is ``decode(encode(image))``, so that its features can be read."""

    feature_channels: tuple[int, ...]
    dimensions: int

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features, finest first, deepest last."""

    def decode(self, features: list[Tensor]) -> Tensor | list[Tensor]:
        """Logits (B, K, *S); with deep supervision, in training mode, a list of them, finest first."""


class Standardizer(Protocol):
    """(image (B, C, *S), brain (B, 1, *S)) -> image; remembers its latest scale and shift, (B, C) each."""

    gamma: Tensor
    beta: Tensor

    def __call__(self, image: Tensor, brain: Tensor) -> Tensor:
        """Standardise a batch."""

    def check_length(self, steps: float) -> None:
        """Warn when a training of so many steps is too short for this part."""


class HemisphereSplit(Protocol):
    """Cuts batches in two and puts maps together again."""

    def split(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """A batch of B to one of 2B."""

    def join(self, scores: Tensor) -> Tensor:
        """Maps of 2B halves to maps of B wholes."""

    def warn_askew(self) -> dict[str, float]:
        """Report cases whose middle is not the cut."""


class Adversary(Protocol):
    """(features, site (B,)) -> (loss, confusion (K, K) int64)."""

    strength: float

    def __call__(self, features: Tensor, site: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and confusion counts of a batch."""


@runtime_checkable
class DecoderShown(Protocol):
    """A ``UShaped`` network that shows what its decoder ends in: ``decode(x) == segment(ascend(x))``."""

    decoder_channels: int

    def ascend(self, encoded: Sequence[Tensor]) -> Tensor:
        """Features (B, decoder_channels, *S) from what ``encode`` returned."""

    def segment(self, features: Tensor) -> Tensor:
        """Logits (B, K, *S) from these features."""


class Alternating(Protocol):
    """An adversary that trains network and head itself, in several updates of a batch (``models.unlearning``)."""

    alternates: bool

    def optimizers(self, module: nn.Module) -> list[Optimizer]:
        """Its own ones, beside that of the model."""

    def learn(self, module: Any, batch: Batch, batch_idx: int) -> tuple[dict[str, Tensor], Tensor]:
        """Update everything on a batch: what a training step returns, and the segmentation loss."""

    def check_length(self, epochs: float) -> None:
        """Warn when a training of so many epochs is too short for it."""


def u_shaped(network: nn.Module) -> UShaped:
    """The network itself, once it is known to show its features.

    Raises:
        ConfigError: it has no ``encode`` and ``decode``, or does not tell their widths.
    """
    if not isinstance(network, UShaped):
        raise ConfigError(
            type(network).__name__,
            found="a network that does not show its features",
            expected="encode, decode, feature_channels and dimensions, which the site adversary needs",
            remedy="choose another model, or switch the adversary off with adversary=none",
        )
    return network


def adversary_of(adversary: Callable[..., Any], network: nn.Module, hemispheres: Any) -> Any:
    """The adversary of a network: the partial, called with what it asks for by name.

    It is always given ``feature_channels`` and ``dimensions`` of the deepest features; ``decoder_channels`` (None of a
    network that shows its encoder alone) and ``halves`` (samples that one is cut into) where it has such arguments.

    Raises:
        ConfigError: the network shows no features, or the adversary cannot serve them.
    """
    trunk = u_shaped(network)
    given: dict[str, Any] = {"feature_channels": trunk.feature_channels[-1], "dimensions": trunk.dimensions}
    further = {
        "decoder_channels": network.decoder_channels if isinstance(network, DecoderShown) else None,
        "halves": getattr(hemispheres, "halves", 1),
    }
    try:
        wanted = signature(adversary).parameters
    except ValueError:  # of compiled code
        wanted = {}  # type: ignore[assignment]
    return adversary(**given, **{name: value for name, value in further.items() if name in wanted})


def judged(adversary: Any, network: nn.Module, image: Tensor, site: Tensor) -> tuple[Any, Tensor, Tensor]:
    """A forward pass of network and adversary: logits as the network gives them, site loss, confusion (K, K) int64."""
    if hasattr(adversary, "judge"):
        logits, loss, confusion = adversary.judge(network, image, site)
    else:
        trunk = u_shaped(network)
        features = trunk.encode(image)
        logits = trunk.decode(features)
        loss, confusion = adversary(features[-1], site)
    return logits, loss, confusion


def shown_to(adversary: Any, network: nn.Module, image: Tensor) -> list[Tensor]:
    """The features of an image that an adversary reads, (B, C, *S) each."""
    if hasattr(adversary, "shown"):
        return [features for _, features in adversary.shown(network, image)]
    return [u_shaped(network).encode(image)[-1]]
