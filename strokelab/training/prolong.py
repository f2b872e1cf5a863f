"""A run that goes on with another length: whether it can, and what that means for whatever depends on the length."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strokelab import runs
from strokelab.callbacks.schedule import learning_rates, schedule_steps
from strokelab.callbacks.site_adversary import reversal_strength
from strokelab.callbacks.stage import epochs_done, stage_of, steps_done
from strokelab.configuration import Settings, build
from strokelab.configuration.stages import of_stage
from strokelab.errors import ConfigError
from strokelab.runs.checkpoints import relocate
from strokelab.training.length import interval_of, length_of

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

# What a training of any length may be ended by, beside callbacks.
_LIMITS = ("max_epochs", "max_steps", "max_time", "min_epochs", "min_steps")
_ONE_MORE = "StochasticWeightAveraging"  # adds an epoch, which trains only the statistics of batch norm
_NO_END = ("strokelab.callbacks.", "lightning.pytorch.callbacks.ModelCheckpoint")
# Settings of PyTorch's schedules that count the epochs or steps of a training.
_LENGTHS = ("T_max", "total_iters", "total_steps", "epochs")


def going_on(
    settings: Settings, model: Segmenter, checkpoint: Path, *, steps_per_epoch: int | None = None
) -> list[str]:
    """What is to be said when a run goes on, before anything of it is changed.

    Args:
        settings: from now on; those of the run so far lie in its folder.
        model: built with them, with weights of its own.
        checkpoint: to go on from.
        steps_per_epoch: as ``changes``.

    Returns:
        Lines: where it goes on when the last checkpoint could not be read, and ``changes``.

    Raises:
        ConfigError: the training would end before it goes on.
        RunError: the checkpoint is another model's.
    """
    content = runs.read_checkpoint(checkpoint)
    runs.check_weights(model, content["state_dict"], checkpoint)
    check_length(settings, content)
    lines = []
    if checkpoint.name != "last.ckpt":
        where = f"step {content['global_step']}, {checkpoint.name}"
        lines.append(f"{checkpoint.with_name('last.ckpt')} cannot be read: going on from the one before it ({where})")
    before = of_stage(runs.read_settings(checkpoint.parents[1]), stage_of(content).name)
    return [*lines, *changes(before, settings, content, steps_per_epoch=steps_per_epoch)]


def ended_early(settings: Settings, checkpoint: Path) -> dict[str, Any] | None:
    """How the training ended early that a checkpoint is of, unless other limits or callbacks now ask it to go on.

    Args:
        settings: from now on; those of the run so far lie in its folder.
        checkpoint: to go on from.

    Returns:
        As ``callbacks.early_end``; of runs that an earlier version finished without an epoch. None: it goes on.
    """
    folder, content = checkpoint.parents[1], runs.read_checkpoint(checkpoint)
    before = of_stage(runs.read_settings(folder), stage_of(content).name)
    former = relocate(before, str(before.get("run_dir", folder)), str(folder))
    if _ends(former) != _ends(settings):
        return None
    step, status = int(content["global_step"]), runs.read_status(folder)
    found = [state.get("ended") for state in content.get("callbacks", {}).values() if isinstance(state, dict)]
    if status["state"] == "finished" and status.get("steps") == step:
        found += [status.get("ended"), {"why": "it was finished", "step": step}]
    return next((end for end in found if isinstance(end, dict) and end.get("step") == step), None)


def told(end: Mapping[str, Any]) -> str:
    """An early end in words."""
    epoch = f"in epoch {end['epoch']}, " if "epoch" in end else ""
    return f"{epoch}at step {end['step']}: {end['why']}"


def _ends(settings: Settings) -> tuple[Any, ...]:
    """The settings that can end a training."""
    callbacks = {
        name: node
        for name, node in settings["callbacks"].items()
        if node and not str(node.get("_target_")).startswith(_NO_END)
    }
    trainer = settings["trainer"]
    return callbacks, [trainer.get(name) for name in _LIMITS]


def check_length(settings: Settings, checkpoint: Mapping[str, Any]) -> None:
    """Whether the training is at least as long as what was trained.

    Raises:
        ConfigError: it would end before it goes on.
    """
    done = epochs_done(checkpoint)
    if any(str((node or {}).get("_target_")).endswith(_ONE_MORE) for node in settings["callbacks"].values()):
        done -= 1
    epochs, steps = settings["trainer"].get("max_epochs"), settings["trainer"].get("max_steps", -1)
    for name, wanted, there in (("max_epochs", epochs, done), ("max_steps", steps, steps_done(checkpoint))):
        if wanted is not None and 0 <= int(wanted) < there:
            raise ConfigError(
                f"trainer.{name}",
                found=f"{wanted}, and {there} are trained already",
                expected=f"at least {there}",
                remedy="give a larger number, or start a new run for a shorter training",
            )


def changes(
    before: Settings, after: Settings, checkpoint: Mapping[str, Any], *, steps_per_epoch: int | None = None
) -> list[str]:
    """What another length, optimizer or schedule means, a line each; nothing where all is as before.

    Args:
        before: settings of the run so far.
        after: settings from now on.
        checkpoint: to go on from.
        steps_per_epoch: optimiser steps, where the schedule counts these; None: unknown.
    """
    was, now = _epochs(before), _epochs(after)
    same = all(before["model"].get(part) == after["model"].get(part) for part in ("optimizer", "scheduler"))
    same &= interval_of(before) == interval_of(after)
    steps = [int(settings["trainer"].get("max_steps", -1)) for settings in (before, after)]
    lines = []
    if was != now:
        lines.append(f"training: now ends at epoch {now or 'none'}; was {was or 'none'}")
    if steps[0] != steps[1]:
        lines.append(f"training: now ends at step {steps[1]}; was {steps[0]} (-1: no limit)")
    if not lines and same:
        return []
    interval = interval_of(after)
    ends = {"epoch": (was, now)}
    ends[interval] = (
        length_of({**after, "trainer": before["trainer"]}, steps_per_epoch),
        length_of(after, steps_per_epoch),
    )
    lines.append(_learning_rate(after, schedule_steps(checkpoint, interval), ends, same=same))
    ramp = _ramp(after, was, now)
    return [*lines, ramp] if ramp else lines


def _epochs(settings: Settings) -> int | None:
    epochs = settings["trainer"].get("max_epochs")
    return None if epochs is None or int(epochs) < 0 else int(epochs)


def _learning_rate(
    settings: Settings, done: int, ends: Mapping[str, tuple[int | None, int | None]], *, same: bool
) -> str:
    """The rate as the training goes on and at its end; ``ends``: of the training, as it was and is now, by unit."""
    model, interval = settings["model"], interval_of(settings)
    last, place = ends[interval][1], "in epoch" if interval == "epoch" else "at step"
    node = model.get("scheduler")
    optimizer, scheduler = build(model["optimizer"]), build(node) if node else None
    rates = learning_rates(optimizer, scheduler, max(last or 0, done + 1))
    name = str(node["_target_"]).rsplit(".", 1)[-1] if node else "constant"
    text = f"learning rate ({name}): "
    if rates:
        text += f"{rates[done]:.3g} {place} {done + 1}"
        text += f", {rates[last - 1]:.3g} {place} {last}" if last is not None and last > done + 1 else ""
    else:
        text += "starts afresh"
    counted = {key: node[key] for key in _LENGTHS if node and isinstance(node.get(key), int)}
    for key, value in counted.items():
        unit = "epoch" if key == "epochs" else interval
        text += f"; its schedule ends at {unit} {value}"
        former, now = ends[unit]
        if value == former and value != now:
            text += f", as before (model.scheduler.{key}={now} moves its end)"
    if node and not counted and rates:
        text += "; the schedule goes on, its settings name no end"
    return text if same else f"{text}; new settings of optimizer or schedule hold from here on"


def _ramp(after: Settings, was: int | None, now: int | None) -> str:
    schedules = [
        node for node in after["callbacks"].values() if node and node["_target_"].endswith("AdversarySchedule")
    ]
    ramps = [node for node in schedules if node.get("schedule") == "dann" and after["model"].get("adversary")]
    if not ramps or not was or not now:
        return ""
    strength = float(ramps[0].get("strength", 1.0))
    new, old = (reversal_strength(was / length, schedule="dann", strength=strength) for length in (now, was))
    return f"site adversary: its ramp now ends at epoch {now}; was {was} (after epoch {was}: {new:.4f}, was {old:.4f})"
