"""The weights at the end of every cycle of the learning rate, kept for an ensemble: Huang 2017; Tomita 2020.

Knows Lightning's trainer; knows no model and no schedule but by its ``cycle_epochs``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch.optim import Optimizer

from strokelab.buildable import buildable
from strokelab.callbacks.checkpoint_file import CheckpointFile, weights_of
from strokelab.callbacks.resume_point import checkpoints_of
from strokelab.callbacks.stage import stage_of_trainer
from strokelab.distributed import together
from strokelab.errors import ConfigError


@buildable(training="callbacks")
class Snapshots(Callback):
    """Writes ``checkpoints/snapshot-<stage>-<epoch>.ckpt``, without stages ``snapshot-<epoch>.ckpt``.

    Epochs are counted from 1 within the stage and have four digits. A snapshot holds the weights after the last step of
    its epoch, which a schedule with restarts makes at the cycle's lowest rate, and under ``snapshot`` that epoch and
    that rate (before the restart); an epoch that is cut short leaves none.

    It is written before ``last.ckpt`` counts its epoch. A training that goes on from an earlier point removes those
    of its stage that lie behind that point and makes them again; the others stay as they are.

    Args:
        folder: where they go; None: beside ``last.ckpt``.
        every_n_epochs: one after every so many epochs of the stage; None, and no ``epochs``: the ``cycle_epochs`` of
            the schedule.
        epochs: of the stage after which there is one, in place of a regular distance.

    Raises:
        ConfigError: both, or epochs below 1.

    Logs ``snapshot/rate``, the learning rate of the last step, in the epochs that leave a snapshot.
    """

    def __init__(
        self, folder: str | Path | None = None, every_n_epochs: int | None = None, epochs: Sequence[int] | None = None
    ) -> None:
        given = [every_n_epochs] if every_n_epochs is not None else list(epochs or ())
        if (every_n_epochs is not None and epochs is not None) or any(int(epoch) < 1 for epoch in given):
            raise ConfigError(
                "callbacks.snapshots",
                found=f"every_n_epochs={every_n_epochs}, epochs={epochs}",
                expected="one of the two, counted from 1, or none: the cycles of the schedule",
                remedy="leave one out: ++callbacks.snapshots.every_n_epochs=null",
            )
        self.folder = None if folder is None else Path(folder)
        self.every_n_epochs = every_n_epochs
        self.epochs = None if epochs is None else frozenset(map(int, epochs))
        self._rate = 0.0
        self._writer = CheckpointFile()

    def check_schedule(self, schedule: Any) -> None:
        """Refuse a training that does not say when a snapshot is due.

        Args:
            schedule: of the learning rate; None: constant.

        Raises:
            ConfigError: neither the settings nor the schedule do.
        """
        if self.epochs is None and self._distance(schedule) is None:
            raise ConfigError(
                "callbacks.snapshots",
                found=f"no epochs, and a learning rate without cycles ({type(schedule).__name__})",
                expected="when a snapshot is due",
                remedy="add ++callbacks.snapshots.every_n_epochs=50, or ++callbacks.snapshots.epochs=[50,100,150]",
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove what a killed training left behind the point from which it goes on."""
        done = self._done(trainer)
        first = self._path(trainer, 0)
        folder, start = first.parent, first.name.removesuffix("0000.ckpt")

        def remove() -> None:
            if trainer.is_global_zero:
                for path in folder.glob(f"{start}*.ckpt"):
                    number = path.stem.removeprefix(start)
                    if number.isdecimal() and int(number) > done:
                        path.unlink()

        together(remove)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note the rate of the step: after the last one of a cycle the schedule has restarted."""
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the snapshot of an epoch that is whole, if one is due."""
        epoch = self._done(trainer) + 1
        if not trainer.is_last_batch or not self._due(trainer, epoch):
            return
        content = weights_of(trainer) | {"snapshot": {"epoch": epoch, "rate": self._rate}}

        def write() -> None:
            if trainer.is_global_zero:
                self._writer.save_checkpoint(content, self._path(trainer, epoch))

        together(write)
        pl_module.log("snapshot/rate", self._rate, sync_dist=True, reduce_fx="max")

    def _due(self, trainer: Trainer, epoch: int) -> bool:
        if self.epochs is not None:
            return epoch in self.epochs
        schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
        distance = self._distance(next(iter(schedules), None))
        return distance is not None and epoch % distance == 0

    def _distance(self, schedule: Any) -> int | None:
        return self.every_n_epochs or getattr(schedule, "cycle_epochs", None)

    def _done(self, trainer: Trainer) -> int:
        """Epochs of the stage before the one under way."""
        return trainer.current_epoch - stage_of_trainer(trainer).first_epoch

    def _path(self, trainer: Trainer, epoch: int) -> Path:
        words = ["snapshot", stage_of_trainer(trainer).name, f"{epoch:04d}"]
        return (self.folder or checkpoints_of(trainer)) / f"{'-'.join(filter(None, words))}.ckpt"
