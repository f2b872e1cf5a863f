"""One stage of a training, built and ready to be fitted. Knows settings and data; writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

from strokelab import runs
from strokelab.allocator import use
from strokelab.callbacks.resume_point import ResumePoint
from strokelab.callbacks.stage import Stage
from strokelab.configuration import Settings, build
from strokelab.contract import CURVES_ONLY
from strokelab.data.datamodule import CohortDataModule
from strokelab.errors import ConfigError
from strokelab.resources import memory, out_of_memory
from strokelab.seeding import seed_of
from strokelab.training.alternating import with_unused_parameters
from strokelab.training.length import interval_of, length_of, steps_per_epoch
from strokelab.training.processes import check_launch, check_shares, process_count
from strokelab.training.resumable import check_resumable
from strokelab.training.trainer import loggers_of, trainer_of

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter


@dataclass
class Fit:
    """One stage of a training, ready to be fitted."""

    settings: Settings  # of the stage
    stage: Stage
    model: Segmenter
    trainer: Trainer
    point: ResumePoint
    checkpoint: Path | None  # to go on from


def facts_of(datamodule: CohortDataModule) -> dict[str, Any]:
    """What the data decide of the settings."""
    return {
        "in_channels": datamodule.view.input_channels,
        "n_sites": datamodule.n_sites or None,
        "plane": datamodule.view.input_shape,
    }


def built(
    settings: Settings,
    stage: Stage,
    folder: Path,
    datamodule: CohortDataModule,
    checkpoint: Path | None,
    *,
    loggers: Sequence[Logger] | None = None,
) -> Fit:
    """Model and trainer of a stage.

    Args:
        settings: of the stage, late facts bound.
        stage: whose settings they are.
        folder: of the run.
        datamodule: of the stage, set up.
        checkpoint: to go on from; None: a new training, or a stage whose first checkpoint is still to be written.
        loggers: of the stages before; None: this is the first one that is trained here.

    Raises:
        ConfigError: the training could not end, be resumed or be shared by its processes.
        RunError: as ``check_shares``.
    """
    use(str(settings.get("allocator", "default")))
    torch.manual_seed(seed_of(int(settings["seed"]), "weights"))
    model: Segmenter = build(settings["model"])
    model.curves = CURVES_ONLY if datamodule.curves_only else model.curves
    loggers = loggers_of(settings, folder, checkpoint) if loggers is None else loggers
    curves = {"validates": datamodule.validates, "curves_only": datamodule.curves_only}
    asked = settings
    if process_count(settings["trainer"]) > 1:
        asked = {**settings, "trainer": with_unused_parameters(settings["trainer"], model)}
    trainer = trainer_of(asked, folder, loggers, stage, **curves)
    check_resumable(settings, model, trainer, steps=length_of(settings, counted_steps(settings, datamodule)))
    check_launch(trainer)
    resumed = runs.read_checkpoint(checkpoint) if checkpoint else {}
    check_shares(datamodule.batch_size, trainer.world_size, resumed.get(type(datamodule).__qualname__))
    if trainer.global_rank:
        torch.manual_seed(seed_of(int(settings["seed"]), "process", trainer.global_rank))  # of dropout
    point = next(one for one in trainer.callbacks if isinstance(one, ResumePoint))  # type: ignore[attr-defined]
    return Fit(settings, stage, model, trainer, point, checkpoint)


def counted_steps(settings: Settings, datamodule: CohortDataModule) -> int | None:
    """Optimiser steps of an epoch where the schedule counts them; None: nothing asks for them."""
    counted = settings["model"].get("scheduler") and interval_of(settings) == "step"
    return steps_per_epoch(settings, datamodule) if counted else None


@contextmanager
def within_memory(settings: Settings, stage: Stage) -> Iterator[None]:
    """Say of memory that could not be had in a training, of the machine or of a GPU, what takes less of it.

    Args:
        settings: of the stage that is trained inside.
        stage: whose settings they are.

    Raises:
        ConfigError: memory was asked for that is not there.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not out_of_memory(error):
            raise
        batch = int(settings["data"]["batch_size"])
        key = f"++stages.{stage.name}.data.batch_size" if stage.name else "data.batch_size"
        fewer = f"set {key}={batch // 2}, or " if batch > 1 else ""
        raise ConfigError(
            "memory of a training step",
            found=f"too little for {batch} samples: {(str(error).strip().splitlines() or ['MemoryError'])[0]}",
            expected=f"a step that fits (this machine: {memory()})",
            remedy=f"{fewer}give smaller samples (view.sampler.patch, view.preparation.crop) or a smaller network",
        ) from error
