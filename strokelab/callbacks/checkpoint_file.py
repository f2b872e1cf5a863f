"""How a checkpoint becomes a file: whole or absent, on the disk before it has its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import TorchCheckpointIO

from strokelab.callbacks.stage import KEY as STAGE
from strokelab.callbacks.stage import stage_of_trainer
from strokelab.files import replacing


class CheckpointFile(TorchCheckpointIO):
    """Writes checkpoints so that neither a kill nor a loss of power leaves half of one.

    Lightning's own builds the whole file in memory first, writes it to the system's temporary folder and copies it
    from there when that is another disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            DataError: the disk is full; what lay at the path stands.
        """
        with replacing(Path(path), durable=True) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)


def weights_of(trainer: Trainer) -> dict[str, Any]:
    """A checkpoint to predict with, not to go on from: the weights of a training as they are, and where it stands."""
    return {
        "state_dict": trainer.strategy.lightning_module_state_dict(),
        "epoch": trainer.current_epoch,
        "global_step": trainer.global_step,
        "pytorch-lightning_version": L.__version__,
        STAGE: stage_of_trainer(trainer).to_checkpoint(),
    }
