"""``train.py`` from the composed config to a finished run folder, in the order it reads."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from omegaconf import DictConfig
from rich.console import Console

from strokelab import runs
from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.configuration import Settings, bind, build
from strokelab.data.datamodule import CohortDataModule
from strokelab.errors import ConfigError, StrokelabError
from strokelab.report.terminal import results_table
from strokelab.runs.folder import remove_empty
from strokelab.scoring import score_cases, write_scores
from strokelab.seeding import seed_of
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

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

__all__ = ["PLAIN_KEYS", "SECTIONS", "train", "train_or_exit"]

SIGTERM_STATUS, SIGINT_STATUS = 143, 130

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


def train(cfg: DictConfig) -> float | None:
    """Train one run, or continue it with ``resume=RUN``.

    Returns:
        Mean Dice of the test cases on their native grids (what an optimising sweep sees), or None when the split has
        no labelled test case or ``score_test`` is off.

    Raises:
        StrokelabError: settings, data or the run folder are not what they should be; nothing was trained then.
    """
    _quiet()
    start = start_of(cfg)
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
    trainer = _trainer(settings, folder, start.checkpoint)
    if start.checkpoint is None:
        runs.write_start(folder, settings, datamodule.split_result, datamodule.sites, overrides=typed_overrides())
    else:
        runs.write_settings(folder, settings)
        runs.write_status(folder, "running", resumed=True)

    _announce(settings, folder, datamodule, model)
    started = time.perf_counter()
    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=start.checkpoint, weights_only=True)
        minutes = (time.perf_counter() - started) / 60
        score = _score_test(settings, folder, datamodule, trainer) if settings["score_test"] else None
    except SystemExit as stop:  # Lightning's way to say that it was asked to end
        status = SIGTERM_STATUS if isinstance(stop, SIGTERMException) else SIGINT_STATUS
        signal = "SIGTERM" if status == SIGTERM_STATUS else "SIGINT"
        runs.write_status(folder, "killed", error=signal)
        console.print(f"Stopped by {signal}. Continue with: python train.py resume={_short(folder)}")
        sys.exit(status)
    except BaseException as error:
        if isinstance(error, StrokelabError) and trainer.global_step == 0 and start.checkpoint is None:
            runs.erase(folder)  # refused at the last moment: nothing was trained
        else:
            first = (str(error).splitlines() or [""])[0]
            runs.write_status(folder, "failed", error=f"{type(error).__name__}: {first}")
        raise
    runs.write_status(folder, "finished", minutes=round(minutes, 2), steps=trainer.global_step)
    console.print(f"Run folder: [bold]{_short(folder)}[/] ({trainer.global_step} steps, {minutes:.1f} min)")
    return score


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


def _trainer(settings: Settings, folder: Path, checkpoint: Path | None) -> Trainer:
    has_validation = bool(settings["cohort"]["cases"].get("val"))
    callbacks: list[Callback] = [
        build(node)
        for name, node in settings["callbacks"].items()
        if node and (has_validation or not _needs_validation(node))
    ]
    if not any(type(callback).__name__ == "ResumePoint" for callback in callbacks):
        raise ConfigError(
            "callbacks",
            found="no resume_point",
            expected="strokelab.callbacks.resume_point.ResumePoint, which writes last.ckpt",
            remedy="do not switch callbacks.resume_point off",
        )
    step = int(runs.read_checkpoint(checkpoint)["global_step"]) if checkpoint else None
    loggers = [MetricsFile(folder / runs.METRICS, resumed_step=step)]
    loggers += [build(node) for node in (settings.get("logger") or {}).values() if node]
    limits = {} if has_validation else {"limit_val_batches": 0}
    progress = any(type(callback).__name__ == "Progress" for callback in callbacks)
    return cast(
        Trainer,
        build(
            {**settings["trainer"], **limits},
            callbacks=callbacks,
            logger=loggers,
            default_root_dir=str(folder),
            use_distributed_sampler=False,  # the order of samples is ours: f(seed, epoch, rank)
            enable_progress_bar=progress,
        ),
    )


def _needs_validation(node: Mapping[str, Any]) -> bool:
    return str(node.get("monitor") or "").startswith("val/")


def _score_test(settings: Settings, folder: Path, datamodule: CohortDataModule, trainer: Trainer) -> float | None:
    """Score the test part with the run as its folder alone rebuilds it: what is reported is what others can load."""
    stored = datamodule.volumes("test")
    if not stored:
        console.print("The split has no test part: nothing to score.")
        return None
    run = runs.load_run(folder, device=str(trainer.strategy.root_device), allow=("",))
    by_id = {case.case_id: case for case in datamodule.cases}
    phantom = bool(settings["cohort"].get("phantom"))
    scores = score_cases(run, [by_id[item.case_id] for item in stored], stored, phantom=phantom)
    table = scores.cases
    if table.empty:
        return None  # nobody drew a lesion in the test part
    write_scores(scores, folder / runs.CASES, folder / runs.PROBABILITIES)
    console.print(results_table(table, title=f"{settings['name']}: {len(table)} test cases, native grid"))
    return float(table["dice"].mean()) if "dice" in table else None  # no column where every case failed


def _announce(settings: Settings, folder: Path, datamodule: CohortDataModule, model: Segmenter) -> None:
    parts = [name for name in ("standardizer", "hemispheres", "adversary") if settings["model"].get(name)]
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    counts = {part: len(getattr(datamodule.split_result, part)) for part in ("train", "val", "test")}
    console.print(
        f"[bold]{settings['name']}[/] ({', '.join(parts) or 'no extra parts'}, {millions:.2f} M parameters) on "
        f"{settings['cohort']['dataset']}: {counts['train']} training, {counts['val']} validation, "
        f"{counts['test']} test cases; {datamodule.n_sites} sites; {settings['trainer']['precision']}"
    )
    console.print(f"Run folder: {_short(folder)}")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _quiet() -> None:
    """Silence what no user can act on."""
    import logging

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")  # in-process reading is measured
    warnings.filterwarnings("ignore", message=".*isinstance\\(treespec, LeafSpec\\).*")  # torch 2.13 pytree
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
