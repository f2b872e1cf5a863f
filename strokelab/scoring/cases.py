"""Cases are predicted and scored, one row each. Knows a run and arrays; knows no folder it could write into."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab import __version__
from strokelab.configuration import Settings
from strokelab.contract import Case, Prediction
from strokelab.errors import DataError
from strokelab.inference.progress import shown_in
from strokelab.metrics.case import score_row
from strokelab.metrics.own import OwnMetric, score_own
from strokelab.metrics.profiles import find_profile
from strokelab.metrics.thresholds import of_probabilities
from strokelab.nifti import read_grid, read_lesion
from strokelab.preparation.progress import advancing, bar
from strokelab.scoring.tables import PROBABILITY_COLUMNS, Scores, typed

if TYPE_CHECKING:
    from strokelab.preparation.store import StoredCase, Unregistered
    from strokelab.runs import Ensemble, Run
    from strokelab.runs.alone import StoredImages

Row = dict[str, Any]
Scored = tuple[Row | None, pd.DataFrame | None]  # a row of either table; None: no mask was drawn

_AHEAD = 2  # predictions that may wait to be scored: memory stays flat


def score_cases(
    run: Run | Ensemble,
    cases: Sequence[Case],
    prepared: Iterable[StoredCase | StoredImages | Unregistered],
    *,
    profile: str = "default",
    name: str | None = None,
    keep: Callable[[Case, Prediction], object] | None = None,
    phantom: bool = False,
    own: Mapping[str, OwnMetric] | None = None,
    progress: bool = True,
) -> Scores:
    """Predict and score cases on the native grid of their reference.

    Args:
        run: a trained run, or an ensemble of them.
        cases: the cases on disk; unlabelled ones are predicted (``keep`` sees them) but have no row.
        prepared: the same cases, same order, prepared for the run's view.
        profile: conventions of the metrics.
        name: how the table calls the run; default: its own name.
        keep: called with every prediction, in the order of the cases but in another thread, e.g. to save it.
        phantom: synthetic images: what a reader knows of the real sites' scanners is not said of them.
        own: further metrics by name, each a column of its own.
        progress: show a bar.

    Returns:
        One row per labelled case, in their order. A case that could not be predicted, read or kept has the error's
        text; its metrics are then NaN.
    """
    recipe = recipe_of(run, profile)
    pairs = list(zip(cases, prepared, strict=True))
    name = name or run.name
    shown = bar(f"Predicting with {name}", len(pairs), shown=progress)
    with Scorer(name, keep=keep, phantom=phantom, own=own) as scorer, shown, shown_in(shown):
        for case, stored in advancing(shown, pairs):
            scorer.add(case, predicted(run, stored), settings=run.settings, recipe=recipe)
    return scorer.scores()


def predicted(run: Run | Ensemble, stored: StoredCase | StoredImages | Unregistered) -> Prediction | DataError:
    """The prediction of a case, or what is wrong with its files."""
    try:
        return run.predict_prepared(stored.load())
    except DataError as error:
        return error


class Scorer:
    """Scores predictions in a thread of its own while the next is made. Leaving it waits for the last of them.

    Args:
        name: how the table calls the run.
        keep: as for ``score_cases``.
        phantom: as for ``score_cases``.
        own: as for ``score_cases``.
    """

    def __init__(
        self,
        name: str,
        *,
        keep: Callable[[Case, Prediction], object] | None = None,
        phantom: bool = False,
        own: Mapping[str, OwnMetric] | None = None,
    ) -> None:
        self.name = name
        self._keep = keep
        self._own = own or {}
        self._phantom = phantom
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._waiting: deque[Future[Scored]] = deque()
        self._rows: list[Scored] = []

    def add(self, case: Case, prediction: Prediction | DataError, *, settings: Settings, recipe: Row) -> None:
        """Take a prediction to be scored, waiting where too many wait already.

        Args:
            case: on disk.
            prediction: of it, or what kept it from being made.
            settings: of the training: ``seed`` and ``split.fold`` are looked at.
            recipe: of ``recipe_of``.
        """
        row = _origin(settings, case, label=self.name, phantom=self._phantom) | recipe
        self._waiting.append(
            self._thread.submit(partial(_scored, case, prediction, row=row, keep=self._keep, own=self._own))
        )
        if len(self._waiting) > _AHEAD:
            self._rows.append(self._waiting.popleft().result())

    def scores(self) -> Scores:
        """One row per labelled case, in the order they came."""
        while self._waiting:
            self._rows.append(self._waiting.popleft().result())
        counted = [table for _, table in self._rows if table is not None]
        probabilities = pd.concat(counted, ignore_index=True) if counted else pd.DataFrame(columns=PROBABILITY_COLUMNS)
        return Scores(typed(pd.DataFrame([row for row, _ in self._rows if row is not None])), typed(probabilities))

    def __enter__(self) -> Scorer:
        return self

    def __exit__(self, *error: object) -> None:
        self._thread.shutdown()


def recipe_of(run: Run | Ensemble, profile: str) -> Row:
    """The columns ``RECIPE``: what a row depends on besides the case's own files."""
    return {
        "checkpoint": run.provenance["checkpoint"],
        "weights": run.digest[:16],
        "inference": run.provenance["inference"],
        "postprocessing": json.dumps(json.loads(run.provenance.get("postprocess", "null")), sort_keys=True),
        "profile": find_profile(profile).name,
        "version": __version__,
    }


def scanner_of(case: Case) -> str:
    """What the dataset's reader knows of a case's scanner, in the dataset's own words; "" when nothing."""
    known = [case.meta.get("scanner")] if case.meta.get("scanner") else []
    known = known or [case.meta.get(f"scanner {part}") for part in ("brand", "strength")]  # ATLAS v2.0's table
    return " ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in known if value)


def _origin(settings: Settings, case: Case, *, label: str, phantom: bool) -> Row:
    fold = (settings.get("split") or {}).get("fold")
    return {
        "run": label,
        "case": case.case_id,
        "subject": case.subject_id,
        "site": case.site,
        "dataset": case.dataset,
        "scanner": "" if phantom else scanner_of(case),
        "fold": None if fold is None else str(fold),
        "seed": settings.get("seed"),
    }


def _scored(
    case: Case,
    prediction: Prediction | DataError,
    *,
    row: Row,
    keep: Callable[[Case, Prediction], object] | None,
    own: Mapping[str, OwnMetric],
) -> Scored:
    try:
        if isinstance(prediction, DataError):
            raise prediction
        if keep is not None:
            keep(case, prediction)
        if not case.labelled:
            return None, None
        scores, probabilities = _scores(case, prediction, profile=row["profile"], own=own)
    except DataError as error:
        return row | {"error": str(error).replace("\n", " ")}, None
    if probabilities is not None:
        probabilities.insert(0, "run", row["run"])
        probabilities.insert(1, "case", case.case_id)
    return row | scores | {"error": ""}, probabilities


def _scores(
    case: Case, prediction: Prediction, profile: str, own: Mapping[str, OwnMetric]
) -> tuple[Row, pd.DataFrame | None]:
    image = case.reference_image
    grid = read_grid(image)
    reference = read_lesion(case.lesions, grid, image)
    volume = grid.voxel_volume_mm3
    scores: Row = dict(score_row(prediction.mask, reference, grid.spacing, profile, voxel_volume_mm3=volume))
    row = {"lesion_ml": scores.pop("truth_ml"), **scores}
    row |= score_own(own, prediction.mask, reference, grid.spacing)
    if prediction.covered is not None:
        row["lesion_outside"] = outside_share(reference, prediction.covered)
    if prediction.probability is None:
        return row | {"mdsc": float("nan"), "mdsc_threshold": float("nan")}, None
    best, histogram = of_probabilities(prediction.probability, reference, profile)
    return row | best, histogram


def outside_share(reference: NDArray[np.uint8], covered: NDArray[np.bool_]) -> float:
    """Share of a lesion's voxels at which windows do not look; NaN without lesion.

    Args:
        reference: (X, Y, Z) 0/1.
        covered: (X, Y, Z), of ``Prediction``.
    """
    voxels = np.count_nonzero(reference)
    return float(np.count_nonzero(reference[~covered])) / voxels if voxels else float("nan")
