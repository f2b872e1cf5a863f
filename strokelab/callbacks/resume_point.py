"""The checkpoint a killed run continues from, with the same numbers as if it had never been killed.

Knows Lightning's trainer; knows no model.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint


class ResumePoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after every epoch, and every ``every_n_steps`` optimiser steps if asked.

    The file is replaced whole: the previous one stands until the next is complete. Within an epoch nothing is saved
    at its last batch (Lightning 2.6 counts such a checkpoint wrongly and a resume repeats the epoch); the epoch's own
    save follows at once. PyTorch's random state travels along, so dropout continues where it was.

    Args:
        folder: the run folder's ``checkpoints``.
        every_n_steps: also save within epochs; None: at their ends only.
    """

    def __init__(self, folder: str | Path, every_n_steps: int | None = None) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.every_n_steps = every_n_steps
        self._random_state: torch.Tensor | None = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Put the random state back, once, after a resume: only now has every other user of it drawn."""
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)
            self._random_state = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within the epoch."""
        if self.every_n_steps and trainer.global_step % self.every_n_steps == 0 and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the finished epoch."""
        self._save(trainer)

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's CPU random state."""
        return {"random_state": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the random state until the first batch."""
        self._random_state = state_dict["random_state"]

    def _save(self, trainer: Trainer) -> None:
        temporary = self.path.with_name(f".{self.path.name}.part")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            os.replace(temporary, self.path)
