"""Early stopping, and the best checkpoint by its rule: only an improvement that counts there is kept here.

Both may begin with a later epoch, for a training whose first epochs serve something else.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer, callbacks
from torch import Tensor

from strokelab.buildable import buildable


@buildable(training="callbacks")
class BestModelCheckpoint(callbacks.ModelCheckpoint):
    """Lightning's, which keeps an epoch only where it is better than the kept one by more than ``min_delta``.

    Args:
        min_delta: that of ``EarlyStopping``, so that the epoch from which it counts is the one that is kept.
        first_epoch: epochs of the training, its stages together, of which none is kept; those after them are compared.
        **settings: as ``ModelCheckpoint``.
    """

    def __init__(self, min_delta: float = 0.0, first_epoch: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.min_delta = min_delta
        self.first_epoch = first_epoch

    def check_monitor_top_k(self, trainer: Trainer, current: Tensor | None = None) -> bool:
        """Whether to keep what has the value ``current``."""
        if trainer.current_epoch < self.first_epoch:
            return False
        if current is not None:
            current = current + (self.min_delta if self.mode == "min" else -self.min_delta)
        return super().check_monitor_top_k(trainer, current)


@buildable(training="callbacks")
class EarlyStopping(callbacks.EarlyStopping):
    """Lightning's, which counts from a later epoch on.

    Args:
        first_epoch: epochs of the training, its stages together, that neither count nor are compared with.
        **settings: as Lightning's ``EarlyStopping``.
    """

    def __init__(self, first_epoch: int = 0, **settings: Any) -> None:
        super().__init__(**settings)
        self.first_epoch = first_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the number, if its epoch counts."""
        if trainer.current_epoch >= self.first_epoch:
            super().on_train_epoch_end(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the number, if its epoch counts."""
        if trainer.current_epoch >= self.first_epoch:
            super().on_validation_end(trainer, pl_module)
