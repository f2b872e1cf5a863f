"""A training whose loss is no number any more ends at once, and says where. Knows steps; knows no model and no loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor
from torch.nn.utils import get_total_norm

from strokelab.buildable import buildable
from strokelab.distributed import together
from strokelab.errors import DataError, RunError, StrokelabError


@dataclass(frozen=True)
class _Step:
    epoch: int
    number: int  # of the optimiser, from 1
    case_ids: tuple[str, ...]
    loss: Tensor  # (), on the device


@buildable(training="callbacks")
class FiniteLoss(Callback):
    """Ends the training at the first loss that is NaN or infinite, before a checkpoint can hold what came of it.

    Looking at a loss waits for the device that computes it: a GPU is asked every ``every_n_steps`` steps, and whenever
    a checkpoint is written; the report still names the very step. Under float16 a scaler leaves out steps whose
    gradients are no numbers, so that one of them means nothing there and ``patience`` in a row do.

    Args:
        every_n_steps: how often a GPU, or a training of several processes, is asked; one CPU process is every step.
        patience: losses in a row under 16-mixed before the training ends.

    Raises:
        DataError: an image of the batch holds NaN or infinity inside its brain.
        RunError: the loss is no number for another reason, or weights are none when a checkpoint is due.
    """

    def __init__(self, every_n_steps: int = 25, patience: int = 20) -> None:
        self.every_n_steps = every_n_steps
        self.patience = patience
        self._steps: list[_Step] = []  # not yet looked at
        self._in_a_row = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing was seen yet."""
        self._steps.clear()
        self._in_a_row = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note the loss; look, if it is time."""
        loss = outputs.get("loss") if isinstance(outputs, Mapping) else outputs
        if not isinstance(loss, Tensor):
            return
        cases = tuple(dict.fromkeys(batch.get("case_id", ()))) if isinstance(batch, Mapping) else ()
        self._steps.append(_Step(trainer.current_epoch, trainer.global_step, cases, loss.detach()))
        cheap = loss.device.type == "cpu" and trainer.world_size == 1
        if cheap or (batch_idx + 1) % self.every_n_steps == 0:
            together(lambda: self._look(trainer, batch))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the rest of the epoch."""
        together(lambda: self._look(trainer, None))

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """No checkpoint is written of a training that has gone wrong; all processes come here."""
        together(lambda: self._look_before_saving(trainer, pl_module))

    def _look_before_saving(self, trainer: Trainer, module: LightningModule) -> None:
        self._look(trainer, None)
        if not torch.isfinite(get_total_norm([value.detach() for value in module.parameters()])):
            raise RunError(
                f"epoch {trainer.current_epoch}, step {trainer.global_step}",
                found=f"weights that are no numbers, after a finite loss ({trainer.precision})",
                expected="finite weights to save; the checkpoint before stands",
                remedy=_remedy(str(trainer.precision)),
            )

    def _look(self, trainer: Trainer, batch: Mapping[str, Any] | None) -> None:
        """Raise if the losses noted so far ask for it.

        Args:
            trainer: for its precision.
            batch: of the newest step, if it is at hand.
        """
        if not self._steps:
            return
        steps, self._steps = self._steps, []
        patience = self.patience if trainer.precision == "16-mixed" else 1
        for step, finite in zip(
            steps, torch.isfinite(torch.stack([step.loss for step in steps])).tolist(), strict=True
        ):
            self._in_a_row = 0 if finite else self._in_a_row + 1
            if self._in_a_row >= patience:
                raise self._error(step, str(trainer.precision), batch if step is steps[-1] else None)

    def _error(self, step: _Step, precision: str, batch: Mapping[str, Any] | None) -> StrokelabError:
        where = f"epoch {step.epoch}, step {step.number}"
        broken = _broken_images(batch) if batch is not None else []
        if broken:
            return DataError(
                f"{where}: {', '.join(broken)}",
                found="voxels inside the brain that are NaN or infinite",
                expected="finite images",
                remedy="mend the image, or leave it out with data.exclude; an augmentation may be the cause, too",
            )
        times = f" for the {self._in_a_row}th time in a row" if self._in_a_row > 1 else ""
        cases = f"cases {', '.join(step.case_ids)}" if step.case_ids else "a batch without case ids"
        return RunError(
            where,
            found=f"loss {float(step.loss)}{times}, in {precision}, on {cases}",
            expected="a finite loss",
            remedy=_remedy(precision),
        )


def _broken_images(batch: Mapping[str, Any]) -> list[str]:
    """The cases of a batch whose image holds something that is no number where there is brain."""
    image, brain, case_ids = batch.get("image"), batch.get("brain"), batch.get("case_id")
    if not isinstance(image, Tensor) or not isinstance(brain, Tensor) or not isinstance(case_ids, Sequence):
        return []
    wrong = (~torch.isfinite(image) & (brain != 0)).flatten(1).any(dim=1).tolist()
    return list(dict.fromkeys(case_id for case_id, bad in zip(case_ids, wrong, strict=True) if bad))


def _remedy(precision: str) -> str:
    """The learning rate comes back with a checkpoint; what the trainer does with gradients can be changed."""
    changes = ["trainer.gradient_clip_val=1"] + ["trainer.precision=32-true"] * (precision != "32-true")
    return f"resume=RUN {' '.join(changes)} goes on from the last checkpoint; or train anew with a lower learning rate"
