"""A run and labelled cases in, one case table out: what training's last step and ``evaluate.py`` share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.progress import track

from strokelab.contract import Case, Prediction
from strokelab.errors import DataError
from strokelab.files import replacing
from strokelab.metrics.case import score_row
from strokelab.nifti import read_grid, read_lesion

if TYPE_CHECKING:
    from strokelab.preparation.store import StoredCase
    from strokelab.runs import Run

KEYS = ("run", "case", "subject", "site")


def score_cases(
    run: Run,
    cases: Sequence[Case],
    prepared: Iterable[StoredCase],
    *,
    profile: str = "default",
    name: str | None = None,
    keep: Callable[[Case, Prediction], object] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Predict and score cases on the native grid of their reference.

    Args:
        run: a trained run.
        cases: the cases on disk; unlabelled ones are predicted (``keep`` sees them) but have no row.
        prepared: the same cases, same order, prepared for the run's view.
        profile: conventions of the metrics.
        name: how the table calls the run; default: its own name.
        keep: called with every prediction, e.g. to save it.
        progress: show a bar.

    Returns:
        One row per labelled case: run, case, subject, site, the metrics and counts of ``score_row``, and ``error``,
        which is empty unless the case could not be predicted; its metrics are then NaN.
    """
    rows = []
    pairs = list(zip(cases, prepared, strict=True))
    label = name or run.name
    for case, stored in track(pairs, f"Predicting with {label}", disable=not progress):
        row: dict[str, Any] = {"run": label, "case": case.case_id, "subject": case.subject_id, "site": case.site}
        try:
            prediction = run.predict_prepared(stored.load())
            if keep is not None:
                keep(case, prediction)
            if not case.labelled:
                continue
            image = case.reference_image
            grid = read_grid(image)
            reference = read_lesion(case.lesions, grid, image)
            volume = grid.voxel_volume_mm3
            scores = score_row(prediction.mask, reference, grid.spacing, profile, voxel_volume_mm3=volume)
            row |= {"lesion_ml": scores.pop("truth_ml"), **scores, "error": ""}
        except DataError as error:
            row |= {"error": str(error).replace("\n", " ")}
        rows.append(row)
    return pd.DataFrame(rows)


def write_table(table: pd.DataFrame, path: Path) -> Path:
    """A table as CSV, whole or not at all."""
    with replacing(path) as temporary:
        table.to_csv(temporary, index=False)
    return path
