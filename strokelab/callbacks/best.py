"""The best checkpoint by the rule of early stopping: only an improvement that counts there is kept here."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from strokelab.buildable import buildable


@buildable(training="callbacks")
class BestModelCheckpoint(ModelCheckpoint):
    """Lightning's, which keeps an epoch only where it is better than the kept one by more than ``min_delta``.

    Args:
        min_delta: that of ``EarlyStopping``, so that the epoch from which it counts is the one that is kept.
        **settings: as ``ModelCheckpoint``.
    """

    def __init__(self, min_delta: float = 0.0, **settings: Any) -> None:
        super().__init__(**settings)
        self.min_delta = min_delta

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether to keep what has the value ``current``."""
        if current is not None:
            current = current + (self.min_delta if self.mode == "min" else -self.min_delta)
        return super().check_monitor_top_k(trainer, current)
