"""Progress bars a person can read: one line for the epochs' batches, losses beside it."""

from __future__ import annotations

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar


class Progress(RichProgressBar):
    """Lightning's rich bar without the version number, with the numbers rounded."""

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """The values shown beside the bar."""
        items = super().get_metrics(trainer, pl_module)
        items.pop("v_num", None)
        return {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in items.items()}
