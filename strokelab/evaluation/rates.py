"""The learning rate that a run's settings give over its epochs, stage by stage. Predicts nothing and plots nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from strokelab.callbacks.schedule import learning_rates
from strokelab.configuration import Settings, build
from strokelab.configuration.stages import of_stages

_POINTS = 2000
"""Of a curve; a schedule of 200 000 steps has more than a figure shows."""


def rates_of(settings: Settings, history: pd.DataFrame | None) -> pd.DataFrame | None:
    """The rate over the epochs that were trained, as the settings have it: no log is needed.

    Args:
        settings: of the run.
        history: its ``metrics.csv``; epochs and steps of a stage are those it has.

    Returns:
        ``epoch``: epochs done when the rate applies, fractions within an epoch for schedules of steps; ``stage``, from
        1; ``rate``; ``restart``: it is higher than just before, within the stage. None: no history, no schedule, or one
        that depends on what is measured.
    """
    if history is None or history.empty:
        return None
    parts, first_step = [], 0
    for number, stage in enumerate(of_stages(settings), start=1):
        rows = history[history["stage"] == number] if "stage" in history else history
        if rows.empty:
            break
        first, last = int(rows["epoch"].min()), int(rows["epoch"].max())
        steps = int(rows["step"].max()) + 1 - first_step
        part = _of_stage(stage["model"], epochs=last + 1 - first, steps=steps)
        if part is None:
            return None
        parts.append(part.assign(epoch=part["epoch"] + first, stage=number))
        first_step += steps
    return pd.concat(parts, ignore_index=True) if parts else None


def _of_stage(model: Mapping[str, Any], *, epochs: int, steps: int) -> pd.DataFrame | None:
    optimizer, scheduler = model.get("optimizer"), model.get("scheduler")
    if not isinstance(optimizer, Mapping) or not isinstance(scheduler, Mapping):
        return None
    per_epoch = max(1, round(steps / epochs)) if model.get("scheduler_interval") == "step" else 1
    rates = np.asarray(learning_rates(build(optimizer), build(scheduler), epochs * per_epoch))
    if not rates.size:
        return None
    restart = np.append(False, np.diff(rates) > 0)
    # The ends of a cycle, and the last rate, are kept whatever is left out.
    ends = np.flatnonzero(restart)
    shown = np.unique([*range(0, len(rates), -(-len(rates) // _POINTS)), *ends, *(ends - 1), len(rates) - 1])
    frame = pd.DataFrame({"epoch": np.arange(len(rates)) / per_epoch, "rate": rates, "restart": restart})
    return frame.iloc[shown]
