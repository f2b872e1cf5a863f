"""``train.py`` from the composed config to a finished run folder, in the order it reads."""

from __future__ import annotations

import os
import sys
import time
import warnings
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig
from rich.markup import escape

from strokelab import runs, terminal
from strokelab.allocator import use
from strokelab.callbacks.resume_point import ResumePoint
from strokelab.command_words import shown
from strokelab.configuration import Settings, bind, build, check_fit
from strokelab.contract import CURVES_ONLY
from strokelab.data.datamodule import CohortDataModule
from strokelab.distributed import gathered, together
from strokelab.errors import StrokelabError, plain_warnings
from strokelab.files import write_json
from strokelab.runs.folder import remove_empty
from strokelab.runs.training_scans import write_training_scans
from strokelab.seeding import seed_of
from strokelab.training import boards
from strokelab.training.ending import recorded_end, stoppable
from strokelab.training.length import interval_of, length_of, schedule_facts, steps_per_epoch
from strokelab.training.logged import check_logged
from strokelab.training.planning import Planned, plan_for, plan_kept, planned
from strokelab.training.precision import settle
from strokelab.training.processes import check_launch, check_shares, meet, own_rank, started_by_first, watched
from strokelab.training.prolong import ended_early, going_on, told
from strokelab.training.resumable import check_resumable
from strokelab.training.start import (
    PLAIN_KEYS,
    SECTIONS,
    Start,
    check_cohort,
    check_settings,
    first_process,
    start_of,
    typed_overrides,
)
from strokelab.training.test_part import score_test
from strokelab.training.trainer import check_trainer, trainer_of

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

__all__ = ["PLAIN_KEYS", "SECTIONS", "train", "train_or_exit"]

Built = tuple[Settings, "Segmenter", Trainer, "ResumePoint"]

console = terminal.console()


def train_or_exit(cfg: DictConfig) -> float | None:
    """``train`` for the door: a user's mistake ends with its message and status 1, not with a traceback."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    plain_warnings()
    own_rank(cfg)
    console.quiet = not first_process()  # one voice for all processes of a training
    try:
        return train(cfg)
    except StrokelabError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise  # the other members of the sweep go on; Hydra reports this one at the end
        # Where the first process did well, it does not know the error.
        voice = terminal.console() if started_by_first() else console
        voice.print(f"\n[bold red]{type(error).__name__}[/] ", end="")
        voice.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    finally:
        output = Path(HydraConfig.get().runtime.output_dir)
        if output != Path.cwd():  # Hydra made it, and refused settings left it empty
            remove_empty(output, *output.parents[:2])


@stoppable(console)
def train(cfg: DictConfig) -> float | None:
    """Train one run, or continue it with ``resume=RUN``.

    Returns:
        The setting ``objective`` (what an optimising sweep sees): mean Dice of the test cases on their native grids,
        or a number of the validation part; None when there is none, e.g. no labelled test case.

    Raises:
        StrokelabError: settings, data or the run folder are not what they should be; nothing was trained then.
    """
    _quiet()
    own_rank(cfg)
    start = start_of(cfg)
    if start.kept:
        console.print(start.kept, markup=False, highlight=False, soft_wrap=True)
    if start.finished:
        console.print(f"Run folder: [bold]{escape(shown(start.folder))}[/] (finished before; nothing is left to train)")
        return runs.read_objective(start.folder)
    check_settings(start.settings)
    if start.checkpoint is None:  # runs of earlier versions go on as they were begun
        check_trainer(start.settings["trainer"])
        check_logged(start.settings)
    meet(start.settings["trainer"])
    start = gathered(start)[0]  # started at different seconds, processes may have been given different folders
    with ExitStack() as claim:
        return _train(start, claim)


def _train(start: Start, claim: ExitStack) -> float | None:
    """Where processes meet (``together``), all go on or none does."""
    first, folder = first_process(), start.folder

    def plan() -> Planned | None:
        if not first:
            return None
        claim.enter_context(runs.claimed(folder))
        return None if start.checkpoint else plan_for(start.settings)  # a run that goes on has its plan

    found = gathered(together(plan))[0]
    facts = found.plan.facts() if found else {} if first else plan_kept(folder)
    start = replace(start, settings=planned(start.settings, facts))
    check_fit(start.settings)
    datamodule = together(lambda: _checked_cohort(start))
    begun = together(lambda: _begin(start, datamodule, found) if first else None)
    # The others take everything from the run folder, also what only the first one can choose, like the precision.
    settings, model, trainer, point = together(lambda: begun or _built(runs.read_settings(folder), start, datamodule))
    started = time.perf_counter()
    with (
        boards.closed(trainer.loggers),
        recorded_end(folder, trainer, fresh=start.checkpoint is None, console=console),
        watched(trainer, folder, console=console),
    ):
        trainer.fit(model, datamodule=datamodule, ckpt_path=start.checkpoint, weights_only=True)
        minutes = (time.perf_counter() - started) / 60
        if point.ended and not point.stays_ended:
            console.print(f"Training ended early {told(point.ended)}.", markup=False, highlight=False, soft_wrap=True)
        if settings["score_test"]:
            score_test(settings, folder, datamodule, trainer, console=console)
    if not first:
        return None
    end = {"ended": point.ended} if point.ended else {}
    runs.write_status(folder, "finished", minutes=round(minutes, 2), steps=trainer.global_step, **end)
    if said := runs.nothing_found(folder):
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Run folder: [bold]{escape(shown(folder))}[/] ({trainer.global_step} steps, {minutes:.1f} min)")
    return runs.read_objective(folder)


def _checked_cohort(start: Start) -> CohortDataModule:
    settings = start.settings
    view, split = build(settings["view"]), build(settings["split"])
    datamodule: CohortDataModule = build(settings["data"], view=view, split=split, seed=int(settings["seed"]))
    datamodule.progress &= first_process()
    datamodule.setup("fit")
    check_cohort(start, datamodule)
    if start.checkpoint is None:
        check_logged(settings, validates=bool(datamodule.split_result.val))
    return datamodule


def _begin(start: Start, datamodule: CohortDataModule, found: Planned | None) -> Built:
    """Build what will be trained, and write the run folder's first files."""
    if found:
        console.print(found.describe(), markup=False, highlight=False, soft_wrap=True)
    facts = {
        "in_channels": len(datamodule.view.preparation.channels),
        "n_sites": datamodule.n_sites or None,
        "plane": datamodule.view.input_shape,
    }
    facts |= schedule_facts(start.settings, datamodule)
    settings = bind(start.settings, facts) | {"cohort": datamodule.describe()}
    choice = settle(settings, datamodule.view.input_shape)
    settings["trainer"]["precision"], settings["allocator"] = choice.precision, choice.allocator
    if choice.said:
        console.print(choice.said, markup=False, highlight=False, soft_wrap=True)
    _, model, trainer, point = built = _built(settings, start, datamodule)
    folder, split = start.folder, datamodule.split_result
    taken: dict[str, Any] = {}
    if start.checkpoint is None and settings.get("init_weights"):  # before the folder is cleared: it may be its own
        line, taken = runs.start_from(model, settings, split.test)
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if start.checkpoint:
        for line in going_on(settings, model, start.checkpoint, steps_per_epoch=_counted_steps(settings, datamodule)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if end := ended_early(settings, start.checkpoint):
            point.stays_ended = True
            said = f"The training ended {told(end)}; it stays ended (trainer.max_epochs=N trains it longer)."
            if "epoch" in end:
                console.print(said, markup=False, highlight=False, soft_wrap=True)
    if start.checkpoint is None:
        runs.write_start(folder, settings, split, datamodule.sites, overrides=typed_overrides(), digest=start.digest)
        runs.remember(folder, settings)
        if found:
            write_json(folder / runs.PLAN, found.to_json())
        if taken:
            write_json(folder / runs.INIT_WEIGHTS, taken)
    else:
        runs.write_settings(folder, settings)
        runs.remember(folder, settings)
        if start.digest:
            runs.write_digest(folder, start.digest)
        runs.write_status(folder, "running", resumed=True)
    if start.checkpoint is None or not (folder / runs.TRAINING_SCANS).is_file():
        write_training_scans(folder, datamodule.volumes, datamodule.view.preparation)
    step = int(runs.read_checkpoint(start.checkpoint)["global_step"]) if start.checkpoint else None
    boards.describe(trainer.loggers, boards.facts_of(settings, folder, split, resumed_step=step))
    _announce(settings, folder, datamodule, model)
    return built


def _built(settings: Settings, start: Start, datamodule: CohortDataModule) -> Built:
    use(str(settings.get("allocator", "default")))
    torch.manual_seed(seed_of(int(settings["seed"]), "weights"))
    model: Segmenter = build(settings["model"])
    model.curves = CURVES_ONLY if datamodule.curves_only else model.curves
    trainer = trainer_of(settings, start.folder, start.checkpoint, curves_only=datamodule.curves_only)
    check_resumable(settings, model, trainer, steps=length_of(settings, _counted_steps(settings, datamodule)))
    check_launch(trainer)
    resumed = runs.read_checkpoint(start.checkpoint) if start.checkpoint else {}
    check_shares(datamodule.batch_size, trainer.world_size, resumed.get(type(datamodule).__qualname__))
    if trainer.global_rank:
        torch.manual_seed(seed_of(int(settings["seed"]), "process", trainer.global_rank))  # of dropout
    return settings, model, trainer, next(one for one in trainer.callbacks if isinstance(one, ResumePoint))  # type: ignore[attr-defined]


def _counted_steps(settings: Settings, datamodule: CohortDataModule) -> int | None:
    """Optimiser steps of an epoch where the schedule counts them; None: nothing asks for them."""
    counted = settings["model"].get("scheduler") and interval_of(settings) == "step"
    return steps_per_epoch(settings, datamodule) if counted else None


def _announce(settings: Settings, folder: Path, datamodule: CohortDataModule, model: Segmenter) -> None:
    parts = [name for name in ("standardizer", "hemispheres", "adversary") if settings["model"].get(name)]
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    counts = {part: len(getattr(datamodule.split_result, part)) for part in ("train", "val", "test")}
    curves = " (curves only: of the test cases; nothing is chosen by them)" if datamodule.curves_only else ""
    told = f"({', '.join(parts) or 'no extra parts'}, {millions:.2f} M parameters) on {settings['cohort']['dataset']}"
    cases = f"{counts['train']} training, {counts['val']} validation{curves}, {counts['test']} test cases"
    console.print(
        f"[bold]{escape(str(settings['name']))}[/] {escape(told)}: {cases}; {datamodule.n_sites} sites; "
        f"{escape(str(settings['trainer']['precision']))}"
    )
    console.print(f"Run folder: {escape(shown(folder))}")


def _quiet() -> None:
    """Silence what no user can act on."""
    import logging

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")  # on a login node, as it may be
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # in-process reading is measured
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # torch 2.13 pytree
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
