"""Whether what callbacks, schedule and objective look at is logged, and whether larger or smaller is better.

Knows which settings log which numbers; reads no data and trains nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from strokelab.configuration import Settings
from strokelab.errors import ConfigError
from strokelab.metrics import METRICS
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.models.plateau import DEFAULT_MONITOR

_OURS = ("strokelab.", "lightning.pytorch.")  # of others nobody here can say what they log
_TRAIN = ("train/loss", "train/segmentation_loss", "train/loss_step")
_MAIN = ("main/gamma_mean", "main/beta_mean", "main/gamma_min", "main/beta_min")
_SITE = ("site/loss", "site/accuracy", "site/balanced_accuracy", "site/chance", "site/majority", "site/strength")
_LARGER_IS_BETTER = {"val/pooled_dice", "val/micro_dice"} | {
    f"val/{m.name}" for m in METRICS.values() if m.higher_is_better
}
_SMALLER_IS_BETTER = {"train/loss", "train/segmentation_loss", "val/loss"}


@dataclass(frozen=True)
class _Look:
    """Something that looks at a number."""

    where: str  # the setting
    monitor: str
    mode: str | None  # min, max; None: takes either


def check_logged(settings: Settings, *, validates: bool = True) -> None:
    """Refuse a training that waits for a number which is never logged, or takes the worse for the better.

    Args:
        settings: resolved.
        validates: the split has a validation part.

    Raises:
        ConfigError: naming the setting, the numbers that will be logged, and those near to it.
    """
    logged = _logged(settings, validates=validates)
    if logged is None:
        return
    for look in _looks(settings):
        wrong = "min" if look.monitor in _LARGER_IS_BETTER else "max" if look.monitor in _SMALLER_IS_BETTER else ""
        if look.mode == wrong:
            right = "max" if wrong == "min" else "min"
            raise ConfigError(
                f"{look.where}.mode",
                found=f"{wrong} for {look.monitor}, of which the {'larger' if right == 'max' else 'smaller'} is better",
                expected=right,
                remedy=f"add ++{look.where}.mode={right}",
            )
        if look.monitor not in logged:
            raise ConfigError(
                f"{look.where}.monitor" if look.where != "objective" else look.where,
                found=f"{look.monitor}, which this training never logs{_why(look.monitor, settings, validates)}",
                expected=f"one of {', '.join(sorted(logged))}",
                remedy=_remedy(look, logged),
            )


def _looks(settings: Settings) -> Iterator[_Look]:
    chosen = settings.get("checkpoint", "last")
    for name, node in settings["callbacks"].items():
        monitor = (node or {}).get("monitor")
        if monitor is None or node.get("strict") is False:
            continue
        keeps = str(node.get("_target_")).endswith("ModelCheckpoint")
        if keeps and node.get("filename") != chosen and str(monitor).startswith("val/"):
            continue  # without a validation it keeps nothing, and nothing is asked of it
        yield _Look(f"callbacks.{name}", str(monitor), str(node.get("mode", "min")))
    scheduler = settings["model"].get("scheduler") or {}
    if str(scheduler.get("_target_")).rpartition(".")[2] in ("ReduceLROnPlateau", "Plateau"):
        monitor = str(scheduler.get("monitor", DEFAULT_MONITOR))
        yield _Look("model.scheduler", monitor, str(scheduler.get("mode", "min")))
    if str(settings.get("objective", "")).startswith("val/"):
        yield _Look("objective", str(settings["objective"]), None)


def _logged(settings: Settings, *, validates: bool) -> set[str] | None:
    """What the training will log, once at least; None: it holds parts of others, which may log anything."""
    callbacks = [node for node in settings["callbacks"].values() if node]
    if any(not str(node.get("_target_")).startswith(_OURS) for node in (settings["model"], *callbacks)):
        return None
    logged = set(_TRAIN)
    logged |= set(_MAIN) if settings["model"].get("standardizer") else set()
    logged |= set(_SITE) if settings["model"].get("adversary") else set()
    if not validates or not _validates(settings["trainer"], 1):
        return logged
    logged |= {"val/loss", "val/pooled_dice"}
    for node in callbacks:
        every = node.get("every_n_epochs", 10)
        if str(node["_target_"]).endswith("CaseMetrics") and every and _validates(settings["trainer"], int(every)):
            logged |= _of_cases(node)
    return logged


def _validates(trainer: Mapping[str, Any], every: int) -> bool:
    """Whether there is an epoch that validates among each ``every``-th ones."""
    if trainer.get("limit_val_batches") == 0:
        return False
    epochs, between = trainer.get("max_epochs"), trainer.get("check_val_every_n_epoch", 1)
    if between is None or epochs is None or int(epochs) < 0:  # validation by steps; no end
        return True
    return any(epoch % int(between) == 0 and epoch % every == 0 for epoch in range(1, int(epochs) + 1))


def _of_cases(node: Mapping[str, Any]) -> set[str]:
    names = tuple(node.get("metrics") or CASE_METRICS)
    extra = [f"{name}_infinite" for name in names if name in METRICS and METRICS[name].unit in ("mm", "voxels")]
    return {f"val/{name}" for name in (*names, *extra, "micro_dice", "cases", "failed_cases")}


def _remedy(look: _Look, logged: set[str]) -> str:
    setting = look.where if look.where == "objective" else f"{look.where}.monitor"
    if look.monitor in ("val/loss", "val/pooled_dice"):
        last = ", or set checkpoint=last" if look.where.startswith("callbacks.") else ""
        return f"let an epoch validate: trainer.check_val_every_n_epoch=1, a split with a validation part{last}"
    near = difflib.get_close_matches(look.monitor, sorted(logged), n=1)
    if near:
        return f"set ++{setting}={near[0]}"
    return "name one of these; numbers of whole volumes come with callbacks.case_metrics.every_n_epochs"


def _why(monitor: str, settings: Settings, validates: bool) -> str:
    if not monitor.startswith("val/"):
        return ""
    if not validates:
        return ": nobody is in the validation part"
    trainer = settings["trainer"]
    names = ("max_epochs", "check_val_every_n_epoch", "limit_val_batches")
    return f" ({', '.join(f'{name}={trainer[name]}' for name in names if name in trainer)})"
