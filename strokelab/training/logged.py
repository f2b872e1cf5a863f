"""Whether what callbacks, schedule and objective look at is logged, and whether larger or smaller is better.

Knows which settings log which numbers; reads no data and trains nothing.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from strokelab.configuration import Settings
from strokelab.configuration.arguments import class_of
from strokelab.errors import ConfigError
from strokelab.metrics import METRICS
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.metrics.validation import DEFAULTS
from strokelab.models.plateau import DEFAULT_MONITOR, check_interval
from strokelab.training.length import interval_of

_OURS = ("strokelab.", "lightning.pytorch.")  # of others nobody here can say what they log
_TRAIN = ("train/loss", "train/segmentation_loss", "train/loss_step")
_MAIN = ("main/gamma_mean", "main/beta_mean", "main/gamma_min", "main/beta_min")
_SITE = ("site/loss", "site/accuracy", "site/balanced_accuracy", "site/chance", "site/majority", "site/strength")
_PLATEAUS = ("ReduceLROnPlateau", "Plateau")
_LARGER_IS_BETTER = {"val/micro_dice"} | {f"val/{m.name}" for m in METRICS.values() if m.higher_is_better}
_SMALLER_IS_BETTER = {"train/loss", "train/segmentation_loss"}


@dataclass(frozen=True)
class _Look:
    """Something that looks at a number."""

    where: str  # the setting
    monitor: str
    mode: str | None  # min, max; None: takes either


def check_logged(settings: Settings, *, validates: bool = True) -> None:
    """Refuse a training that waits for a number which is never logged, or takes the worse for the better.

    Also one whose schedule could not be stepped as it should, or that would log two numbers under one name.

    Args:
        settings: resolved.
        validates: the split has a validation part.

    Raises:
        ConfigError: naming the setting, the numbers that will be logged, and those near to it.
    """
    schedule = str((settings["model"].get("scheduler") or {}).get("_target_")).rpartition(".")[2]
    check_interval(interval_of(settings), schedule, waits=schedule in _PLATEAUS)
    _check_names(settings)
    logged = _logged(settings, validates=validates)
    if logged is None:
        return
    better = dict.fromkeys(_LARGER_IS_BETTER, "max") | dict.fromkeys(_SMALLER_IS_BETTER, "min") | _measured(settings)
    for look in _looks(settings):
        wrong = {"max": "min", "min": "max"}.get(better.get(look.monitor, ""), "")
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
                remedy=_remedy(look, logged, set(_measured(settings))),
            )


def _measured(settings: Settings) -> dict[str, str]:
    """What batches of the validation part are measured by, as logged: the mode of a monitor; "": either."""
    given = settings["model"].get("validation_metrics") or {}
    kinds = {**DEFAULTS, **{name: node and class_of(str(node["_target_"])) for name, node in given.items()}}
    modes = {True: "max", False: "min", None: ""}
    return {f"val/{name}": modes[getattr(kind, "higher_is_better", None)] for name, kind in kinds.items() if kind}


def _check_names(settings: Settings) -> None:
    """A number of batches must not be called like one of whole volumes."""
    for callback, node in settings["callbacks"].items():
        if not str((node or {}).get("_target_")).endswith("CaseMetrics") or not node.get("every_n_epochs", 10):
            continue
        for name in sorted(_of_cases(node) & set(_measured(settings))):
            raise ConfigError(
                f"model.validation_metrics.{name.removeprefix('val/')}",
                found=f"{name}, a number that callbacks.{callback} logs of whole volumes",
                expected="another name",
                remedy=f"call it otherwise, or set callbacks.{callback}=null",
            )


def _looks(settings: Settings) -> Iterator[_Look]:
    chosen = settings.get("checkpoint", "last")
    left_out = {f"val/{name}" for name in DEFAULTS} - set(_measured(settings))
    for name, node in settings["callbacks"].items():
        monitor = (node or {}).get("monitor")
        if monitor is None or node.get("strict") is False:
            continue
        keeps = str(node.get("_target_")).endswith("ModelCheckpoint")
        unasked = node.get("filename") != chosen and str(monitor).startswith("val/")
        if keeps and unasked and monitor not in left_out:
            continue  # without a validation it keeps nothing, and nothing is asked of it
        yield _Look(f"callbacks.{name}", str(monitor), str(node.get("mode", "min")))
    scheduler = settings["model"].get("scheduler") or {}
    if str(scheduler.get("_target_")).rpartition(".")[2] in _PLATEAUS:
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
    logged |= set(_measured(settings))
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
    names = (*(node.get("metrics") or CASE_METRICS), *(node.get("own") or ()))
    extra = [f"{name}_infinite" for name in names if name in METRICS and METRICS[name].unit in ("mm", "voxels")]
    return {f"val/{name}" for name in (*names, *extra, "micro_dice", "cases", "failed_cases")}


def _remedy(look: _Look, logged: set[str], measured: set[str]) -> str:
    setting = look.where if look.where == "objective" else f"{look.where}.monitor"
    if look.monitor in measured:
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
        return ": the validation part is empty"
    trainer = settings["trainer"]
    names = ("max_epochs", "check_val_every_n_epoch", "limit_val_batches")
    return f" ({', '.join(f'{name}={trainer[name]}' for name in names if name in trainer)})"
