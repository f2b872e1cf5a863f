"""``train.py`` from the composed config to a finished run folder, in the order it reads."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, Trainer
from omegaconf import DictConfig
from rich.console import Console

from strokelab import runs
from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.configuration import (
    Settings,
    bind,
    build,
    check_buildable,
    check_fit,
    check_keys,
    override,
    plain,
)
from strokelab.data.datamodule import CohortDataModule
from strokelab.errors import ConfigError, StrokelabError
from strokelab.report.terminal import results_table
from strokelab.scoring import score_cases, write_table
from strokelab.seeding import seed_of

if TYPE_CHECKING:
    from strokelab.models.segmenter import Segmenter

# The sections of conf/train.yaml; anything else is a typing mistake.
SECTIONS = ("data", "model", "view", "split", "trainer", "callbacks", "logger", "postprocess")
PLAIN_KEYS = ("name", "seed", "run_dir", "resume", "checkpoint", "score_test", "cohort")
SIGTERM_STATUS = 143

console = Console(stderr=False)


def train_or_exit(cfg: DictConfig) -> float | None:
    """``train`` for the door: a user's mistake ends with its message and status 1, not with a traceback."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    try:
        return train(cfg)
    except StrokelabError as error:
        if HydraConfig.get().mode == RunMode.MULTIRUN:
            raise  # the other members of the sweep go on; Hydra reports this one at the end
        console.print(f"\n[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False)
        sys.exit(1)


def train(cfg: DictConfig) -> float | None:
    """Train one run, or continue it with ``resume=RUN``.

    Returns:
        Mean Dice of the test cases on their native grids (what an optimising sweep sees), or None when the split has
        no labelled test case or ``score_test`` is off.

    Raises:
        StrokelabError: settings, data or the run folder are not what they should be; nothing was trained then.
    """
    _quiet()
    if cfg.get("resume"):
        settings, folder, checkpoint = _resumed(cfg)
    else:
        settings, folder, checkpoint = plain(cfg), Path(str(cfg.run_dir)).resolve(), None
    check_keys(settings, (*SECTIONS, *PLAIN_KEYS), "config")
    check_fit(settings)
    seed = int(settings["seed"])

    datamodule = _datamodule(settings)
    datamodule.setup("fit")
    adversary = settings["model"].get("adversary")
    if adversary and datamodule.n_sites < 2:
        raise ConfigError(
            "adversary",
            found=f"{datamodule.n_sites} training site(s): {sorted(datamodule.sites)}",
            expected="at least two training sites",
            remedy="switch it off with adversary=none, or train on more sites",
        )
    facts = {
        "in_channels": len(datamodule.modalities),
        "n_sites": datamodule.n_sites or None,
        "plane": datamodule.view.input_shape,
    }
    settings = bind(settings, facts) | {"cohort": datamodule.describe()}

    torch.manual_seed(seed_of(seed, "weights"))
    model = cast("Segmenter", build(settings["model"]))
    trainer = _trainer(settings, folder, checkpoint)
    if checkpoint is None:
        runs.write_start(folder, settings, datamodule.split_result, datamodule.sites)
    else:
        runs.write_status(folder, "running", resumed=True)

    _announce(settings, folder, datamodule, model)
    started = time.perf_counter()
    try:
        trainer.fit(model, datamodule=datamodule, ckpt_path=checkpoint, weights_only=True)
    except BaseException as error:
        first = (str(error).splitlines() or [""])[0]
        runs.write_status(folder, "failed", error=f"{type(error).__name__}: {first}")
        raise
    if getattr(trainer, "received_sigterm", False):
        runs.write_status(folder, "killed", error="SIGTERM")
        console.print(f"Stopped by SIGTERM. Continue with: python train.py resume={_short(folder)}")
        sys.exit(SIGTERM_STATUS)
    minutes = (time.perf_counter() - started) / 60

    score = _score_test(settings, folder, datamodule) if settings["score_test"] else None
    runs.write_status(folder, "finished", minutes=round(minutes, 2), steps=trainer.global_step)
    console.print(f"Run folder: [bold]{_short(folder)}[/] ({trainer.global_step} steps, {minutes:.1f} min)")
    return score


def _resumed(cfg: DictConfig) -> tuple[Settings, Path, Path]:
    """Settings, folder and checkpoint of the run to continue, with the command line's own values on top."""
    from hydra.core.hydra_config import HydraConfig

    folder = Path(str(cfg.resume)).resolve()
    settings = runs.read_settings(folder)
    check_buildable(settings, where=folder / runs.CONFIG, training=True)
    typed = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    settings = override(settings, [item for item in typed if not item.startswith("resume=")])
    settings = _moved(settings, folder)
    checkpoint = runs.find_checkpoint(folder, "last")
    runs.read_checkpoint(checkpoint)
    return settings, folder, checkpoint


def _moved(settings: Settings, folder: Path) -> Settings:
    """The settings with the run folder's present place wherever its former one was written."""
    former = str(settings["run_dir"])

    def relocate(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: relocate(value) for key, value in node.items()}
        if isinstance(node, str) and (node == former or node.startswith(former + "/")):
            return str(folder) + node.removeprefix(former)
        return node

    return cast(Settings, relocate(settings))


def _datamodule(settings: Settings) -> CohortDataModule:
    view = build(settings["view"])
    split = build(settings["split"])
    return cast(CohortDataModule, build(settings["data"], view=view, split=split, seed=int(settings["seed"])))


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


def _score_test(settings: Settings, folder: Path, datamodule: CohortDataModule) -> float | None:
    """Score the test part with the run as its folder alone rebuilds it: what is reported is what others can load."""
    stored = datamodule.volumes("test")
    if not stored:
        console.print("The split has no test part: nothing to score.")
        return None
    run = runs.load_run(folder, allow=("",))
    by_id = {case.case_id: case for case in datamodule.cases}
    table = score_cases(run, [by_id[item.case_id] for item in stored], stored)
    if table.empty:
        return None
    write_table(table, folder / runs.CASES)
    console.print(results_table(table, title=f"{settings['name']}: {len(table)} test cases, native grid"))
    return float(table["dice"].mean())


def _announce(settings: Settings, folder: Path, datamodule: CohortDataModule, model: Segmenter) -> None:
    parts = [name for name in ("standardizer", "hemispheres", "adversary") if settings["model"].get(name)]
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    counts = {part: len(getattr(datamodule.split_result, part)) for part in ("train", "val", "test")}
    console.print(
        f"[bold]{settings['name']}[/] ({', '.join(parts) or 'no extra parts'}, {millions:.2f} M parameters) on "
        f"{settings['cohort']['dataset']}: {counts['train']} training, {counts['val']} validation, "
        f"{counts['test']} test cases; {datamodule.n_sites} training sites"
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
