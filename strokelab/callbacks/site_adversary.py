"""Schedules the strength of the site adversary and logs how well the site is recognised. Knows no model by name.

It speaks to a model through ``model.adversary.strength`` and through what the training step returns beside the loss:
``site_loss`` (mean over the samples whose site is known) and ``site_confusion`` (K, K), truth in rows. A model without
an adversary is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, get_args

import lightning as L
import torch
from torch import Tensor

from strokelab.buildable import buildable
from strokelab.callbacks.stage import stage_of_trainer, stage_steps
from strokelab.distributed import gathered, own
from strokelab.errors import ConfigError

Schedule = Literal["constant", "dann"]


def reversal_strength(progress: float, *, schedule: Schedule = "constant", strength: float = 1.0) -> float:
    """Lambda at a point of the training.

    Args:
        progress: steps done / all steps, 0..1.
        schedule: "constant", or "dann": 2 / (1 + exp(-10 progress)) - 1 (Ganin and Lempitsky 2015).
        strength: the final lambda.
    """
    if schedule == "constant":
        return strength
    return strength * (2.0 / (1.0 + math.exp(-10.0 * progress)) - 1.0)


@buildable(training="callbacks")
class SiteAdversarySchedule(L.Callback):
    """Sets lambda before every step as a pure function of the step, and logs the site's numbers once per epoch.

    Args:
        schedule: "constant" (paper) or "dann" (ramp over the whole training).
        strength: lambda, or its final value (paper: 1).
        warmup_epochs: lambda is 0 before this epoch; the classifier learns all the same.

    Raises:
        ConfigError: another schedule, a negative strength or warm-up; at the start of training, "dann" without a known
            number of steps.

    Logs per epoch, over the training samples whose site is known: ``site/loss``, ``site/accuracy``,
    ``site/balanced_accuracy`` (mean recall over sites: any constant guess gives 1/K), ``site/strength`` (of the last
    step), and the reference lines ``site/chance`` (1/K) and ``site/majority`` (share of the largest site: what always
    naming it would reach). The counts travel with the checkpoint.
    """

    def __init__(self, schedule: Schedule = "constant", strength: float = 1.0, warmup_epochs: int = 0) -> None:
        if schedule not in get_args(Schedule):
            raise ConfigError(
                "site adversary",
                found=f"schedule={schedule!r}",
                expected="'constant' or 'dann'",
                remedy="set the schedule of the site_adversary callback",
            )
        if strength < 0 or warmup_epochs < 0:
            raise ConfigError(
                "site adversary",
                found=f"strength={strength}, warmup_epochs={warmup_epochs}",
                expected="0 or more",
                remedy="give the strength of the reversal as a positive number; the minus sign is built in",
            )
        self.schedule: Schedule = schedule
        self.strength = strength
        self.warmup_epochs = warmup_epochs
        self._epoch = -1
        self._confusion: Tensor | None = None
        self._loss_sum: Tensor | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Refuse a ramp that has no end."""
        if _adversary(pl_module) is not None and self.schedule == "dann" and math.isinf(stage_steps(trainer)):
            raise ConfigError(
                "site adversary",
                found="schedule 'dann' and a training without end",
                expected="a known number of steps",
                remedy="set trainer.max_epochs or trainer.max_steps, or use the schedule 'constant'",
            )

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Set lambda for this step."""
        adversary = _adversary(pl_module)
        if adversary is None:
            return
        if trainer.current_epoch < self.warmup_epochs:
            adversary.strength = 0.0
        else:
            progress = 0.0 if self.schedule == "constant" else _progress(trainer)
            adversary.strength = reversal_strength(progress, schedule=self.schedule, strength=self.strength)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count this batch."""
        if not isinstance(outputs, Mapping) or "site_confusion" not in outputs:
            return
        confusion: Tensor = outputs["site_confusion"]
        loss_sum: Tensor = outputs["site_loss"].detach().float() * confusion.sum()
        if self._confusion is None or self._loss_sum is None or self._epoch != trainer.current_epoch:
            self._epoch, self._confusion, self._loss_sum = trainer.current_epoch, confusion.clone(), loss_sum
        else:
            self._confusion = self._confusion.to(confusion.device) + confusion
            self._loss_sum = self._loss_sum.to(loss_sum.device) + loss_sum

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Log the epoch's numbers."""
        adversary = _adversary(pl_module)
        if adversary is None or self._confusion is None or self._loss_sum is None:
            return
        confusion = trainer.strategy.reduce(self._confusion, reduce_op="sum")
        loss_sum = trainer.strategy.reduce(self._loss_sum, reduce_op="sum")
        if confusion.sum() == 0:
            return
        scores = {"loss": loss_sum / confusion.sum(), **site_scores(confusion), "strength": adversary.strength}
        pl_module.log_dict({f"site/{name}": value for name, value in scores.items()}, sync_dist=True)

    def state_dict(self) -> dict[str, Any]:
        """The counts of the epoch under way, of every process, as plain data and CPU tensors."""
        mine = {
            "epoch": self._epoch,
            "confusion": None if self._confusion is None else self._confusion.cpu(),
            "loss_sum": None if self._loss_sum is None else self._loss_sum.cpu(),
        }
        return {"ranks": gathered(mine)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue the epoch under way."""
        mine = own(state_dict.get("ranks", state_dict))
        if mine is not None:
            self._epoch = mine["epoch"]
            self._confusion, self._loss_sum = mine["confusion"], mine["loss_sum"]


def site_scores(confusion: Tensor) -> dict[str, Tensor]:
    """How well sites are recognised, beside what the largest site alone gives.

    Args:
        confusion: (K, K) int64 counts, truth in rows; at least one count.

    Returns:
        ``accuracy``, ``balanced_accuracy`` (mean recall over the sites that occur), ``chance`` (1/K) and ``majority``
        (share of the largest site), () float32 each.
    """
    right, per_site = confusion.diagonal().float(), confusion.sum(dim=1).float()
    occurs = per_site > 0
    return {
        "accuracy": right.sum() / per_site.sum(),
        "balanced_accuracy": (right[occurs] / per_site[occurs]).mean(),
        "chance": torch.tensor(1.0 / len(confusion), device=confusion.device),
        "majority": per_site.max() / per_site.sum(),
    }


def _adversary(model: L.LightningModule) -> Any:
    return getattr(model, "adversary", None)


def _progress(trainer: L.Trainer) -> float:
    """How much of the stage is done, 0 to 1."""
    return (trainer.global_step - stage_of_trainer(trainer).first_step) / stage_steps(trainer)
