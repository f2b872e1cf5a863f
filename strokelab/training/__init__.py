"""``train.py`` from the composed config to a finished run folder, in the order it reads."""

from __future__ import annotations

import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from omegaconf import DictConfig
from rich.console import Console

from strokelab import runs
from strokelab.configuration import Settings, bind, build
from strokelab.data.datamodule import CohortDataModule
from strokelab.errors import ConfigError, StrokelabError
from strokelab.runs.folder import remove_empty
from strokelab.seeding import seed_of
from strokelab.training import boards
from strokelab.training.ending import recorded_end, shown, stoppable
from strokelab.training.precision import chosen_precision
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
from strokelab.training.trainer import trainer_of

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

__all__ = ["PLAIN_KEYS", "SECTIONS", "train", "train_or_exit"]

console = Console(stderr=False)


def train_or_exit(cfg: DictConfig) -> float | None:
    """``train`` for the door: a user's mistake ends with its message and status 1, not with a traceback."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        return train(cfg)
    except StrokelabError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN or os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise  # the other members of the sweep go on; Hydra reports this one at the end
        console.print(f"\n[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)
    finally:
        output = Path(HydraConfig.get().runtime.output_dir)  # Hydra makes it even where run_dir is another
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
    start = start_of(cfg)
    if start.finished:
        console.print(f"Run folder: [bold]{shown(start.folder)}[/] (finished before; nothing is left to train)")
        return runs.read_objective(start.folder)
    check_settings(start.settings)
    if not first_process():  # a further one of the same training
        return _train(start)
    with runs.claimed(start.folder):
        return _train(start)


def _train(start: Start) -> float | None:
    settings, folder = start.settings, start.folder
    datamodule = _datamodule(settings)
    datamodule.setup("fit")
    check_cohort(start, datamodule)
    facts = {
        "in_channels": len(datamodule.modalities),
        "n_sites": datamodule.n_sites or None,
        "plane": datamodule.view.input_shape,
    }
    settings = bind(settings, facts) | {"cohort": datamodule.describe()}
    settings["trainer"]["precision"] = chosen_precision(settings["trainer"])

    torch.manual_seed(seed_of(int(settings["seed"]), "weights"))
    model = cast("Segmenter", build(settings["model"]))
    _check_optimizer(model)
    trainer = trainer_of(settings, folder, start.checkpoint)
    if start.checkpoint is None:
        runs.write_start(
            folder,
            settings,
            datamodule.split_result,
            datamodule.sites,
            overrides=typed_overrides(),
            digest=start.digest,
        )
    else:
        runs.write_settings(folder, settings)
        if start.digest:
            runs.write_digest(folder, start.digest)
        runs.write_status(folder, "running", resumed=True)

    step = int(runs.read_checkpoint(start.checkpoint)["global_step"]) if start.checkpoint else None
    boards.describe(trainer.loggers, boards.facts_of(settings, folder, datamodule.split_result, resumed_step=step))
    _announce(settings, folder, datamodule, model)
    started = time.perf_counter()
    with boards.closed(trainer.loggers), recorded_end(folder, trainer, fresh=start.checkpoint is None, console=console):
        trainer.fit(model, datamodule=datamodule, ckpt_path=start.checkpoint, weights_only=True)
        minutes = (time.perf_counter() - started) / 60
        if settings["score_test"]:
            score_test(settings, folder, datamodule, trainer, console=console)
    runs.write_status(folder, "finished", minutes=round(minutes, 2), steps=trainer.global_step)
    console.print(f"Run folder: [bold]{shown(folder)}[/] ({trainer.global_step} steps, {minutes:.1f} min)")
    return runs.read_objective(folder)


def _datamodule(settings: Settings) -> CohortDataModule:
    view = build(settings["view"])
    split = build(settings["split"])
    return cast(CohortDataModule, build(settings["data"], view=view, split=split, seed=int(settings["seed"])))


def _check_optimizer(model: Segmenter) -> None:
    """Lightning makes the optimizer when training starts; what it refuses should be said before."""
    try:
        model.configure_optimizers()
    except (TypeError, ValueError) as error:
        raise ConfigError(
            "model.optimizer, model.scheduler",
            found=str(error),
            expected="settings that they accept",
            remedy="correct the setting; conf/model/<model>.yaml shows the defaults",
        ) from error


def _announce(settings: Settings, folder: Path, datamodule: CohortDataModule, model: Segmenter) -> None:
    parts = [name for name in ("standardizer", "hemispheres", "adversary") if settings["model"].get(name)]
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    counts = {part: len(getattr(datamodule.split_result, part)) for part in ("train", "val", "test")}
    console.print(
        f"[bold]{settings['name']}[/] ({', '.join(parts) or 'no extra parts'}, {millions:.2f} M parameters) on "
        f"{settings['cohort']['dataset']}: {counts['train']} training, {counts['val']} validation, "
        f"{counts['test']} test cases; {datamodule.n_sites} sites; {settings['trainer']['precision']}"
    )
    console.print(f"Run folder: {shown(folder)}")


def _quiet() -> None:
    """Silence what no user can act on."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # in-process reading is measured
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # torch 2.13 pytree
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
