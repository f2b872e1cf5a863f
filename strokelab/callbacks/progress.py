"""Readable progress bars: one line for the epochs' batches, losses beside it."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar

from strokelab import terminal
from strokelab.buildable import buildable


@buildable(training="callbacks")
class Progress(RichProgressBar):
    """Lightning's rich bar, epochs counted from 1, no version number, rounded numbers, unwrapped without a terminal.

    Args:
        **settings: as Lightning's.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"console_kwargs": terminal.limits(), **settings})

    def _get_train_description(self, current_epoch: int) -> str:
        """What stands before the bar: Lightning's own says "Epoch 2/2" of the last of three."""
        last = self.trainer.max_epochs
        return f"Epoch {current_epoch + 1}{'' if last in (None, -1) else f'/{last}'}".ljust(
            len(self.validation_description)
        )

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The values shown beside the bar."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in items.items()}
