"""Where a stage of a training begins: counts go on from the stage before, optimizer and schedule start afresh.

Knows Lightning's checkpoints and loops; knows no settings and no files.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lightning.pytorch import Trainer

KEY = "stage"
# What a stage takes over from the checkpoint of the one before, beside weights, loops and random state.
_KEPT = ("pytorch-lightning_version", "epoch", "global_step", "loops")


@dataclass(frozen=True)
class Stage:
    """One stage of a training, and what was done before it. The only stage of a training has no name."""

    name: str = ""
    place: int = 0
    first_epoch: int = 0
    first_step: int = 0

    def counted_on(self, trainer: Mapping[str, Any]) -> dict[str, Any]:
        """A trainer's settings whose limits are counted from the beginning of the training; limits below 0 are none."""
        before = {"max_epochs": self.first_epoch, "min_epochs": self.first_epoch}
        before |= {"max_steps": self.first_step, "min_steps": self.first_step}
        counted = {
            name: int(trainer[name]) + done
            for name, done in before.items()
            if trainer.get(name) is not None and int(trainer[name]) >= 0
        }
        return {**trainer, **counted}

    def to_checkpoint(self) -> dict[str, Any]:
        """Plain data, for ``stage_of``."""
        return asdict(self)


def stage_of(checkpoint: Mapping[str, Any]) -> Stage:
    """The stage that a checkpoint lies in."""
    kept = checkpoint.get(KEY)
    return Stage(**kept) if isinstance(kept, Mapping) else Stage()


def stage_of_trainer(trainer: Trainer) -> Stage:
    """The stage that a trainer trains."""
    callbacks: Sequence[Any] = trainer.callbacks  # type: ignore[attr-defined]
    found = (getattr(callback, KEY, None) for callback in callbacks)
    return next((stage for stage in found if isinstance(stage, Stage)), Stage())


def epochs_done(checkpoint: Mapping[str, Any]) -> int:
    """Whole epochs of its stage behind a checkpoint."""
    done = int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
    return done - stage_of(checkpoint).first_epoch


def steps_done(checkpoint: Mapping[str, Any]) -> int:
    """Optimizer steps of its stage behind a checkpoint."""
    return int(checkpoint["global_step"]) - stage_of(checkpoint).first_step


def stage_steps(trainer: Trainer) -> float:
    """Optimizer steps of the stage that a trainer trains; infinite where it has no end."""
    stage, total = stage_of_trainer(trainer), float(trainer.estimated_stepping_batches)
    if not stage.first_epoch or math.isinf(total):
        return total
    batches = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs - stage.first_epoch
    steps = math.inf if trainer.max_steps == -1 else trainer.max_steps - stage.first_step
    return min(batches * epochs, steps)


def next_stage(checkpoint: Mapping[str, Any], name: str) -> Stage:
    """The stage that follows the end of the one a checkpoint lies in; an epoch that was cut short counts as one."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]
    place = stage_of(checkpoint).place + 1
    return Stage(name, place, first_epoch=int(progress["ready"]), first_step=int(checkpoint["global_step"]))


def first_checkpoint(
    former: Mapping[str, Any], weights: Mapping[str, Any], stage: Stage, *, afresh: Mapping[str, Any], data: str
) -> dict[str, Any]:
    """The checkpoint that a stage starts from, as if it had been written by it after the last epoch of the one before.

    Args:
        former: the last checkpoint of the stage before.
        weights: ``state_dict`` to start from: its own, or that of its best checkpoint.
        stage: that begins.
        afresh: states of its optimizer and its schedule before their first step, as a checkpoint keeps them.
        data: the name under which the data module keeps its state.
    """
    epochs, steps = stage.first_epoch, stage.first_step
    content = {key: copy.deepcopy(former[key]) for key in _KEPT if key in former}
    content |= {"epoch": epochs - 1, "global_step": steps, "state_dict": dict(weights), KEY: stage.to_checkpoint()}
    content |= afresh
    content[data] = {**former.get(data, {}), "epoch": epochs, "batch": 0}
    kept = {key: state for key, state in former["callbacks"].items() if "random_state" in (state or {})}
    content["callbacks"] = {key: {**state, "begun_with": None, "ended": None} for key, state in kept.items()}
    _at_rest(content["loops"]["fit_loop"], epochs=epochs, steps=steps)
    return content


def _at_rest(loop: dict[str, Any], *, epochs: int, steps: int) -> None:
    """Make the state of Lightning's fit loop that of a training between two epochs."""
    for counts in (loop["epoch_progress"]["total"], loop["epoch_progress"]["current"]):
        counts.update(dict.fromkeys(counts, epochs))
    loop["epoch_loop.state_dict"]["_batches_that_stepped"] = steps
    automatic = loop["epoch_loop.automatic_optimization.optim_progress"]["optimizer"]["step"]["total"]
    manual = loop["epoch_loop.manual_optimization.optim_step_progress"]["total"]
    for counts in (automatic, manual):  # the stage before may have been of the other kind
        counts.update(dict.fromkeys(counts, steps))
    trained, validated = loop["epoch_loop.batch_progress"], loop["epoch_loop.val_loop.batch_progress"]
    trained["total"].update(dict.fromkeys(trained["total"], trained["total"]["processed"]))
    for counts in (trained["current"], validated["current"], validated["total"]):
        counts.update(dict.fromkeys(counts, 0))
    trained["is_last_batch"] = validated["is_last_batch"] = False
