"""A learning rate that falls when a logged number stops improving. Knows PyTorch's schedule; knows no trainer."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from strokelab.buildable import buildable

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
