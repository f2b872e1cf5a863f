"""The moving average of a training's weights, kept beside them. Knows Lightning's trainer; knows no model."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging

from strokelab.buildable import buildable
from strokelab.callbacks.checkpoint_file import CheckpointFile, weights_of
from strokelab.callbacks.resume_point import checkpoints_of
from strokelab.callbacks.stage import stage_of_trainer
from strokelab.distributed import together


@buildable(training="callbacks")
class AveragedWeights(EMAWeightAveraging):
    """Writes ``checkpoints/ema.ckpt`` when training ends; the training itself and its numbers stay as without it.

    Lightning's own makes the averaged weights those of every checkpoint, of validation, and of the next stage. Here
    they are beside the training's, in ``last.ckpt`` so that a resume goes on with them, and at its end in a file of
    their own (``checkpoint=ema``). A stage averages from its own beginning.

    Args:
        decay: of the average, at each update.
        every_n_steps: how often it is updated, in optimiser steps.
        from_step: the first optimiser step of the stage that counts, from 0.
        use_buffers: average the statistics of batch norm, too; else they are those of the beginning.
        device: where the averaged weights lie; None: where the model does.
    """

    def __init__(
        self,
        decay: float = 0.999,
        *,
        every_n_steps: int = 1,
        from_step: int = 0,
        use_buffers: bool = True,
        device: str | None = None,
    ) -> None:
        super().__init__(device, use_buffers, decay, every_n_steps, from_step)
        self._first_step = 0
        self._writer = CheckpointFile()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Bring the average to the model's device; until its first update it is the model."""
        average = self._average
        average.to(self._device or pl_module.device)
        self._first_step = stage_of_trainer(trainer).first_step
        if not average.n_averaged:
            self._of_module().load_state_dict(pl_module.state_dict())

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """Whether a step counts; see ``EMAWeightAveraging``."""
        return step_idx is not None and bool(super().should_update(step_idx - self._first_step))

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing: the training's own weights are validated."""

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing, see ``on_validation_epoch_start``."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the averaged weights, before the last checkpoint counts."""
        # By now the trainer counts the last epoch as one of those behind it.
        content = weights_of(trainer) | {
            "state_dict": self._of_module().state_dict(),
            "epoch": trainer.current_epoch - 1,
        }

        def write() -> None:
            if trainer.is_global_zero:
                self._writer.save_checkpoint(content, checkpoints_of(trainer) / "ema.ckpt")

        together(write)

    def state_dict(self) -> dict[str, Any]:
        """The average, and its latest update."""
        return {**super().state_dict(), "average": self._average.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on averaging."""
        super().load_state_dict(state_dict)
        self._average.load_state_dict(state_dict["average"])

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Nothing: the average is this callback's state, the weights of the checkpoint are the training's."""

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Nothing, see ``on_save_checkpoint``."""

    @property
    def _average(self) -> torch.optim.swa_utils.AveragedModel:
        assert self._average_model is not None  # from setup on
        return self._average_model

    def _of_module(self) -> torch.nn.Module:
        return self._average.module
