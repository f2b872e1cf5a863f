"""Whether a training can end and go on, found out before it begins: its schedule lasts, its states can be read again.

Knows no run folder.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Trainer

from strokelab.callbacks.schedule import learning_rates
from strokelab.callbacks.snapshots import Snapshots
from strokelab.callbacks.stage import stage_of_trainer
from strokelab.command_words import setting
from strokelab.configuration import Settings
from strokelab.errors import ConfigError
from strokelab.models.segmenter import Segmenter


def check_named(settings: Settings) -> None:
    """Settings of an optimizer or a schedule belong to one that is named.

    Raises:
        ConfigError: some are left over, e.g. an experiment's beside a model that has no schedule.
    """
    for part in ("optimizer", "scheduler"):
        node = settings["model"].get(part)
        if isinstance(node, Mapping) and "_target_" not in node:
            raise ConfigError(
                f"model.{part}",
                found=f"{', '.join(map(str, node))} without the _target_ that they are settings of",
                expected="a class with its settings, or null",
                remedy=f"add ~model.{part}"
                if part == "scheduler"
                else "choose one, e.g. optimizer@model.optimizer=adamw",
            )


def check_resumable(settings: Settings, model: Segmenter, trainer: Trainer, *, steps: int | None = None) -> None:
    """Refuse what would end in the middle of a training, or could not be resumed.

    Args:
        settings: of the run.
        model: built with them.
        trainer: with its callbacks.
        steps: how often a schedule is stepped that counts optimiser steps; None: unknown, nothing is checked then.

    Raises:
        ConfigError: optimizer or schedule refuse their settings, the schedule ends before the training, nothing says
            when a snapshot is due, or a state holds more than numbers, words and tensors, which is all that a
            checkpoint is read for.
    """
    check_named(settings)
    try:
        made = model.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "model.optimizer, model.scheduler",
            found=str(error),
            expected="settings that they accept",
            remedy="correct the setting; conf/model/<model>.yaml shows the defaults",
        ) from error
    epochs = None if trainer.max_epochs is None else trainer.max_epochs - stage_of_trainer(trainer).first_epoch
    length = steps if model.scheduler_interval == "step" else epochs
    if model.scheduler is not None and length is not None and length > 0:
        _check_length(settings, model, length)
    parts: dict[str, Any] = {}
    if isinstance(made, dict):
        made = made["optimizer"], made["lr_scheduler"]["scheduler"]
    elif isinstance(made, list):  # further optimizers are the adversary's
        made = made[0], None
    if isinstance(made, tuple):
        made, schedule = (part[0] if isinstance(part, list) else part for part in made)
        if schedule is not None:
            parts["model.scheduler"] = schedule["scheduler"] if isinstance(schedule, dict) else schedule
    parts["model.optimizer"] = made
    for each in getattr(trainer, "callbacks", []):
        if isinstance(each, Snapshots):
            each.check_schedule(parts.get("model.scheduler"))
    parts |= {f"callbacks: {type(each).__name__}": each for each in getattr(trainer, "callbacks", [])}
    for name, part in parts.items():
        _check_state(name, part)


def _check_length(settings: Settings, model: Segmenter, length: int) -> None:
    """A schedule that counts its steps must have one for every epoch, or every optimiser step, of the training."""
    try:
        learning_rates(model.optimizer, model.scheduler, length)
    except ValueError as error:
        counts = {
            key: value for key, value in settings["model"]["scheduler"].items() if key in ("total_steps", "epochs")
        }
        key = next((key for key in counts if counts[key] is not None), "total_steps")
        by_step = model.scheduler_interval == "step"
        whole = f"after every optimiser step, of at least the {length} of this training"
        raise ConfigError(
            f"model.scheduler.{key}",
            found=f"{counts.get(key)} ({error})",
            expected="a schedule, stepped "
            + (whole if by_step else f"once an epoch, of at least trainer.max_epochs = {length}"),
            remedy=f"add {setting(f'model.scheduler.{key}', _enough(settings, key, length))} to the command",
        ) from error


def _enough(settings: Settings, key: str, length: int) -> int:
    """The value of a setting that makes a schedule long enough: ``epochs`` count ``steps_per_epoch`` steps each."""
    return -(-length // int(settings["model"]["scheduler"].get("steps_per_epoch") or 1)) if key == "epochs" else length


def _check_state(name: str, part: Any) -> None:
    if type(part).__module__.startswith(("strokelab.", "lightning.", "torch.optim.")) and name != "model.scheduler":
        return
    saved = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.save(part.state_dict(), saved)
            saved.seek(0)
            torch.load(saved, weights_only=True)
    except Exception as error:  # pickling may fail in any way
        raise ConfigError(
            name,
            found=f"a state_dict that cannot be read again safely ({(str(error).splitlines() or [''])[0][:160]})",
            expected="numbers, words, lists, dicts and tensors: a run is resumed from nothing else",
            remedy="let its state_dict() return plain data, and choose a schedule without functions as arguments",
        ) from error
