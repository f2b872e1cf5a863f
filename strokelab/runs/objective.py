"""The number that a sweep compares its members by: the setting ``objective``, read from the run folder."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strokelab.command_words import setting
from strokelab.configuration import Settings
from strokelab.errors import ConfigError
from strokelab.runs.folder import METRICS, read_score, read_settings, read_status
from strokelab.terminal import door_command

TEST_DICE = "test/dice"
_SHORT = 1000  # steps in which our small experiments learn to mark lesions


def read_objective(folder: Path) -> float | None:
    """A finished run's objective.

    ``test/dice`` is the mean Dice of its test cases. ``val/...`` is a column of ``metrics.csv``, as it stood for the
    weights that the run evaluates: with ``checkpoint: last`` its last value, else that of the epoch in which the
    checkpoint was chosen.

    Returns:
        None where there is no such number, or no finite one.

    Raises:
        RunError: there is no run.
    """
    settings = read_settings(folder)
    name = str(settings.get("objective", TEST_DICE))
    if name == TEST_DICE:
        return read_score(folder)
    rows = _rows(folder / METRICS)
    if settings.get("checkpoint", "last") != "last":
        epoch = _chosen_epoch(rows, settings)
        rows = [row for row in rows if row.get("epoch") == epoch]
    values = [row[name] for row in rows if row.get(name)]
    return _finite(values[-1]) if values else None


def nothing_found(folder: Path) -> str:
    """What to say of a finished run whose test cases have a mean Dice of 0.000; "" where there is nothing to say."""
    score = read_score(folder)
    if score is None or score >= 0.0005:
        return ""
    steps = read_status(folder).get("steps")
    trained = f"{steps} steps" if isinstance(steps, int) else "an unknown number of steps"
    epochs = (read_settings(folder).get("trainer") or {}).get("max_epochs")
    if isinstance(steps, int) and steps >= _SHORT:
        return f"Dice is 0: after {trained} no lesion is found. See {METRICS} of {folder}: did the loss fall?"
    return (
        f"Dice is 0: training was short ({trained}), and the model marks no lesion yet. Train longer: "
        f"{door_command('train')} {setting('resume', folder)} "
        f"trainer.max_epochs={10 * epochs if isinstance(epochs, int) and epochs > 0 else 50}"
    )


def check_objective(settings: Settings, *, validates: bool) -> None:
    """Refuse an objective that the run will not have.

    Args:
        settings: of the run.
        validates: the split has a validation part.

    Raises:
        ConfigError: it is no number of the validation or test part, or there is no validation part.
    """
    name = settings.get("objective", TEST_DICE)
    if name != TEST_DICE and not str(name).startswith("val/"):
        raise ConfigError(
            "objective",
            found=repr(name),
            expected=f"{TEST_DICE}, or a number of the validation part such as val/pooled_dice",
            remedy="name a column of metrics.csv that begins with val/",
        )
    if name != TEST_DICE and not validates:
        raise ConfigError(
            "objective",
            found=f"{name} and no validation part",
            expected="a split with a validation part",
            remedy=validation_remedy(settings),
        )


def validation_remedy(settings: Settings) -> str:
    """How a split without a validation part gets one, as a remedy says it."""
    split = settings.get("split") or {}
    if "val_fraction" not in split:
        return "choose a split that has one, e.g. split=holdout"
    return "name cases with the part val in its file" if split["val_fraction"] else "set split.val_fraction=0.1"


def _chosen_epoch(rows: list[dict[str, str]], settings: Settings) -> str | None:
    """The epoch in which the checkpoint that the run evaluates was best; None where none was chosen."""
    callbacks: Mapping[str, Any] = settings.get("callbacks") or {}
    nodes = [node for node in callbacks.values() if node and node.get("filename") == settings["checkpoint"]]
    monitor = str(nodes[0].get("monitor")) if nodes else ""
    values = [(value, row.get("epoch")) for row in rows if (value := _finite(row.get(monitor))) is not None]
    if not values:
        return None
    best = max if nodes[0].get("mode") == "max" else min
    return best(values, key=lambda pair: pair[0])[1]


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            return list(csv.DictReader(lines))
    except (OSError, ValueError, csv.Error):
        return []


def _finite(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None
