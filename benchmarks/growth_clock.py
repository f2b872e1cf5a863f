"""Seconds of the clock and of the processor, and a callback that notes those of epochs. Knows nothing of strokelab."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class Watch:
    """Runs from when it is made."""

    def __init__(self) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds of the clock, and of the processor on all threads of this process."""
        seconds, processor = self.begun
        return {"seconds": time.perf_counter() - seconds, "processor": time.process_time() - processor}


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
