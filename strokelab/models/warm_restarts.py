"""Cosine annealing with warm restarts, after every optimiser step: Loshchilov and Hutter 2017; Tomita 2020."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts

from strokelab.buildable import buildable


class _Restarts(CosineAnnealingWarmRestarts):
    interval = "step"
    cycle_epochs: int


@buildable("model")
def cosine_restarts(
    optimizer: Optimizer, *, cycle_epochs: int, steps_per_epoch: int, eta_min: float = 0.0
) -> CosineAnnealingWarmRestarts:
    """A rate that falls in equal cycles, ``eta_min + (lr - eta_min) (1 + cos(pi t / T)) / 2``.

    t counts the optimiser steps since the last restart, T = ``cycle_epochs * steps_per_epoch``: the rate is ``lr`` at
    the start of a cycle, the mean of ``lr`` and ``eta_min`` in its middle and lowest at its last step. Needs
    ``model.scheduler_interval: step``. In a stage, steps are counted from its beginning.

    Args:
        optimizer: whose rate it is.
        cycle_epochs: length of a cycle, in epochs; ``callbacks.snapshots`` keeps the weights at its end.
        steps_per_epoch: optimiser steps of an epoch; ``???`` in yaml: as the data have it.
        eta_min: the rate that a cycle falls to.

    Raises:
        ValueError: a length is no whole number above 0.
    """
    schedule = _Restarts(optimizer, T_0=cycle_epochs * steps_per_epoch, eta_min=eta_min)
    schedule.cycle_epochs = cycle_epochs
    return schedule
