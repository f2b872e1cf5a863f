"""From one stage of a training to the next, in one run folder. Reads and writes checkpoints; builds nothing.

``last.ckpt`` says which stage it lies in. When a stage has ended, its checkpoints are kept under its name, and the next
one starts from what they hold: a training that is killed in between does the same when it goes on.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from strokelab import runs
from strokelab.callbacks.schedule import afresh
from strokelab.callbacks.stage import Stage, first_checkpoint, next_stage, stage_of
from strokelab.command_words import setting
from strokelab.configuration import Settings
from strokelab.configuration.stages import INIT_WEIGHTS, STAGES, of_stage, of_stages, stage_names
from strokelab.errors import ConfigError, RunError
from strokelab.files import replacing
from strokelab.models.segmenter import Segmenter
from strokelab.training.logged import check_logged

_FIRST = ".stage.ckpt"  # what a stage starts from, as long as it has no checkpoint of its own


def reached(settings: Settings, checkpoint: Path | None, typed: Sequence[str] = ()) -> Stage:
    """The stage in which a training begins or goes on.

    Args:
        settings: of the run, from now on.
        checkpoint: to go on from; None: a new training.
        typed: keys of the command line.

    Raises:
        ConfigError: a setting of a stage that is over was typed, or the stages are others than those of the run.
    """
    names = stage_names(settings)
    if checkpoint is None:
        return Stage(names[0])
    stage = stage_of(runs.read_checkpoint(checkpoint))
    if stage.place >= len(names) or names[stage.place] != stage.name:
        raise ConfigError(
            STAGES,
            found=f"{', '.join(names) or 'none'}, and the checkpoint lies in stage {stage.name or 'none'}",
            expected="the stages the run was begun with",
            remedy=f"start a new run, with the weights of this one: {setting('init_weights', checkpoint.parents[1])}",
        )
    over = [key for key in typed for name in names[: stage.place] if f"{key}.".startswith(f"{STAGES}.{name}.")]
    if over:
        raise ConfigError(
            over[0],
            found=f"a setting of a stage that is over: the run is in stage {stage.name}",
            expected="settings of this stage or a later one",
            remedy="leave it out, or start a new run",
        )
    return stage


def as_checked(settings: Settings) -> list[Settings]:
    """The settings of every stage as checks take them: the last one alone is evaluated.

    Args:
        settings: of the run.
    """
    *earlier, last = of_stages(settings)
    return [*({**one, "checkpoint": "last", "objective": runs.TEST_DICE} for one in earlier), last]


def check_best(settings: Settings, *, validates: bool) -> None:
    """Whether each stage whose best weights the next one starts from will have some.

    Args:
        settings: of the run.
        validates: the split has a validation part.

    Raises:
        ConfigError: no callback keeps them, or none of its numbers is ever logged.
    """
    for before, name in pairwise(stage_names(settings)):
        if (settings[STAGES][name] or {}).get(INIT_WEIGHTS) != "best":
            continue
        one, why = of_stage(settings, before) | {"checkpoint": "best", "objective": runs.TEST_DICE}, "no callback best"
        try:
            check_logged(one, validates=validates)
            if any(node and node.get("filename") == "best" for node in one["callbacks"].values()):
                continue
        except ConfigError as error:
            why = f"{error.where}: {error.found}"
        raise ConfigError(
            f"{STAGES}.{name}.{INIT_WEIGHTS}",
            found=f"best, and stage {before} keeps none ({why})",
            expected="a stage that validates and keeps its best weights",
            remedy=f"set {STAGES}.{name}.{INIT_WEIGHTS}=last",
        )


def check_kept(settings: Settings) -> None:
    """Whether a checkpoint that only later epochs may become has some epochs, in all stages together.

    Raises:
        ConfigError: the training ends before them, and that checkpoint is what would be evaluated.
    """
    epochs = [one["trainer"].get("max_epochs") for one in of_stages(settings)]
    if any(each is None or int(each) < 0 for each in epochs):
        return
    length, chosen = sum(map(int, epochs)), settings.get("checkpoint", "last")
    for name, node in settings["callbacks"].items():
        first = int((node or {}).get("first_epoch") or 0)
        if first and first >= length and node.get("filename") == chosen:
            raise ConfigError(
                f"callbacks.{name}.first_epoch",
                found=f"{first}, and the training ends after {length} epochs: no weights are ever kept as {chosen}",
                expected="fewer epochs than the training has",
                remedy=f"set checkpoint=last, or trainer.max_epochs={first + 1} or more",
            )


def keep_ended(folder: Path, stage: Stage) -> None:
    """Keep the checkpoints of a stage that has ended under its name: ``<stage>.ckpt``, ``<stage>-best.ckpt``, ..."""
    last = folder / runs.CHECKPOINTS / "last.ckpt"
    with replacing(last.with_name(f"{stage.name}.ckpt")) as temporary:
        temporary.unlink(missing_ok=True)
        _link(last, temporary)
    for name in ("best", "ema"):
        kept = last.with_name(f"{name}.ckpt")
        # One that a stage after it wrote before it was killed is not this stage's.
        if kept.is_file() and stage_of(runs.read_checkpoint(kept)).name == stage.name:
            os.replace(kept, last.with_name(f"{stage.name}-{name}.ckpt"))


def begin_next(folder: Path, settings: Settings, stage: Stage, model: Segmenter, data: str) -> Path:
    """Write the checkpoint that a stage starts from.

    Args:
        folder: of the run; the stage before has ended and is kept.
        settings: of the run.
        stage: that begins.
        model: built for it: its optimizer and its schedule are taken from here, its weights are not.
        data: the name under which the data module keeps its state.

    Returns:
        The checkpoint.

    Raises:
        RunError: the stage before has no such checkpoint, or one of another model.
    """
    names = stage_names(settings)
    before = names[stage.place - 1]
    former = folder / runs.CHECKPOINTS / f"{before}.ckpt"
    best = (settings[STAGES][stage.name] or {}).get(INIT_WEIGHTS, "last") == "best"
    chosen = former.with_name(f"{before}-best.ckpt") if best else former
    if not chosen.is_file():
        raise RunError(
            chosen,
            found="no such file: no epoch of the stage was chosen as the best",
            expected=f"the weights that stage {stage.name} starts from",
            remedy=f"let stage {before} validate, or set {STAGES}.{stage.name}.{INIT_WEIGHTS}=last",
        )
    content = runs.read_checkpoint(former)
    weights = content["state_dict"] if chosen == former else runs.read_checkpoint(chosen)["state_dict"]
    runs.check_weights(model, weights, chosen)
    path = former.with_name(_FIRST)
    with replacing(path) as temporary:
        torch.save(first_checkpoint(content, weights, stage, afresh=afresh(model), data=data), temporary)
    return path


def following(folder: Path, settings: Settings, stage: Stage) -> Stage | None:
    """The stage after one that has ended; None: it was the last."""
    names = stage_names(settings)
    if stage.place + 1 == len(names):
        return None
    return next_stage(runs.read_checkpoint(folder / runs.CHECKPOINTS / "last.ckpt"), names[stage.place + 1])


def forget_first(folder: Path) -> None:
    """Remove what ``begin_next`` wrote: the stage has its own checkpoint, or the next start writes it again."""
    (folder / runs.CHECKPOINTS / _FIRST).unlink(missing_ok=True)


def told(settings: Settings, one: Settings, stage: Stage) -> str:
    """A stage in one line, for the terminal."""
    names, trainer = stage_names(settings), one["trainer"]
    epochs, steps = (int(trainer.get(limit) or -1) for limit in ("max_epochs", "max_steps"))
    limits = [f"{count} {unit}" for count, unit in ((epochs, "epochs"), (steps, "steps")) if count >= 0]
    length = ", at most ".join(limits) or "no end of its own"
    return f"Stage {stage.place + 1} of {len(names)}: {stage.name} ({length}, from epoch {stage.first_epoch + 1})"


def _link(source: Path, target: Path) -> Any:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)
