"""What becomes of optimizer and learning rate when a resumed training has other settings for them than before.

Lightning restores both as the checkpoint has them, and new settings would be ignored without a word. Here they hold
from the moment of the resume, as if the new schedule had been followed from the first epoch or step on. Knows
optimizers and schedules; knows no config.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch.optim import Optimizer

from strokelab.callbacks.stage import epochs_done, steps_done

Plain = dict[str, Any]


def begun_with(module: LightningModule) -> Plain:
    """Optimizer and schedule as their settings make them, as plain data: equal for equal settings."""
    optimizer, scheduler, interval, _ = _made(module)
    return {
        "optimizer": type(optimizer).__name__,
        "groups": [_without_weights(group) for group in optimizer.param_groups],
        "scheduler": None if scheduler is None else [type(scheduler).__name__, _plain(scheduler.state_dict())],
        **({} if interval == "epoch" else {"interval": interval}),  # checkpoints of earlier versions do not say
    }


def afresh(module: LightningModule) -> Plain:
    """The states of optimizer and schedule before their first step, as a checkpoint of Lightning keeps them."""
    optimizer, scheduler, _, further = _made(module)
    schedules = [] if scheduler is None else [scheduler.state_dict()]
    return {"optimizer_states": [one.state_dict() for one in (optimizer, *further)], "lr_schedulers": schedules}


def schedule_steps(checkpoint: Mapping[str, Any], interval: str) -> int:
    """How often the schedule of the stage that wrote a checkpoint was stepped.

    Args:
        checkpoint: as loaded.
        interval: ``epoch``, or ``step`` for optimiser steps (several batches each where gradients are accumulated).
    """
    return steps_done(checkpoint) if interval == "step" else epochs_done(checkpoint)


def follow_new_settings(checkpoint: dict[str, Any], module: LightningModule, former: Plain) -> bool:
    """Rewrite a loaded checkpoint so that restoring it gives the module's own optimizer settings and schedule.

    The optimizer's memory (momentum) stays as long as it is the same optimizer. Schedules that look at a metric start
    afresh: nobody knows the numbers that they would have seen.

    Args:
        checkpoint: as loaded, changed in place.
        module: with the settings that hold from now on.
        former: ``begun_with`` of the training that wrote the checkpoint.

    Returns:
        Whether anything differed.
    """
    present = begun_with(module)
    if present == former:
        return False
    optimizer, scheduler, interval, _ = _made(module)
    done = schedule_steps(checkpoint, interval)
    if scheduler is not None and not isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # steps of a schedule without steps of its optimizer
            for _ in range(done):
                scheduler.step()
    checkpoint["lr_schedulers"] = [] if scheduler is None else [scheduler.state_dict()]
    if present["optimizer"] != former["optimizer"]:
        checkpoint["optimizer_states"][0] = optimizer.state_dict()
        return True
    for group, now in zip(checkpoint["optimizer_states"][0]["param_groups"], optimizer.param_groups, strict=True):
        group.update(_without_weights(now))
    return True


def learning_rates(optimizer: Any, scheduler: Any, count: int) -> list[float]:
    """The rate that settings give in each epoch, or at each optimiser step of a schedule that counts these.

    Args:
        optimizer: partial, called with weights.
        scheduler: partial, called with the optimizer; None: constant.
        count: how many epochs or steps, from the schedule's first one on.

    Returns:
        One rate per epoch or step, of the first group of weights; empty for schedules that depend on what is measured.
    """
    made = optimizer([torch.nn.Parameter(torch.zeros(1))])
    schedule = None if scheduler is None else scheduler(made)
    if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau):
        return []
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(count):
            rates.append(float(made.param_groups[0]["lr"]))
            if schedule is not None:
                schedule.step()
    return rates


def _made(module: LightningModule) -> tuple[Optimizer, Any, str, list[Optimizer]]:
    """The optimizer, its schedule, the schedule's interval, and further optimizers, which have no schedule.

    In any of the shapes that Lightning takes; the first of several optimizers is the one.
    """
    made: Any = module.configure_optimizers()
    if isinstance(made, dict):
        made = made["optimizer"], made.get("lr_scheduler")
    elif not isinstance(made, (tuple, list)) or all(isinstance(one, Optimizer) for one in made):
        made = made, None
    optimizers, schedulers = (_listed(part) for part in made)
    scheduler = schedulers[0] if schedulers else None
    interval = str(getattr(module, "scheduler_interval", "epoch"))
    if isinstance(scheduler, dict):
        scheduler, interval = scheduler["scheduler"], str(scheduler.get("interval", "epoch"))
    return optimizers[0], scheduler, interval, optimizers[1:]


def _listed(made: Any) -> list[Any]:
    return list(made) if isinstance(made, (tuple, list)) else [] if made is None else [made]


def _without_weights(group: dict[str, Any]) -> Plain:
    return {name: _plain(value) for name, value in group.items() if name != "params"}


def _plain(value: Any) -> Any:
    """Numbers, words and lists: what a checkpoint may hold and ``==`` compares."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else type(value).__name__
