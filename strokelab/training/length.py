"""How many optimiser steps a training has, told before its model is built: schedules that count steps need it.

Knows settings and the batches of an epoch; knows no model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strokelab.configuration import Settings
from strokelab.configuration.late_facts import LENGTHS, MISSING
from strokelab.sampling.order import EpochBatchSampler
from strokelab.training.processes import process_count

if TYPE_CHECKING:
    from strokelab.data.datamodule import CohortDataModule

_ACCUMULATES = "GradientAccumulationScheduler"  # another number of steps in each epoch


def interval_of(settings: Settings) -> str:
    """When the schedule is stepped: after every ``epoch`` or every optimiser ``step``."""
    return str(settings["model"].get("scheduler_interval", "epoch"))


def steps_per_epoch(settings: Settings, datamodule: CohortDataModule) -> int | None:
    """Optimiser steps of an epoch; None where their number changes from epoch to epoch.

    Args:
        settings: of the training, the plan in place.
        datamodule: set up.
    """
    if any(str((node or {}).get("_target_")).endswith(_ACCUMULATES) for node in settings["callbacks"].values()):
        return None
    trainer, loader = settings["trainer"], datamodule.train_dataloader()
    processes = process_count(trainer)
    samples, drop = len(loader.dataset), datamodule.drop_last  # type: ignore[arg-type]
    shared = EpochBatchSampler(samples, datamodule.batch_size, 0, drop_last=drop, world_size=processes)
    limit = trainer.get("overfit_batches") or trainer.get("limit_train_batches")
    batches = len(shared)
    if limit is not None:  # as Lightning: a whole number counts batches, a fraction is a share of them
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    return -(-batches // int(trainer.get("accumulate_grad_batches") or 1))  # the last batch steps in any case


def length_of(settings: Settings, per_epoch: int | None) -> int | None:
    """How often a training steps its schedule: its epochs, or its optimiser steps; None: it has no end of its own.

    Args:
        settings: of the training.
        per_epoch: optimiser steps of an epoch; None: unknown.
    """
    trainer = settings["trainer"]
    epochs, most = (
        int(-1 if value is None else value) for value in (trainer.get("max_epochs"), trainer.get("max_steps"))
    )
    if interval_of(settings) == "epoch":
        return epochs if epochs >= 0 else None
    limits = [most] if most >= 0 else []
    limits += [epochs * per_epoch] if epochs >= 0 and per_epoch is not None else []
    return min(limits, default=None)


def schedule_facts(settings: Settings, datamodule: CohortDataModule) -> dict[str, int | None]:
    """What may be left open (``???``) in ``model.scheduler``: how long the training is, in steps of its schedule.

    Args:
        settings: of the training, the plan in place.
        datamodule: set up.

    Returns:
        Nothing where nothing is open: counting reads the places of all samples.
    """
    scheduler = settings["model"].get("scheduler") or {}
    if MISSING not in (scheduler.get(key) for key in LENGTHS):
        return {}
    per_epoch = steps_per_epoch(settings, datamodule)
    length = length_of(settings, per_epoch)
    return {key: per_epoch if key == "steps_per_epoch" else length for key in LENGTHS}
