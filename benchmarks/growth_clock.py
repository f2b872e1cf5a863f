"""A callback that times the epochs of a training. Knows Lightning; nothing of strokelab."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from benchmarks.measure import Watch


class EpochClock(Callback):
    """Writes ``[{"seconds": ..., "processor": ..., "samples": ...}, ...]``, one entry per epoch.

    Args:
        file: where.
    """

    def __init__(self, file: str) -> None:
        self.file = Path(file)
        self.epochs: list[dict[str, float]] = []
        self._watch, self._samples = Watch(), 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the watch."""
        self._watch, self._samples = Watch(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count samples."""
        self._samples += len(batch["image"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the epoch."""
        self.epochs.append({**self._watch.read(), "samples": self._samples})
        self.file.write_text(json.dumps(self.epochs))
