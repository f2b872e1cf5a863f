"""The checkpoint a killed run continues from, with the same numbers as if it had never been killed.

Knows Lightning's trainer; knows no model.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, StochasticWeightAveraging
from lightning.pytorch.plugins.io import TorchCheckpointIO

from strokelab.buildable import buildable
from strokelab.callbacks.checkpoint_file import CheckpointFile
from strokelab.callbacks.early_end import early_end
from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.callbacks.preemption import STOP, Stopped
from strokelab.callbacks.random_state import random_state, set_random_state
from strokelab.callbacks.schedule import begun_with, follow_new_settings
from strokelab.callbacks.stage import KEY as STAGE
from strokelab.callbacks.stage import Stage
from strokelab.distributed import gathered, own
from strokelab.files import sync


@buildable(training="callbacks")
class ResumePoint(Checkpoint):
    """Writes ``checkpoints/last.ckpt`` after every epoch, within epochs when asked or due, and before a stop.

    A checkpoint counts once the numbers of its step are in the loggers, which Lightning writes a moment later: until
    then it waits under another name and the previous one stands, so that ``metrics.csv`` lacks no row wherever a kill
    falls. Within an epoch nothing is saved at its last batch (Lightning 2.6 counts such a checkpoint wrongly and a
    resume repeats the epoch); the epoch's own save follows at once. The random state of every process travels along,
    so dropout continues where it was; saving consumes none, so the numbers do not depend on when it happens.

    A stop (``preemption``) is heard by one process and heeded by all, at the end of the same step. While validating
    there is nothing exact to save: the work ends at once and the previous checkpoint stands.

    A training that something ended before its length (``early_end``) stays ended: its last checkpoint says so.

    Args:
        folder: the run folder's ``checkpoints``.
        every_n_steps: also save within epochs, every so many optimiser steps; None: not by steps.
        every_minutes: also save within epochs when the latest checkpoint is older; None: not by time.
        keep_previous: keep the checkpoint before the last one as ``previous.ckpt``, for the day the last is unreadable.
    """

    def __init__(
        self,
        folder: str | Path,
        every_n_steps: int | None = None,
        every_minutes: float | None = 10,
        keep_previous: bool = True,
    ) -> None:
        self.path = Path(folder) / "last.ckpt"
        self.previous = self.path.with_name("previous.ckpt")
        self.waiting = self.path.with_name(f".{self.path.name}.part")
        self.every_n_steps = every_n_steps
        self.every_minutes = every_minutes
        self.keep_previous = keep_previous
        self.stage = Stage()
        self.stays_ended = False  # the first process knows: what ended this training holds, no further step
        self.ended: dict[str, Any] | None = None  # why the training ended early
        self._saved = False  # whether a checkpoint of ours waits to count
        self._stopping = False  # whether all processes agreed to stop after it
        self._saved_at = 0.0
        self._random_state: dict[str, Any] | None = None
        self._begun_with: dict[str, Any] | None = None
        self._link = keep_previous

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove what a killed run had not finished; see that checkpoints are safe and signals come to us."""
        self._discard(trainer)
        self._stopping = False
        self._begun_with = begun_with(pl_module) if stage == "fit" else None
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            trainer.strategy.checkpoint_io = CheckpointFile()
        # Lightning's own handler for SIGTERM talks to other processes from within the handler, which may deadlock,
        # and lets the run end with exit status 0. Its place is ours.
        connector = getattr(trainer, "_signal_connector", None)
        if stage == "fit" and connector is not None:
            connector.register_signal_handlers = lambda: None

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A training that ended early before takes no further step."""
        trainer.should_stop |= bool(trainer.strategy.broadcast(self.stays_ended))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From now on a stop waits for the end of a step."""
        self._saved_at = time.monotonic()
        if self.stage.place and trainer.global_step == self.stage.first_step:
            # Lightning takes every training that counts steps for one within an epoch, and would count a batch more.
            trainer.fit_loop.epoch_loop.restarting = False
        # Where the last one could not be read, the one before stays what it is until there is another.
        self._link = self.keep_previous and Path(trainer.ckpt_path or "").name != self.previous.name
        STOP.hear_again()
        STOP.act()
        STOP.wait_for_step = True

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Put the random state back, once, after a resume: only now has every other user of it sampled."""
        self._publish(trainer)
        if self._random_state is not None:
            set_random_state(self._random_state, trainer.strategy.root_device)
            self._random_state = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within the epoch."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0  # half-gathered gradients are not saved
        if not stepped or trainer.is_last_batch:
            return
        due = bool(self.every_n_steps) and trainer.global_step % (self.every_n_steps or 1) == 0
        # The epoch may be taken up again with more steps.
        due = due or trainer.global_step == trainer.max_steps or early_end(trainer) is not None
        if self._look_up(trainer) or due:
            self._save(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nothing that happens until its end is saved: a stop ends it at once."""
        if not trainer.sanity_checking:
            STOP.act()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Training steps follow."""
        STOP.wait_for_step = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the finished epoch; one that ended with the last step allowed was saved a moment ago, as unfinished."""
        if self.stage.name:
            pl_module.log("stage", float(self.stage.place + 1), sync_dist=True, reduce_fx="max")
        if trainer.is_last_batch or not self._saved:
            self._look_up(trainer)
            self._save(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The epoch before is logged: let its checkpoint count."""
        self._publish(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last epoch is logged: let its checkpoint count, with weights that were averaged just now."""
        if any(isinstance(callback, StochasticWeightAveraging) for callback in trainer.callbacks):  # type: ignore[attr-defined]
            self._save(trainer)
        self._publish(trainer)
        STOP.act()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """What is not logged does not count: the previous checkpoint stands."""
        self._discard(trainer)

    def state_dict(self) -> dict[str, Any]:
        """The random states of every process, and what optimizer and schedule were made of."""
        return {"random_state": gathered(random_state()), "begun_with": self._begun_with, "ended": self.ended}

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Say in which stage the training is, if it has several."""
        if self.stage.name:
            checkpoint[STAGE] = self.stage.to_checkpoint()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Let settings of optimizer and schedule hold that are not those the checkpoint was made with."""
        former = checkpoint["callbacks"].get(self.state_key, {}).get("begun_with")
        if former is not None:  # earlier versions did not say
            follow_new_settings(checkpoint, pl_module, former)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember this process's random states until the first batch, and how the training ended, if it did."""
        self.ended = state_dict.get("ended")
        self._random_state = own(state_dict["random_state"])

    def _look_up(self, trainer: Trainer) -> bool:
        """Whether any process has a reason to save now, which all must know; a reason may be the wish to stop."""
        late = trainer.is_global_zero and self.every_minutes is not None
        late = late and time.monotonic() - self._saved_at > 60 * (self.every_minutes or 0)
        if not trainer.strategy.reduce_boolean_decision(late or STOP.requested, all=False):
            return False
        self._stopping = trainer.strategy.reduce_boolean_decision(STOP.requested, all=False)
        if self._stopping:
            STOP.agreed = True
            # SLURM's notice may reach the processes of several nodes one after the other; the first asks for a requeue.
            heard = gathered(STOP.signal)
            STOP.signal = STOP.signal or next(filter(None, heard), None)
            # Lightning's observer kills this process when another one ends with a status other than 0, as all will.
            started = getattr(trainer.strategy.launcher, "procs", [])
            STOP.others.extend(started)
            started.clear()
        return True

    def _save(self, trainer: Trainer) -> None:
        self.ended = early_end(trainer)
        trainer.save_checkpoint(self.waiting)
        self._saved = True
        self._saved_at = time.monotonic()

    def _publish(self, trainer: Trainer) -> None:
        if self._saved and trainer.is_global_zero:
            for logger in trainer.loggers:
                logger.save()
                if isinstance(logger, MetricsFile):
                    logger.sync()
            if self._link and self.path.is_file():
                self.previous.unlink(missing_ok=True)
                with suppress(OSError):  # a file system without hard links keeps no previous one
                    os.link(self.path, self.previous)
            os.replace(self.waiting, self.path)
            sync(self.path.parent)
            self._link = self.keep_previous
        self._saved = False
        if self._stopping:
            self._stop(trainer)

    def _stop(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            STOP.end()
        trainer.strategy.barrier("stop")  # SLURM may end what is left of a job when its first process has ended
        raise Stopped(STOP.signal)

    def _discard(self, trainer: Trainer) -> None:
        if trainer.is_global_zero:
            self.waiting.unlink(missing_ok=True)
        self._saved = False


def checkpoints_of(trainer: Trainer) -> Path:
    """The folder of a training's checkpoints: where its ``ResumePoint`` writes."""
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    return next(each.path.parent for each in callbacks if isinstance(each, ResumePoint))
