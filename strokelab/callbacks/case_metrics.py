"""Whole-volume metrics of the validation cases every few epochs, under the same names in every logger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray

from strokelab.inference.postprocess import threshold
from strokelab.inference.predict import lesion_probability
from strokelab.metrics import score_case


class CaseMetrics(Callback):
    """Logs ``val/dice``, ``val/recall``, ... : means over validation cases, infinite distances left out.

    Cases are scored on the prepared grid, where the curves are made; final results are scored on the native grid.

    Args:
        every_n_epochs: how often; whole volumes cost more than batches. None: never.
        postprocess: probability (X, Y, Z) -> mask.
        max_cases: only the first so many cases, for quick curves; None: all.
    """

    def __init__(
        self,
        every_n_epochs: int | None = 10,
        postprocess: Callable[..., NDArray[np.uint8]] = threshold,
        max_cases: int | None = None,
    ) -> None:
        self.every_n_epochs = every_n_epochs
        self.postprocess = postprocess
        self.max_cases = max_cases

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Predict, score and log, when it is an epoch's turn."""
        if trainer.sanity_checking or not self.every_n_epochs or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        module: Any = pl_module
        rows = []
        for stored in datamodule.volumes("val")[: self.max_cases]:
            prepared = stored.load()
            if prepared.lesion is None:
                continue
            probability = lesion_probability(
                prepared,
                predict=module.predict_scores,
                windows=datamodule.view.windows,
                lesion_channel=module.lesion_channel,
                device=module.device,
            )
            rows.append(score_case(self.postprocess(probability), prepared.lesion, prepared.grid.spacing))
        for name in rows[0] if rows else ():
            finite = [float(row[name]) for row in rows if np.isfinite(row[name])]
            if finite:
                pl_module.log(f"val/{name}", float(np.mean(finite)), rank_zero_only=True)
