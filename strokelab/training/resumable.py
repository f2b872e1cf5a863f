"""Whether a training can end and go on, found out before it begins: its schedule lasts, its states can be read again.

Knows no run folder.
"""

from __future__ import annotations

import io
import warnings
from typing import Any

import torch
from lightning.pytorch import Trainer

from strokelab.callbacks.schedule import learning_rates
from strokelab.command_words import setting
from strokelab.configuration import Settings
from strokelab.errors import ConfigError
from strokelab.models.segmenter import Segmenter


def check_resumable(settings: Settings, model: Segmenter, trainer: Trainer) -> None:
    """Refuse what would end in the middle of a training, or could not be resumed.

    Args:
        settings: of the run.
        model: built with them.
        trainer: with its callbacks.

    Raises:
        ConfigError: optimizer or schedule refuse their settings, the schedule ends before the training, or a state
            holds more than numbers, words and tensors, which is all that a checkpoint is read for.
    """
    try:
        made = model.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "model.optimizer, model.scheduler",
            found=str(error),
            expected="settings that they accept",
            remedy="correct the setting; conf/model/<model>.yaml shows the defaults",
        ) from error
    epochs = trainer.max_epochs
    if model.scheduler is not None and epochs is not None and epochs > 0:
        _check_length(settings, model, epochs)
    parts: dict[str, Any] = {}
    if isinstance(made, dict):
        parts["model.scheduler"] = made["lr_scheduler"]["scheduler"]
        made = made["optimizer"]
    parts["model.optimizer"] = made
    parts |= {f"callbacks: {type(each).__name__}": each for each in getattr(trainer, "callbacks", [])}
    for name, part in parts.items():
        _check_state(name, part)


def _check_length(settings: Settings, model: Segmenter, epochs: int) -> None:
    """A schedule that counts its steps must have one for every epoch."""
    try:
        learning_rates(model.optimizer, model.scheduler, epochs)
    except ValueError as error:
        counts = {
            key: value for key, value in settings["model"]["scheduler"].items() if key in ("total_steps", "epochs")
        }
        key = next((key for key in counts if counts[key] is not None), "total_steps")
        raise ConfigError(
            f"model.scheduler.{key}",
            found=f"{counts.get(key)} ({error})",
            expected=f"a schedule, stepped once an epoch, of at least trainer.max_epochs = {epochs}",
            remedy=f"add {setting(f'model.scheduler.{key}', epochs)} to the command",
        ) from error


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
