"""Tables and pictures as wandb takes them. Knows case tables and arrays; knows no run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.callbacks.case_metrics import COUNTS, epoch_values
from strokelab.callbacks.run_facts import EVALUATED, LEADERBOARD, EvaluationFacts
from strokelab.callbacks.sharing import shared_table
from strokelab.metrics.profiles import CASE_METRICS


@dataclass(frozen=True)
class Slice:
    """One slice to look at.

    Args:
        label: ``best``, ``median`` or ``worst``.
        case: its id.
        dice: of prediction and reference.
        image: (H, W) uint8.
        reference: (H, W), non-zero = lesion.
        prediction: (H, W), non-zero = lesion.
    """

    label: str
    case: str
    dice: float
    image: NDArray[np.uint8]
    reference: NDArray[Any]
    prediction: NDArray[Any]


def means_of(cases: pd.DataFrame) -> dict[str, float]:
    """``test/dice`` and so on: what ``CaseMetrics`` logs of a validation, of the test part's case table."""
    if not set(COUNTS) <= set(cases.columns):  # no case could be scored
        return {"test/cases": 0.0, "test/failed_cases": float(len(cases))}
    metrics = [name for name in CASE_METRICS if name in cases]
    return {f"test/{name}": value for name, value in epoch_values(cases, metrics).items()}


def table_of(cases: pd.DataFrame) -> Any:
    """A ``wandb.Table``, one row per case."""
    import wandb

    cells = cases.astype(object)
    cells = cells.where(cells.notna(), None)
    return wandb.Table(columns=[str(name) for name in cells], data=cells.to_numpy(), allow_mixed_types=True)


def images_of(slices: Sequence[Slice], *, case_ids: bool) -> list[Any]:
    """``wandb.Image`` with reference and prediction as masks that can be switched.

    Args:
        slices: to show.
        case_ids: whether captions name the cases.
    """
    import wandb

    return [
        wandb.Image(
            one.image,
            caption=f"{one.label}{f': {one.case}' if case_ids else ''}, Dice {one.dice:.3f}",
            masks={
                "prediction": _mask(one.prediction, 1, "predicted"),
                "reference": _mask(one.reference, 2, "annotated"),
            },
        )
        for one in slices
    ]


def report_of(facts: EvaluationFacts, *, case_ids: bool, scans: bool) -> dict[str, Any]:
    """What a board shows of an evaluation, by its keys: ``evaluation/table_results``, ``evaluation/figure_...``.

    Args:
        facts: of the evaluation.
        case_ids: whether cases are named.
        scans: whether figures that show scans go along.
    """
    import wandb

    found = {
        LEADERBOARD: table_of(facts.leaderboard),
        EVALUATED: table_of(shared_table(facts.cases, case_ids=case_ids)),
    }
    for path in facts.tables:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        found[f"evaluation/table_{path.stem}"] = table_of(table)
    for path in (*facts.figures, *(facts.scans if scans else ())):
        found[f"evaluation/figure_{path.stem}"] = wandb.Image(str(path))
    return found


def _mask(mask: NDArray[Any], value: int, name: str) -> dict[str, Any]:
    return {"mask_data": np.where(mask != 0, value, 0).astype(np.uint8), "class_labels": {value: name}}
