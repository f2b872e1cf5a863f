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
from lightning.pytorch.utilities.exceptions import SIGTERMException


class ResumePoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after every epoch, and every ``every_n_steps`` optimiser steps if asked.

    A checkpoint counts once the numbers of its step are in the loggers, which Lightning writes a moment later: until
    then it waits under another name and the previous one stands, so that ``metrics.csv`` lacks no row wherever a kill
    falls. Within an epoch nothing is saved at its last batch (Lightning 2.6 counts such a checkpoint wrongly and a
    resume repeats the epoch); the epoch's own save follows at once. PyTorch's random state travels along, so dropout
    continues where it was.

    Args:
        folder: the run folder's ``checkpoints``.
        every_n_steps: also save within epochs; None: at their ends only.
    """

    def __init__(self, folder: str | Path, every_n_steps: int | None = None) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.waiting = self.path.with_name(f".{self.path.name}.part")
        self.every_n_steps = every_n_steps
        self._saved = False  # whether a checkpoint of ours waits to count
        self._random_state: torch.Tensor | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove what a killed run had not finished."""
        self._discard(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Put the random state back, once, after a resume: only now has every other user of it drawn."""
        self._publish(trainer)
        if self._random_state is not None:
            torch.set_rng_state(self._random_state)
            self._random_state = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within the epoch."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0  # half-gathered gradients are not saved
        due = self.every_n_steps and trainer.global_step % self.every_n_steps == 0
        due = due or trainer.global_step == trainer.max_steps  # the epoch may be taken up again with more steps
        if due and stepped and not trainer.is_last_batch:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the finished epoch; one that ended with the last step allowed was saved a moment ago, as unfinished."""
        if trainer.is_last_batch or not self._saved:
            self._save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch before is logged: let its checkpoint count."""
        self._publish(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last epoch is logged: let its checkpoint count."""
        self._publish(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """SIGTERM is only heard where everything is logged; after anything else the previous checkpoint stands."""
        if isinstance(exception, SIGTERMException):
            self._publish(trainer)
        else:
            self._discard(trainer)

    def state_dict(self) -> dict[str, Any]:
        """PyTorch's CPU random state."""
        return {"random_state": torch.get_rng_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the random state until the first batch."""
        self._random_state = state_dict["random_state"]

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.waiting)
        self._saved = True

    def _publish(self, trainer: Trainer) -> None:
        if self._saved and trainer.is_global_zero:
            os.replace(self.waiting, self.path)
        self._saved = False

    def _discard(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            self.waiting.unlink(missing_ok=True)
        self._saved = False
