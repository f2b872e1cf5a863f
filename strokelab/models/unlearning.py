"""Unlearning of the site, beside gradient reversal: three updates of a batch take turns. Knows features and sites.

Dinsdale, Jenkinson and Namburete 2021 (NeuroImage 228, 117689), released code. A head learns to name the site, and the
features are changed until its guess is uniform:

1. Stage 1: one optimizer (the model's) over everything; the head's loss *helps* to tell the sites apart.
2. Stage 2, three updates of each batch, each by an Adam of its own: (a) the segmentation loss, (b) the head, on
   detached features, (c) the features, so that the head just updated is confused.

An Adam ignores how large a loss is: what sets the strength of step c is its rate, hardly ``beta``.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from strokelab.buildable import buildable
from strokelab.contract import Batch
from strokelab.distributed import summed
from strokelab.errors import ConfigError
from strokelab.losses.site import confusion_loss, domain_loss
from strokelab.models.adversary import UNKNOWN_SITE, check_sites, confusion_counts
from strokelab.models.output import loss_of
from strokelab.models.parts import DecoderShown, u_shaped
from strokelab.models.segmenter import Segmenter, compared
from strokelab.networks.domain_head import DomainHead
from strokelab.networks.site_classifier import SiteClassifier

Where = Literal["auto", "decoder", "bottleneck", "both"]
RATES: Mapping[str, float] = {"segment": 1e-5, "domain": 1e-6, "confuse": 1e-6}
"""Of the three Adams of stage 2: released code."""


@buildable("model")
class Unlearning(nn.Module):
    """The heads that name the site, and how network and heads are trained: an ``Alternating`` adversary.

    Args:
        feature_channels: channels of the network's deepest features; the model fills this in, as the next three.
        dimensions: 2 or 3.
        decoder_channels: channels of the features that the decoder ends in; None: the network does not show them.
        halves: how many samples one is cut into from left to right.
        n_sites: number of training sites, K.
        plane: S of a whole sample, (rows, columns) or (x, y, z); only a head on the decoder asks for it.
        where: the features that a head reads: "decoder" (the paper), "bottleneck", "both"; "auto": the decoder's of a
            network that shows them, else the bottleneck.
        beta: weight of the confusion loss in step c.
        stage1_epochs: epochs of stage 1, counted from the beginning of the training.
        rates: of the three Adams of stage 2: ``segment``, ``domain``, ``confuse``.
        fresh_optimizers: the Adams of stage 2 forget at the start of each epoch, as in the released code.

    Attributes:
        strength: without meaning here; the schedule of gradient reversal may set it.

    Raises:
        ConfigError: fewer than two sites, a setting out of range, or features that the network does not show.
    """

    least_sites: ClassVar[int] = 2
    """Training sites that it needs."""
    alternates: ClassVar[bool] = True
    """It steps its optimizers itself, which rules out some settings of the trainer (``training.alternating``)."""
    leaves_unused: ClassVar[bool] = True
    """Each of its updates leaves some weights without a gradient, which DDP has to know."""

    def __init__(
        self,
        feature_channels: int,
        dimensions: int = 2,
        *,
        decoder_channels: int | None = None,
        halves: int = 1,
        n_sites: int,
        plane: Sequence[int] | None = None,
        where: Where = "auto",
        beta: float = 10.0,
        stage1_epochs: int = 99,
        rates: Mapping[str, float] | None = None,
        fresh_optimizers: bool = True,
    ) -> None:
        super().__init__()
        check_sites(n_sites, self.least_sites)
        self.rates = {**RATES, **(rates or {})}
        _check(where=where, beta=beta, stage1_epochs=stage1_epochs, rates=self.rates)
        self.n_sites, self.beta, self.stage1_epochs = n_sites, beta, stage1_epochs
        self.fresh_optimizers, self.strength = fresh_optimizers, 1.0
        if where == "auto":
            where = "bottleneck" if decoder_channels is None else "decoder"
        self.heads = nn.ModuleDict()
        if where in ("decoder", "both"):
            sides = _halved(_known_plane(plane), halves)
            self.heads["decoder"] = DomainHead(_shown_channels(decoder_channels), n_sites, sides=sides)
        if where in ("bottleneck", "both"):
            self.heads["bottleneck"] = SiteClassifier(feature_channels, n_sites, dimensions=dimensions)

    def judge(self, network: nn.Module, image: Tensor, site: Tensor) -> tuple[Any, Tensor, Tensor]:
        """A forward pass as in stage 1.

        Args:
            network: that shows its features.
            image: (B, C, *S).
            site: (B,) int64 in 0..K-1, or -1 for unknown.

        Returns:
            Logits as the network gives them; the heads' loss (); the confusion counts (K, K) of their mean guess.
        """
        logits, shown = self._read(network, image)
        return (logits, *self._domain(shown, site))

    def shown(self, network: nn.Module, image: Tensor) -> list[tuple[nn.Module, Tensor]]:
        """Each head and the features of an image that it reads."""
        return [(self.heads[name], features) for name, features in self._shown(network, image).items()]

    def optimizers(self, module: nn.Module) -> list[Optimizer]:
        """The Adams of steps a, b and c, in this order, for the model that this is a part of."""
        mine = {id(weight) for weight in self.parameters()}
        rest = [weight for weight in module.parameters() if id(weight) not in mine]
        network = cast(nn.Module, module.network).parameters()
        weights = (rest, self.parameters(), network)
        return [Adam(each, lr=rate) for each, rate in zip(weights, self._rates(), strict=True)]

    def learn(self, module: Segmenter, batch: Batch, batch_idx: int) -> tuple[dict[str, Tensor], Tensor]:
        """Update network and heads on one batch, conditioned and split.

        Args:
            module: that this is a part of, in training; its first optimizer is that of stage 1.
            batch: of the contract.
            batch_idx: of the epoch.

        Returns:
            ``loss`` (of all that was done), ``site_loss``, ``site_confusion``, in stage 2 ``confusion_loss``; and the
            segmentation loss. All detached.
        """
        first, *others = cast(list[Any], module.optimizers())  # counted by Lightning, one step of one of them a batch
        outputs: dict[str, Tensor] = {}
        logits, shown = self._read(module.network, batch["image"])
        segmentation = self._by_site(module, logits, batch)
        if module.current_epoch < self.stage1_epochs:
            outputs["site_loss"], outputs["site_confusion"] = self._domain(shown, batch["site"])
            _update(module, segmentation + outputs["site_loss"], first)
            module.step_schedule()
        else:
            segment, domain, confuse = others[0], *(each.optimizer for each in others[1:])
            for optimizer, rate in zip((segment.optimizer, domain, confuse), self._rates(), strict=True):
                self._begin(optimizer, rate, afresh=batch_idx == 0)
            _update(module, segmentation, segment)
            still = {name: features.detach() for name, features in shown.items()}
            outputs["site_loss"], outputs["site_confusion"] = self._domain(still, batch["site"])
            _update(module, outputs["site_loss"], domain)
            outputs["confusion_loss"] = self._confuse(module, batch, confuse)
        outputs["site_loss"] = outputs["site_loss"].detach()
        loss = segmentation.detach() + outputs["site_loss"]
        outputs["loss"] = loss + self.beta * outputs.get("confusion_loss", torch.zeros_like(loss))
        return outputs, segmentation.detach()

    def check_length(self, epochs: float) -> None:
        """Warn when a training of so many epochs ends before stage 2."""
        if epochs <= self.stage1_epochs:
            warnings.warn(
                f"unlearning begins after {self.stage1_epochs} epochs, and the training ends after {epochs:g}: nothing "
                "is unlearned. Set model.adversary.stage1_epochs to fewer epochs, or trainer.max_epochs to more.",
                stacklevel=2,
            )

    def _confuse(self, module: Segmenter, batch: Batch, optimizer: Optimizer) -> Tensor:
        """Step c: the features again, for step a has changed their weights; statistics have seen this batch."""
        with _statistics_at_rest(module.network, self):
            shown = self._shown(module.network, batch["image"].detach())
            losses = [confusion_loss(self.heads[name](features), batch["site"]) for name, features in shown.items()]
            total = torch.stack(losses).sum()
            _update(module, self.beta * total, optimizer)
        return total.detach()

    def _begin(self, optimizer: Optimizer, rate: float, *, afresh: bool) -> None:
        if afresh and self.fresh_optimizers:
            optimizer.state.clear()
        for group in optimizer.param_groups:
            group["lr"] = rate  # that of the settings, also where a checkpoint was made with another

    def _rates(self) -> tuple[float, float, float]:
        return self.rates["segment"], self.rates["domain"], self.rates["confuse"]

    def _by_site(self, module: Segmenter, logits: Any, batch: Batch) -> Tensor:
        """The sum over sites, of all processes, of the loss of their samples; those of unknown site are one more."""
        site: Tensor = batch["site"]
        groups = torch.arange(UNKNOWN_SITE, self.n_sites, device=site.device)
        members = site[None] == groups[:, None]  # (K + 1, B)
        known = compared(batch)
        losses = [
            loss_of(module.loss, module.network, batch["image"], _of(logits, chosen), *(each[chosen] for each in known))
            for chosen, count in zip(members, summed(members.sum(dim=1)).tolist(), strict=True)
            if count
        ]
        return torch.stack(losses).sum()

    def _domain(self, shown: Mapping[str, Tensor], site: Tensor) -> tuple[Tensor, Tensor]:
        """The heads' losses added, and the confusion counts of their mean guess."""
        logits = [self.heads[name](features) for name, features in shown.items()]
        guess = torch.stack([each.detach().float().softmax(dim=1) for each in logits]).mean(dim=0)
        return torch.stack([domain_loss(each, site) for each in logits]).sum(), confusion_counts(guess, site)

    def _read(self, network: nn.Module, image: Tensor) -> tuple[Any, dict[str, Tensor]]:
        """Logits, and by name of its head the features that each of them reads."""
        trunk = u_shaped(network)
        encoded = trunk.encode(image)
        shown = {name: self._features(name, network, encoded) for name in self.heads}
        if "decoder" in shown:
            return cast(DecoderShown, network).segment(shown["decoder"]), shown
        return trunk.decode(encoded), shown

    def _shown(self, network: nn.Module, image: Tensor) -> dict[str, Tensor]:
        encoded = u_shaped(network).encode(image)
        return {name: self._features(name, network, encoded) for name in self.heads}

    @staticmethod
    def _features(name: str, network: nn.Module, encoded: list[Tensor]) -> Tensor:
        return cast(DecoderShown, network).ascend(encoded) if name == "decoder" else encoded[-1]


def _update(module: Segmenter, loss: Tensor, optimizer: Any) -> None:
    """One step; weights that a loss does not reach have no gradient, and no optimizer touches them."""
    module.zero_grad()
    module.manual_backward(loss)
    optimizer.step()


@contextmanager
def _statistics_at_rest(*parts: nn.Module) -> Iterator[None]:
    """Batch norms normalise by their batch and do not remember it."""
    norms = [layer for part in parts for layer in part.modules() if getattr(layer, "track_running_stats", False)]
    for layer in norms:
        layer.track_running_stats = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer in norms:
            layer.track_running_stats = True  # type: ignore[assignment]


def _of(logits: Any, chosen: Tensor) -> Any:
    """The logits of some samples, at every resolution."""
    return [each[chosen] for each in logits] if isinstance(logits, list) else logits[chosen]


def _halved(plane: Sequence[int], halves: int) -> tuple[int, ...]:
    """Sides of the parts of a sample; left-right is the last axis of slices and the first of volumes."""
    axis = 1 if len(plane) == 2 else 0
    return tuple(int(side) // (halves if place == axis else 1) for place, side in enumerate(plane))


def _known_plane(plane: Sequence[int] | None) -> Sequence[int]:
    if plane is None:
        raise ConfigError(
            "model.adversary.plane",
            found="none, for samples of no fixed size",
            expected="the size of a sample, which a head on the decoder has",
            remedy="set model.adversary.where=bottleneck",
        )
    return plane


def _shown_channels(channels: int | None) -> int:
    if channels is None:
        raise ConfigError(
            "model.adversary.where",
            found="a head on the decoder of a network that does not show its last features",
            expected="a network with decoder_channels, ascend and segment, as that of model=unlearning",
            remedy="set model.adversary.where=bottleneck",
        )
    return channels


def _check(*, where: str, beta: float, stage1_epochs: int, rates: Mapping[str, float]) -> None:
    wrong = {
        f"where={where!r}": where not in get_args(Where),
        f"beta={beta}": beta < 0,
        f"stage1_epochs={stage1_epochs}": stage1_epochs < 0,
        f"rates={dict(rates)}": set(rates) != set(RATES) or any(rate < 0 for rate in rates.values()),
    }
    if any(wrong.values()):
        raise ConfigError(
            "model.adversary",
            found=", ".join(text for text, is_wrong in wrong.items() if is_wrong),
            expected=f"where: one of {', '.join(get_args(Where))}; rates: {', '.join(RATES)}; no number below 0",
            remedy="correct the setting; conf/adversary/unlearning.yaml shows the defaults",
        )
