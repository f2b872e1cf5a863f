"""The trainer of a run: its callbacks, its loggers, its devices. Builds; trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from lightning.pytorch.plugins import LayerSync
from torch import nn

from strokelab import runs
from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.callbacks.resume_point import ResumePoint
from strokelab.callbacks.stage import Stage
from strokelab.configuration import Settings, build
from strokelab.contract import CURVES_ONLY
from strokelab.errors import ConfigError
from strokelab.networks.synchronised_norm import desynchronise, synchronise

# Arguments of Lightning's Trainer that a training here decides itself, or cannot heed: what to do instead.
REFUSED = {
    "logger": "choose one with logger=csv, logger=tensorboard or logger=wandb; metrics.csv is always written",
    "callbacks": "give each a name: +callbacks.NAME._target_=...",
    "default_root_dir": "set run_dir=DIR",
    "enable_progress_bar": "set callbacks.progress=null for no bar",
    "use_distributed_sampler": "leave it out: each process gets its own share of every batch",
    "enable_checkpointing": "leave it out: last.ckpt is what a run is resumed and loaded from; callbacks.best=null "
    "switches the other one off",
    "fast_dev_run": "for a quick trial: trainer.max_steps=2 +trainer.limit_val_batches=1 score_test=false",
    "barebones": "for timing: callbacks=none score_test=false",
    "limit_test_batches": "leave it out: the test part is scored whole, or not at all with score_test=false",
    "limit_predict_batches": "leave it out: nothing is predicted in batches here",
    "enable_autolog_hparams": "leave it out: config.yaml holds every setting",
    "model_registry": "leave it out: strokelab knows runs by their folders",
}
_AS_USUAL = {"enable_checkpointing": True, "use_distributed_sampler": False}  # else: false and null ask for nothing


def check_trainer(trainer: Mapping[str, Any]) -> None:
    """Refuse arguments of Lightning's Trainer that would be ignored, or would leave no run to load.

    Raises:
        ConfigError: naming what to set instead.
    """
    for name, remedy in REFUSED.items():
        value = trainer.get(name)
        if value is None or value is _AS_USUAL.get(name, False):
            continue
        raise ConfigError(
            f"trainer.{name}",
            found=f"{value!r}, which a training of strokelab cannot heed",
            expected="a setting of conf/trainer, or an argument that docs/survival.md lists as honoured",
            remedy=remedy,
        )


def loggers_of(settings: Settings, folder: Path, checkpoint: Path | None) -> list[Logger]:
    """``metrics.csv`` and what else the settings ask for; those of all stages of a training.

    Args:
        settings: of the run.
        folder: of the run.
        checkpoint: to go on from; None: a new run.
    """
    step = int(runs.read_checkpoint(checkpoint)["global_step"]) if checkpoint else None
    loggers: list[Logger] = [MetricsFile(folder / runs.METRICS, resumed_step=step)]
    return loggers + [build(node) for node in (settings.get("logger") or {}).values() if node]


def trainer_of(
    settings: Settings,
    folder: Path,
    loggers: Sequence[Logger],
    stage: Stage,
    *,
    validates: bool,
    curves_only: bool = False,
) -> Trainer:
    """The trainer that the settings of a stage ask for.

    Args:
        settings: with late facts bound and the cohort described.
        folder: of the run.
        loggers: of the training.
        stage: whose settings they are; limits count from the beginning of the training.
        validates: something may be chosen by the curves (``CohortDataModule.validates``).
        curves_only: without a validation part there are curves nevertheless (``CohortDataModule.curves_only``).

    Raises:
        ConfigError: nothing would write the checkpoint that a run is resumed from, or a part refuses its settings.
    """
    callbacks: list[Callback] = [
        build(node)
        for name, node in settings["callbacks"].items()
        if node and (validates or not _needs_validation(node))
    ]
    points = [callback for callback in callbacks if isinstance(callback, ResumePoint)]
    if not points:
        raise ConfigError(
            "callbacks",
            found="no resume_point",
            expected="strokelab.callbacks.resume_point.ResumePoint, which writes last.ckpt",
            remedy="do not switch callbacks.resume_point off",
        )
    points[0].stage = stage
    limits = {} if validates or curves_only else {"limit_val_batches": 0}
    progress = any(type(callback).__name__ == "Progress" for callback in callbacks)
    trainer = {**stage.counted_on(settings["trainer"]), **limits}
    plugins = [build(node) for node in trainer.pop("plugins", None) or []]
    if trainer.pop("sync_batchnorm", False):
        plugins.append(WholeBatchNorm())
    return cast(
        Trainer,
        build(
            trainer,
            plugins=plugins,
            callbacks=callbacks,
            logger=list(loggers),
            default_root_dir=str(folder),
            use_distributed_sampler=False,  # the order of samples is ours: f(seed, epoch, rank)
            enable_progress_bar=progress,
        ),
    )


def check_monitors(settings: Settings, *, validates: bool) -> None:
    """Refuse whatever would choose by cases that test, or by a validation part that is not there.

    The checkpoint ``best`` of ``conf/callbacks`` is left out in silence where no case validates and ``checkpoint`` is
    another one: nothing asks for it.

    Args:
        settings: of a new run.
        validates: the split has a validation part.

    Raises:
        ConfigError: naming the setting.
    """
    for where, monitor in _monitors(settings):
        of_the_test = monitor.startswith(f"{CURVES_ONLY}/")
        if of_the_test or (monitor.startswith("val/") and not validates):
            raise ConfigError(
                where,
                found=f"{monitor}{', a number of cases that test' if of_the_test else ''}"
                + ("" if validates else " and no case to validate on"),
                expected="a number of the validation part, which begins with val/"
                if validates
                else "a split with a validation part",
                remedy=f"set {where}=val/pooled_dice" if validates else runs.validation_remedy(settings),
            )


def _monitors(settings: Settings) -> list[tuple[str, str]]:
    """What looks at which number: setting, number."""
    found = []
    for name, node in settings["callbacks"].items():
        monitor = str((node or {}).get("monitor") or "")
        if monitor and not (name == "best" and monitor.startswith("val/")):
            found.append((f"callbacks.{name}.monitor", monitor))
        if node and str(node.get("_target_")).endswith(".Rescue") and node.get("restart"):
            found.append((f"callbacks.{name}.restart", "val/pooled_dice"))
    model = settings["model"]
    scheduler = model.get("scheduler") or {}
    if str(scheduler.get("_target_")).endswith((".ReduceLROnPlateau", ".Plateau")):
        found.append(("model.scheduler", str(scheduler.get("monitor") or model.get("monitor") or "val/loss")))
    return found


class WholeBatchNorm(LayerSync):
    """``trainer.sync_batchnorm`` on any device: Lightning's own refuses the CPU."""

    def __init__(self) -> None:
        self._changed: list[Any] = []

    def apply(self, model: nn.Module) -> nn.Module:
        """Share the statistics while training lasts."""
        self._changed = synchronise(model)
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        """Take it back."""
        desynchronise(self._changed)
        return model


def _needs_validation(node: Mapping[str, Any]) -> bool:
    return str(node.get("monitor") or "").startswith("val/")
