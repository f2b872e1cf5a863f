"""The LightningModule of every family: a network, a loss and the parts that may stand around them.

Knows batches and parts; knows no files, no cohort and no window plan. SG-Net (Yu 2022) is this class with standardizer
(MAIN), hemispheres and adversary switched on; the plain U-Net is the same class with all three off; the paper's
ablation is every mixture of them. The order is the paper's: whole slice -> MAIN -> split -> network and classifier on
each half -> join.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import Metric

from strokelab.buildable import buildable
from strokelab.contract import Batch
from strokelab.distributed import gathered, own
from strokelab.losses.deep_supervision import DeepSupervision
from strokelab.metrics.validation import Validated, measured
from strokelab.models.epoch_means import EpochMeans
from strokelab.models.output import explained, loss_of
from strokelab.models.parts import Adversary, Alternating, HemisphereSplit, Standardizer, adversary_of, judged
from strokelab.models.parts import UShaped as UShaped
from strokelab.models.parts import u_shaped as u_shaped
from strokelab.models.plateau import DEFAULT_MONITOR, check_interval
from strokelab.models.rates import with_rates

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


@buildable("model")
class Segmenter(L.LightningModule):
    """Trains and applies a network on batches of the contract.

    Args:
        network: image (B, C, *S) -> logits (B, K, *S), in training mode also a list of them, finest first.
        loss: (logits, target) -> scalar; with ``labelled_classes`` as a third where the data have partial labels. Of a
            network with deep supervision it is taken at every resolution, by ``DeepSupervision`` with its defaults if
            the loss is none itself.
        optimizer: partial, called with the parameters of network and parts.
        scheduler: partial, called with the optimizer. None: constant rate. One that waits for a plateau looks at its
            ``monitor`` (``Plateau``), PyTorch's own at ``val/loss``.
        scheduler_interval: when the schedule is stepped: after every ``epoch``, or after every optimiser ``step``.
        rate_factors: parts that learn at a multiple of the optimiser's rate, e.g. ``network.trunk: 0.1`` (``rates``).
        validation_metrics: what validation measures beside ``loss`` and ``pooled_dice``, by name
            (``metrics.validation``); a name of these two takes its place, None leaves it out.
        standardizer: e.g. MAIN; None: images as they come.
        hemispheres: e.g. ``Hemispheres()``; None: whole samples.
        adversary: partial of e.g. ``SiteAdversary``, called with ``feature_channels`` and ``dimensions`` of the
            network's deepest features, and what else it asks for by name (``parts.adversary_of``); None: none. One
            that ``alternates`` (``Unlearning``) trains network and head itself, in updates of its own.
        lesion_channel: which of the K maps is the lesion.
        mask_input: set images to 0 off the brain (the paper's variants without MAIN do not).
        channels_last: memory layout of the network's weights, and with them of all that flows through it: faster for
            2D networks on CPUs, the same numbers up to rounding.

    Raises:
        ConfigError: an adversary for a network that shows no features, or a setting of schedule or metrics that
            cannot be.

    Logs, once per epoch over its samples (numbers of a resumed run are those of an unbroken one): ``train/loss``,
    ``train/segmentation_loss``, while unlearning ``train/confusion_loss``, with MAIN
    ``main/{gamma,beta}_{mean,min}``; ``val/<name>`` of each validation metric; ``curves_only/<name>`` where ``curves``
    says so: of cases that test, by which nothing may be chosen.
    Every step: ``train/loss_step``. Losses are those of the batch of all processes. The site's numbers are logged by
    ``callbacks.site_adversary``.
    """

    standardizer: Standardizer | None
    adversary: Adversary | None

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        scheduler: Callable[[Optimizer], LRScheduler] | None = None,
        *,
        scheduler_interval: str = "epoch",
        rate_factors: Mapping[str, float] | None = None,
        validation_metrics: Mapping[str, Metric | None] | None = None,
        standardizer: Standardizer | None = None,
        hemispheres: HemisphereSplit | None = None,
        adversary: Callable[..., Adversary] | None = None,
        lesion_channel: int = 0,
        mask_input: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        if channels_last:
            for layer in network.modules():
                _channels_last(layer)
        supervised = getattr(network, "deep_supervision", False) and not isinstance(loss, DeepSupervision)
        self.loss = DeepSupervision(loss) if supervised else loss
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.scheduler_interval = scheduler_interval
        self.rate_factors = dict(rate_factors or {})
        self.standardizer = standardizer
        self.hemispheres = hemispheres
        self.adversary = None
        if adversary is not None:
            self.adversary = adversary_of(adversary, network, hemispheres)
        self.automatic_optimization = not getattr(self.adversary, "alternates", False)
        self.lesion_channel = lesion_channel
        self.mask_input = mask_input
        metrics = measured(validation_metrics)
        self.measured = tuple(metrics)  # their names, which a ModuleDict would not take as they are
        self.validation_metrics = nn.ModuleList(metrics.values())
        self.epoch_means = EpochMeans()
        self.curves = "val"  # what validation steps log their numbers as
        self._seen: Tensor | None = None  # by a schedule that waits for a plateau

    def forward(self, image: Tensor) -> Tensor:
        """Logits of the bare network, without the parts: (B, C, *S) -> (B, K, *S)."""
        return cast(Tensor, self.network(image))

    def __repr__(self) -> str:
        """Network, its size, the parts that are on; the network itself prints its layers."""
        size = sum(weight.numel() for weight in self.network.parameters()) / 1e6
        parts = [part for part in (self.standardizer, self.hemispheres, self.adversary) if part is not None]
        named = "".join(f", {type(part).__name__}" for part in parts)
        return f"{type(self).__name__}({type(self.network).__name__}, {size:.3g} M parameters{named})"

    @property
    def alternating(self) -> Alternating | None:
        """The adversary, where it trains everything itself."""
        return None if self.automatic_optimization else cast(Alternating, self.adversary)

    def condition(self, batch: Mapping[str, Any]) -> Batch:
        """Standardise, then split hemispheres; what is left out leaves the batch as it is."""
        image, brain = batch["image"], batch["brain"]
        if self.mask_input:
            image = torch.where(brain != 0, image, 0.0)
        if self.standardizer is not None:
            image = self.standardizer(image, brain)
        conditioned = {**batch, "image": image}
        return conditioned if self.hemispheres is None else self.hemispheres.split(conditioned)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch; with an adversary also ``site_loss`` and ``site_confusion`` for its callback."""
        halves = self.condition(batch)
        with explained(self.network, image := halves["image"]):
            if (alternating := self.alternating) is not None:
                outputs, segmentation_loss = alternating.learn(self, halves, batch_idx)
            else:
                outputs = {}
                if self.adversary is None:
                    logits = self.network(image)
                else:
                    seen = judged(self.adversary, self.network, image, halves["site"])
                    logits, outputs["site_loss"], outputs["site_confusion"] = seen
                segmentation_loss = loss_of(self.loss, self.network, image, logits, *compared(halves))
                outputs["loss"] = segmentation_loss + outputs.get("site_loss", 0.0)
        self._note(outputs, segmentation_loss, samples=len(batch["image"]))
        return outputs

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Show one batch to the validation metrics; sites play no part."""
        halves = self.condition(batch)
        with explained(self.network, image := halves["image"]):
            logits = self.network(image)
        loss = loss_of(self.loss, self.network, image, logits, *compared(halves))
        target, *labelled = compared(batch)
        maps = logits, probability(logits)
        logits, scores = maps if self.hemispheres is None else (self.hemispheres.join(each) for each in maps)
        seen = Validated(loss, logits, scores, target, batch["lesion"], self.lesion_channel, *labelled)
        for name, metric in zip(self.measured, cast(Iterable[Metric], self.validation_metrics), strict=True):
            metric.update(seen)
            shown = name != "loss"
            self.log(f"{self.curves}/{name}", metric, on_epoch=True, prog_bar=shown, batch_size=seen.samples)

    def predict_scores(self, image: Tensor, brain: Tensor) -> Tensor:
        """Probabilities of whole samples in evaluation mode, whatever mode the module is in; needs no site.

        Args:
            image: (B, C, *S) float32.
            brain: (B, 1, *S), non-zero inside.

        Returns:
            (B, K, *S) float32, the same for a sample in any batch.
        """
        weights = next(self.parameters(), image).dtype
        image = image.to(torch.promote_types(image.dtype, weights))  # of a training in double precision
        with evaluation_mode(self), torch.no_grad():
            halves = self.condition({"image": image, "brain": brain})
            with explained(self.network, halves["image"]):
                logits = self.network(halves["image"])
            scores = probability(logits)
        return scores if self.hemispheres is None else self.hemispheres.join(scores)

    def configure_optimizers(self) -> Any:
        """The optimizer over all parameters, and its schedule.

        Raises:
            ConfigError: the schedule cannot be stepped as often as ``scheduler_interval`` says, or as
                ``rates.with_rates``.
        """
        optimizer = with_rates(self.optimizer, self, self.rate_factors)
        further = [] if self.alternating is None else self.alternating.optimizers(self)
        if self.scheduler is None:
            return [optimizer, *further] if further else optimizer
        scheduler = self.scheduler(optimizer)
        waits = isinstance(scheduler, ReduceLROnPlateau)
        counts = getattr(scheduler, "interval", "") == "step"
        check_interval(self.scheduler_interval, type(scheduler).__name__, waits=waits, counts=counts)
        if further:  # stepped by ``step_schedule``
            return [optimizer, *further], [{"scheduler": scheduler, "interval": self.scheduler_interval}]
        config: dict[str, Any] = {"scheduler": scheduler, "interval": self.scheduler_interval}
        if waits:  # Lightning would step it when the checkpoint is written already
            config |= {"monitor": getattr(scheduler, "monitor", DEFAULT_MONITOR), "frequency": sys.maxsize}
        return {"optimizer": optimizer, "lr_scheduler": config}

    def on_train_start(self) -> None:
        """Warn of a training too short for a part."""
        if self.standardizer is not None and self.trainer.is_global_zero:
            self.standardizer.check_length(self.trainer.estimated_stepping_batches)
        if self.alternating is not None and self.trainer.is_global_zero:
            most = self.trainer.max_epochs
            self.alternating.check_length(float("inf") if most in (None, -1) else most)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's numbers; report cases whose brain is not cut in the middle."""
        means = self.epoch_means.means(partial(self.trainer.strategy.reduce, reduce_op="sum"))
        self.log_dict(means, sync_dist=True, reduce_fx="max")  # equal on all processes, and so is their maximum
        for name, value in self.epoch_means.minima().items():
            self.log(name, value, sync_dist=True, reduce_fx="min")
        if self.hemispheres is not None:
            self.hemispheres.warn_askew()
        self._look_for_plateau()

    def _look_for_plateau(self) -> None:
        """Show a schedule that waits for a plateau its number, if it was logged anew since."""
        for config in self.trainer.lr_scheduler_configs:
            waits = isinstance(config.scheduler, ReduceLROnPlateau)
            monitor = getattr(config.scheduler, "monitor", DEFAULT_MONITOR)
            found = self.trainer.callback_metrics.get(monitor) if waits else None
            if found is not None and found is not self._seen:
                self._seen = found
                config.scheduler.step(found)  # type: ignore[arg-type]

    def step_schedule(self) -> None:
        """After a batch that an ``Alternating`` adversary trained on: step the schedule when it is due."""
        if self.scheduler_interval == "step" or self.trainer.is_last_batch:
            for config in self.trainer.lr_scheduler_configs:
                if not isinstance(config.scheduler, ReduceLROnPlateau):
                    config.scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the numbers of the epoch under way, of every process."""
        checkpoint["epoch_means"] = gathered(self.epoch_means.state_dict())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Continue the epoch under way."""
        mine = own(checkpoint.get("epoch_means"))
        if mine is not None:
            self.epoch_means.load_state_dict(mine)

    def _note(self, outputs: Mapping[str, Tensor], segmentation_loss: Tensor, *, samples: int) -> None:
        loss = outputs["loss"]
        means = {"train/loss": loss, "train/segmentation_loss": segmentation_loss}
        if "confusion_loss" in outputs:
            means["train/confusion_loss"] = outputs["confusion_loss"]
        minima: dict[str, Tensor] = {}
        if self.standardizer is not None:
            for name, value in (("gamma", self.standardizer.gamma), ("beta", self.standardizer.beta)):
                means[f"main/{name}_mean"], minima[f"main/{name}_min"] = value.mean(), value.min()
        self.epoch_means.add(self.current_epoch, samples, means, minima)
        self.log("train/loss_step", loss.detach(), prog_bar=True, batch_size=samples)


def _channels_last(layer: nn.Module) -> None:
    """Lay a layer's own weights out channel by channel, of slices and volumes alike."""
    for weight in layer.parameters(recurse=False):
        if weight.ndim in _CHANNELS_LAST:
            weight.data = weight.data.contiguous(memory_format=_CHANNELS_LAST[weight.ndim])


def compared(batch: Batch) -> tuple[Tensor, ...]:
    """What the loss compares logits with: the batch's own target, or else its lesion, (B, K, *S) float32.

    Where labels are partial, also the classes that each sample knows, (B, K) bool. Without them any loss of PyTorch or
    MONAI on (logits, target) can be called.
    """
    target = cast(Tensor, batch["target"] if "target" in batch else batch["lesion"].float())
    return (target, batch["labelled_classes"]) if "labelled_classes" in batch else (target,)


def probability(logits: Tensor) -> Tensor:
    """Sigmoid of a single map, softmax over several: (B, K, *S) -> (B, K, *S), float32 or better."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Every submodule in evaluation mode inside; each as it was afterwards."""
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
