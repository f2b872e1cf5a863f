"""``train.py`` from the composed config to a finished run folder, in the order it reads."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.markup import escape

from strokelab import runs, terminal
from strokelab.callbacks.stage import Stage
from strokelab.command_words import shown
from strokelab.configuration import Settings, bind, build, check_fit
from strokelab.configuration.stages import joined, of_stage, of_stages, stage_names
from strokelab.data.datamodule import CohortDataModule
from strokelab.distributed import gathered, together
from strokelab.errors import ConfigError, StrokelabError, plain_warnings
from strokelab.files import write_json
from strokelab.runs.folder import remove_empty
from strokelab.runs.training_scans import write_training_scans
from strokelab.scoring.kept import forget
from strokelab.training import boards
from strokelab.training.ending import recorded_end, stoppable
from strokelab.training.fitting import Fit, built, counted_steps, facts_of, within_memory
from strokelab.training.length import schedule_facts
from strokelab.training.logged import check_logged
from strokelab.training.planning import Planned, plan_for, plan_kept, planned
from strokelab.training.precision import settle
from strokelab.training.probe import probe_sites
from strokelab.training.processes import meet, own_rank, started_by_first, watched
from strokelab.training.prolong import ended_early, going_on, told
from strokelab.training.stages import (
    as_checked,
    begin_next,
    check_best,
    check_kept,
    following,
    forget_first,
    keep_ended,
    reached,
)
from strokelab.training.stages import told as told_of_stage
from strokelab.training.start import (
    PLAIN_KEYS,
    SECTIONS,
    Start,
    check_cohort,
    check_settings,
    first_process,
    start_of,
    typed_keys,
    typed_overrides,
)
from strokelab.training.test_part import score_test
from strokelab.training.trainer import check_trainer
from strokelab.training.tuning import check_tunable, find_pair

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

__all__ = ["PLAIN_KEYS", "SECTIONS", "train", "train_or_exit"]

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
    check_kept(start.settings)
    for one in as_checked(start.settings):
        check_settings(one)
        if start.checkpoint is None:  # runs of earlier versions go on as they were begun
            check_trainer(one["trainer"])
            check_logged(one)
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
    datamodules = together(lambda: _checked_cohorts(start))
    stage = together(lambda: reached(start.settings, start.checkpoint, typed_keys()))
    begun = together(lambda: _begin(start, stage, datamodules, found) if first else None)
    # The others take everything from the run folder, also what only the first one can choose, like the precision.
    settings, fit = together(lambda: begun or _taken_over(start, stage, datamodules))
    started, trainers = time.perf_counter(), [fit.trainer]
    with (
        boards.closed(fit.trainer.loggers),
        recorded_end(folder, trainers, fresh=start.checkpoint is None, console=console),
    ):
        while True:
            datamodule = datamodules[fit.stage.place]
            with watched(fit.trainer, folder, console=console):
                _fit(settings, fit, datamodule)
                minutes = (time.perf_counter() - started) / 60
                begins = _next(settings, folder, fit, datamodules)
                if begins is None:
                    probe_sites(settings, folder, datamodule, fit.trainer, console=console)
                    find_pair(settings, folder, datamodule, fit.trainer, console=console)
                if begins is None and settings["score_test"]:
                    score_test(settings, folder, datamodule, fit.trainer, console=console)
            if begins is None:
                break
            fit = begins
            trainers.append(fit.trainer)
    if not first:
        return None
    forget(folder)  # all processes have left the fit and the test part
    trainer, point = fit.trainer, fit.point
    end = {"ended": point.ended} if point.ended else {}
    runs.write_status(folder, "finished", minutes=round(minutes, 2), steps=trainer.global_step, **end)
    if said := runs.nothing_found(folder):
        console.print(said, markup=False, highlight=False, soft_wrap=True)
    console.print(f"Run folder: [bold]{escape(shown(folder))}[/] ({trainer.global_step} steps, {minutes:.1f} min)")
    return runs.read_objective(folder)


def _fit(settings: Settings, fit: Fit, datamodule: CohortDataModule) -> None:
    if fit.stage.name:
        console.print(told_of_stage(settings, fit.settings, fit.stage), markup=False, highlight=False, soft_wrap=True)
    with within_memory(fit.settings, fit.stage):
        fit.trainer.fit(fit.model, datamodule=datamodule, ckpt_path=fit.checkpoint, weights_only=True)
    if fit.point.ended and not fit.point.stays_ended:
        what = f"Stage {fit.stage.name}" if fit.stage.name else "Training"
        console.print(f"{what} ended early {told(fit.point.ended)}.", markup=False, highlight=False, soft_wrap=True)


def _next(settings: Settings, folder: Path, fit: Fit, datamodules: Sequence[CohortDataModule]) -> Fit | None:
    """The stage after one that has ended, all processes together; None: it was the last."""
    fit.trainer.strategy.barrier("stage")  # until the first process has put the last checkpoint in its place
    stage = together(lambda: following(folder, settings, fit.stage))
    if stage is None:
        together(lambda: forget_first(folder) if first_process() else None)
        return None
    one, datamodule = of_stage(settings, stage.name), datamodules[stage.place]
    begins = together(lambda: built(one, stage, folder, datamodule, None, loggers=fit.trainer.loggers))
    # The processes that the first trainer started serve every stage.
    if (launcher := begins.trainer.strategy.launcher) is not None and hasattr(launcher, "procs"):
        launcher.procs = getattr(fit.trainer.strategy.launcher, "procs", launcher.procs)

    def begin() -> Path | None:
        if not first_process():
            return None
        keep_ended(folder, fit.stage)
        return begin_next(folder, settings, stage, begins.model, type(datamodule).__qualname__)

    return replace(begins, checkpoint=gathered(together(begin))[0])


def _checked_cohorts(start: Start) -> list[CohortDataModule]:
    """The data of every stage, prepared, so that whatever is wrong is said before training starts."""
    stages = [replace(start, settings=one) for one in as_checked(start.settings)]
    for one in stages:
        check_fit(one.settings)
    datamodules = [_checked_cohort(one) for one in stages]
    check_tunable(start.settings, datamodules[-1])
    check_best(start.settings, validates=datamodules[-1].validates)
    channels = [tuple(datamodule.view.preparation.channels) for datamodule in datamodules]
    for name, seen in zip(stage_names(start.settings), channels, strict=True):
        if seen != channels[-1]:
            raise ConfigError(
                f"stages.{name}.view.preparation",
                found=f"channels {', '.join(seen)}",
                expected=f"{', '.join(channels[-1])}, as in the last stage: one network sees all of them",
                remedy="set what makes channels for the whole training",
            )
    return datamodules


def _checked_cohort(start: Start) -> CohortDataModule:
    settings = start.settings
    view, split = build(settings["view"]), build(settings["split"])
    datamodule: CohortDataModule = build(settings["data"], view=view, split=split, seed=int(settings["seed"]))
    datamodule.progress &= first_process()
    datamodule.setup("fit")
    check_cohort(start, datamodule)
    if start.checkpoint is None:
        check_logged(settings, validates=datamodule.validates)
    return datamodule


def _begin(
    start: Start, stage: Stage, datamodules: Sequence[CohortDataModule], found: Planned | None
) -> tuple[Settings, Fit]:
    """Build what will be trained, and write the run folder's first files."""
    if found:
        console.print(found.describe(), markup=False, highlight=False, soft_wrap=True)
    every = zip(of_stages(start.settings), datamodules, strict=True)
    bound = [bind(one, facts_of(each) | schedule_facts(one, each)) for one, each in every]
    settings = joined(start.settings, bound) | {"cohort": datamodules[-1].describe()}
    *earlier, last = (each.view.input_shape for each in datamodules)
    choice = settle(settings, last, earlier=earlier)
    settings["trainer"]["precision"], settings["allocator"] = choice.precision, choice.allocator
    if choice.said:
        console.print(choice.said, markup=False, highlight=False, soft_wrap=True)
    folder, split, one = start.folder, datamodules[-1].split_result, of_stage(settings, stage.name)
    for place, name in enumerate(stage_names(settings)):
        if place > stage.place:  # what is wrong with a later stage is said now, not when its turn comes
            built(of_stage(settings, name), Stage(name, place), folder, datamodules[place], None, loggers=[])
    fit = built(one, stage, folder, datamodules[stage.place], start.checkpoint)
    taken: dict[str, Any] = {}
    if start.checkpoint is None and settings.get("init_weights"):  # before the folder is cleared: it may be its own
        line, taken = runs.start_from(fit.model, settings, split.test)
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    if start.checkpoint:
        counted = counted_steps(one, datamodules[stage.place])
        for line in going_on(one, fit.model, start.checkpoint, steps_per_epoch=counted):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if end := ended_early(one, start.checkpoint):
            fit.point.stays_ended = True
            said = f"The training ended {told(end)}; it stays ended (trainer.max_epochs=N trains it longer)."
            if "epoch" in end:
                console.print(said, markup=False, highlight=False, soft_wrap=True)
    if start.checkpoint is None:
        sites = datamodules[-1].sites
        runs.write_start(folder, settings, split, sites, overrides=typed_overrides(), digest=start.digest)
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
        write_training_scans(folder, datamodules[-1].volumes, datamodules[-1].view.preparation)
    step = int(runs.read_checkpoint(start.checkpoint)["global_step"]) if start.checkpoint else None
    boards.describe(fit.trainer.loggers, boards.facts_of(settings, folder, split, resumed_step=step))
    _announce(settings, folder, datamodules[-1], fit.model)
    return settings, fit


def _taken_over(start: Start, stage: Stage, datamodules: Sequence[CohortDataModule]) -> tuple[Settings, Fit]:
    settings = runs.read_settings(start.folder)
    one, datamodule = of_stage(settings, stage.name), datamodules[stage.place]
    return settings, built(one, stage, start.folder, datamodule, start.checkpoint)


def _announce(settings: Settings, folder: Path, datamodule: CohortDataModule, model: Segmenter) -> None:
    parts = [name for name in ("standardizer", "hemispheres", "adversary") if settings["model"].get(name)]
    loss = str((settings["model"].get("loss") or {}).get("_target_", "its own loss")).rpartition(".")[2]
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    counts = {part: len(getattr(datamodule.split_result, part)) for part in ("train", "val", "test")}
    curves = " (curves only: of the test cases; nothing is chosen by them)" if datamodule.curves_only else ""
    facts = f"{', '.join(parts) or 'no extra parts'}, {millions:.2f} M parameters, {loss}"
    told = f"({facts}) on {settings['cohort']['dataset']}"
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
