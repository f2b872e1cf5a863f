"""Whole-volume metrics of the validation cases every few epochs, under the same names in every logger.

Knows whose turn it is and which process scores which case; the numbers are those of ``metrics.score_row`` and the
means those of ``statistics.aggregate``, as in an evaluation.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.data.one_modality import only
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.inference.ensemble import MeanScores
from strokelab.inference.postprocess import asks_classes, finish, settled, threshold
from strokelab.inference.precision import AS_TRAINED, Precision, settle
from strokelab.inference.predict import case_scores
from strokelab.metrics import METRICS, score_row
from strokelab.metrics.live import CaseRows
from strokelab.metrics.own import OwnMetric, check_names, score_own
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.statistics.aggregate import micro_dice, summarize

if TYPE_CHECKING:
    from strokelab.contract import PreparedCase
    from strokelab.inference.scores import Scores
    from strokelab.preparation.store import StoredCase
    from strokelab.view import View

COUNTS = ("tp", "fp", "fn", "tn")


@buildable(training="callbacks")
class CaseMetrics(Callback):
    """Logs ``val/dice``, ``val/recall``, ... : means over the validation cases, and what is not in them.

    Every process predicts and scores its own share of the cases; the rows are gathered, so that all log the numbers
    of a single process, to the last bit. Cases are scored on the prepared grid, where the curves are made; final
    results are scored on the native grid.

    Args:
        every_n_epochs: how often, among the epochs that validate; whole volumes cost more than batches. None: never.
        postprocess: probability (X, Y, Z) -> mask; the run's own (``conf/callbacks``); where a search is to find its
            pair after the training, the cut at one half.
        max_cases: only the first so many cases, for quick curves; None: all.
        profile: conventions of the metrics, e.g. ``default`` or ``isles22``.
        metrics: which ones; None: the twelve of ``score_case``.
        own: further ones by name, functions as ``metrics.own.OwnMetric``.

    Raises:
        ConfigError: the profile does not exist, or does not have one of the metrics; at the start of training, another
            callback waits for one of these numbers in epochs that do not have it.

    Logs, besides each metric's mean over cases with a finite value (inf when there is none):
        ``val/micro_dice``: Dice of the pooled voxel counts of the whole volumes.
        ``val/hd95_infinite``, and so on for every distance: cases of which one mask is empty, not in the mean.
        ``val/dice_undefined``, and so on: cases whose value is not a number, not in the mean; only where there are any.
        ``val/cases``, ``val/failed_cases``: those that were scored and those that could not be; a ``DataWarning``
        names the latter.
    """

    def __init__(
        self,
        every_n_epochs: int | None = 10,
        *,
        postprocess: Callable[..., NDArray[np.uint8]] = threshold,
        max_cases: int | None = None,
        profile: str = "default",
        metrics: Sequence[str] | None = None,
        own: Mapping[str, OwnMetric] | None = None,
    ) -> None:
        self.every_n_epochs = every_n_epochs
        self.postprocess = settled(postprocess)
        self.max_cases = max_cases
        self.profile = profile
        self.metrics = CASE_METRICS if metrics is None else tuple(metrics)
        known = _metrics_of(profile)
        unknown = [name for name in self.metrics if name not in known]
        if unknown or not self.metrics:
            raise ConfigError(
                "callbacks.case_metrics.metrics",
                found=", ".join(unknown) or "none",
                expected=f"some of {', '.join(known)}",
                remedy="correct the names; leave the setting out for the usual twelve",
            )
        self.own = dict(own or {})
        check_names(self.own, "callbacks.case_metrics.own")
        self.metrics = (*self.metrics, *self.own)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse what Lightning would end the training for after its first epoch."""
        mine = {f"val/{name}" for name in (*self.metrics, "micro_dice")}
        callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            monitored, interval = getattr(callback, "monitor", None), getattr(callback, "every_n_epochs", 1)
            if stage == "fit" and monitored in mine and (not self.every_n_epochs or interval % self.every_n_epochs):
                raise ConfigError(
                    f"{type(callback).__name__} with monitor={monitored}",
                    found=f"it looks every {interval} epoch(s), case_metrics.every_n_epochs is {self.every_n_epochs}",
                    expected="a number that is there when it looks",
                    remedy="give both the same every_n_epochs, or monitor val/pooled_dice, which every epoch has",
                )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Predict, score and log, when it is an epoch's turn."""
        if trainer.sanity_checking or not self.every_n_epochs or (trainer.current_epoch + 1) % self.every_n_epochs:
            return
        datamodule: Any = trainer.datamodule  # type: ignore[attr-defined]
        cases: list[StoredCase] = datamodule.volumes("val")[: self.max_cases]
        if not cases:
            return
        table = self._score(cases, trainer, pl_module, datamodule.view)
        for name, value in epoch_values(table, self.metrics).items():
            # Equal on all processes already: their maximum is the same to the last bit, their mean need not be.
            exact = torch.tensor(value, dtype=_precise(pl_module.device), device=pl_module.device)
            pl_module.log(f"val/{name}", exact, sync_dist=True, reduce_fx="max")

    def _score(self, cases: Sequence[StoredCase], trainer: Trainer, model: Any, view: View) -> pd.DataFrame:
        """The case table of all processes."""
        rows = CaseRows((*self.metrics, *COUNTS, "failed"))
        if trainer.world_size > 1:
            rows = rows.to(model.device)  # what is gathered lies where the processes talk
        precision = settle(AS_TRAINED, trained=str(trainer.precision), device=model.device)
        for index in range(trainer.global_rank, len(cases), trainer.world_size):
            try:
                row = self._row(cases[index], model, view, precision=precision)
            except DataError as error:
                row = {"failed": 1.0}
                epoch = trainer.current_epoch + 1
                warnings.warn(
                    f"{cases[index].case_id} is not in the validation metrics of epoch {epoch}: {error}",
                    DataWarning,
                    stacklevel=2,
                )
            rows.update(index, row)
        table: pd.DataFrame = rows.compute()
        return table.assign(error=np.where(table["failed"] == 1, "not scored", ""))

    def _row(self, stored: StoredCase, model: Any, view: View, *, precision: Precision) -> dict[str, Any]:
        prepared = stored.load()
        if prepared.lesion is None:
            raise DataError(
                stored.case_id,
                found="no lesion mask",
                expected="a mask, possibly empty, to validate on",
                remedy="leave it out with data.exclude, or put it into another part of the split",
            )
        scores = self._scores(prepared, model, view, precision=precision).finished()
        mask = finish(
            self.postprocess,
            scores.lesion,
            voxel_mm3=prepared.grid.voxel_volume_mm3,
            classes=scores.classes,
            lesion_channel=scores.lesion_channel,
        )
        pair = mask, prepared.lesion, prepared.grid.spacing
        row = score_row(*pair, self.profile, voxel_volume_mm3=prepared.grid.voxel_volume_mm3)
        return row | score_own(self.own, *pair)

    def _scores(self, prepared: PreparedCase, model: Any, view: View, *, precision: Precision) -> Scores:
        """Of the case; of a network that takes any contrast, the mean over its images, each alone."""
        score = partial(
            case_scores,
            predict=model.predict_scores,
            windows=view.windows,
            lesion_channel=model.lesion_channel,
            device=model.device,
            precision=precision,
            classes=asks_classes(self.postprocess),
        )
        if not view.any_contrast:
            return score(prepared)
        first, *rest = range(len(prepared.channels))
        scores = score(only(prepared, first))
        mean = MeanScores(scores)
        for found in (scores, *(score(only(prepared, channel)) for channel in rest)):
            mean.add(found)
        return mean.scores()


def epoch_values(table: pd.DataFrame, metrics: Sequence[str]) -> dict[str, float]:
    """What is logged of a case table: means over cases, and the numbers of those that are not in them.

    Args:
        table: a case table with the metrics, ``tp``, ``fp``, ``fn``, ``tn`` and ``error``.
        metrics: the columns to average.

    Returns:
        Name without ``val/`` -> value, see ``CaseMetrics``; the names are the same on every process.
    """
    values: dict[str, float] = {}
    for line in summarize(table, metrics).to_dict("records"):
        name = str(line["metric"])
        values[name] = float(line["mean"])
        if name in METRICS and METRICS[name].unit in ("mm", "voxels"):
            values[f"{name}_infinite"] = float(line["infinite"])
        if line["undefined"]:
            values[f"{name}_undefined"] = float(line["undefined"])
    pooled = micro_dice(table).iloc[0]
    scored = int(pooled["n"])
    return values | {
        "micro_dice": float(pooled["micro_dice"]),
        "cases": float(scored),
        "failed_cases": float(len(table) - scored),
    }


def _metrics_of(profile: str) -> tuple[str, ...]:
    """The metrics that a scored case has under a profile: there is no second list of them."""
    nothing = np.zeros((1, 1, 1), np.uint8)
    return tuple(name for name in score_row(nothing, nothing, 1.0, profile) if name in METRICS)


def _precise(device: torch.device) -> torch.dtype:
    return torch.float32 if device.type == "mps" else torch.float64  # Apple's GPUs have no float64
