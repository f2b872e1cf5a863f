"""The trainer of a run: its callbacks, its loggers, its devices. Builds; trains nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import LayerSync
from torch import nn

from strokelab import runs
from strokelab.callbacks.metrics_file import MetricsFile
from strokelab.configuration import Settings, build
from strokelab.errors import ConfigError
from strokelab.networks.synchronised_norm import desynchronise, synchronise


def trainer_of(settings: Settings, folder: Path, checkpoint: Path | None) -> Trainer:
    """The trainer that the settings ask for.

    Args:
        settings: with late facts bound and the cohort described.
        folder: of the run.
        checkpoint: to go on from; None: a new run.

    Raises:
        ConfigError: nothing would write the checkpoint that a run is resumed from, or a part refuses its settings.
    """
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
    trainer = {**settings["trainer"], **limits}
    plugins = [build(node) for node in trainer.pop("plugins", None) or []]
    if trainer.pop("sync_batchnorm", False):
        plugins.append(WholeBatchNorm())
    return cast(
        Trainer,
        build(
            trainer,
            plugins=plugins,
            callbacks=callbacks,
            logger=loggers,
            default_root_dir=str(folder),
            use_distributed_sampler=False,  # the order of samples is ours: f(seed, epoch, rank)
            enable_progress_bar=progress,
        ),
    )


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
