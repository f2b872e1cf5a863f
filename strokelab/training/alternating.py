"""What a training cannot have whose model steps its optimizers itself (``adversary=unlearning``). Knows settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from strokelab.configuration import Settings
from strokelab.configuration.building import target_of
from strokelab.errors import ConfigError
from strokelab.training.precision import OLD_HALF, precision_of

_ACCUMULATES = "GradientAccumulationScheduler"


def check_alternating(settings: Settings) -> None:
    """Settings that only Lightning's own optimisation heeds, beside an adversary that alternates.

    Raises:
        ConfigError: gradients are to be clipped or accumulated, or scaled for float16.
    """
    if not getattr(target_of(settings["model"].get("adversary")), "alternates", False):
        return
    trainer = settings["trainer"]
    wrong: dict[str, tuple[Any, str]] = {}
    if trainer.get("gradient_clip_val"):
        wrong["trainer.gradient_clip_val"] = trainer["gradient_clip_val"], "trainer.gradient_clip_val=null"
    if int(trainer.get("accumulate_grad_batches") or 1) != 1:
        remedy = "trainer.accumulate_grad_batches=1"
        wrong["trainer.accumulate_grad_batches"] = trainer["accumulate_grad_batches"], remedy
    for name, node in settings["callbacks"].items():
        if str((node or {}).get("_target_")).endswith(f".{_ACCUMULATES}"):
            wrong[f"callbacks.{name}"] = _ACCUMULATES, f"callbacks.{name}=null"
    if precision_of(trainer) == OLD_HALF:
        wrong["trainer.precision"] = OLD_HALF, "trainer.precision=32-true"
    for where, (found, remedy) in wrong.items():
        raise ConfigError(
            where,
            found=f"{found}, with an adversary that makes several updates of each batch",
            expected="each update from one batch, its gradients as they are, in float32 or bf16",
            remedy=f"set {remedy}, or choose adversary=none",
        )


def with_unused_parameters(trainer: Mapping[str, Any], model: nn.Module) -> dict[str, Any]:
    """The settings of a trainer of several processes, so that DDP looks for parameters without a gradient, if asked.

    Args:
        trainer: settings.
        model: of which every part may say ``leaves_unused`` (parameters that some step gives no gradient).
    """
    leaves = any(getattr(part, "leaves_unused", False) for part in model.modules())
    if leaves and trainer.get("strategy") in ("auto", "ddp", None):
        return {**trainer, "strategy": "ddp_find_unused_parameters_true"}
    return dict(trainer)
