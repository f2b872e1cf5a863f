"""A learning rate that falls when a logged number stops improving. Knows PyTorch's schedule; knows no trainer."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from strokelab.buildable import buildable
from strokelab.errors import ConfigError

DEFAULT_MONITOR = "val/loss"


@buildable("model")
class Plateau(ReduceLROnPlateau):
    """PyTorch's ``ReduceLROnPlateau`` that says what it looks at.

    It looks at the end of each epoch in which the number was logged anew: with validation every 5 epochs, a patience
    of 2 is 10 epochs.

    Args:
        optimizer: whose rate it is.
        monitor: what it looks at, e.g. ``val/loss`` (``mode=min``), ``val/pooled_dice`` (``mode=max``).
        **settings: as ``ReduceLROnPlateau``.
    """

    def __init__(self, optimizer: Optimizer, monitor: str = DEFAULT_MONITOR, **settings: Any) -> None:
        super().__init__(optimizer, **settings)
        self.monitor = monitor


def check_interval(interval: str, schedule: str, *, waits: bool, counts: bool = False) -> None:
    """Whether a schedule can be stepped as often as ``model.scheduler_interval`` says.

    Args:
        interval: ``epoch`` or ``step``.
        schedule: its name.
        waits: it waits for a plateau.
        counts: its lengths are optimiser steps.

    Raises:
        ConfigError: another word, a schedule that waits for a plateau is to be stepped within epochs, or one that
            counts steps after epochs.
    """
    if counts and interval != "step":
        raise ConfigError(
            "model.scheduler_interval",
            found=f"{interval} for {schedule}, whose cycles are counted in optimiser steps",
            expected="step",
            remedy="add ++model.scheduler_interval=step to the command",
        )
    if interval not in ("epoch", "step") or (waits and interval == "step"):
        raise ConfigError(
            "model.scheduler_interval",
            found=f"{interval} for {schedule}" + (", which looks at a number at the end of an epoch" if waits else ""),
            expected="epoch" if waits else "epoch, or step: after every optimiser step",
            remedy="add ++model.scheduler_interval=epoch to the command",
        )
