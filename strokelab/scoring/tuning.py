"""A run and labelled cases in, every pair of threshold and smallest component out. Writes no file."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from strokelab.contract import Case
from strokelab.errors import DataError, DataWarning
from strokelab.inference.predict import where_finished
from strokelab.inference.progress import shown_in
from strokelab.inference.tune import Found, Search, best_pair, try_pairs
from strokelab.nifti import read_grid, read_lesion
from strokelab.preparation.progress import advancing, bar

if TYPE_CHECKING:
    from strokelab.preparation.store import StoredCase
    from strokelab.runs import Run
    from strokelab.runs.alone import StoredImages


def tune_cases(
    run: Run,
    cases: Sequence[Case],
    prepared: Iterable[StoredCase | StoredImages],
    search: Search,
    *,
    progress: bool = True,
) -> pd.DataFrame:
    """Predict labelled cases and try every pair on each, scored on the native grid of its reference.

    Args:
        run: a trained run; its post-processing is not looked at.
        cases: on disk.
        prepared: the same cases, same order, prepared for the run's view.
        search: the pairs.
        progress: show a bar.

    Returns:
        ``case`` and the columns of ``inference.tune.try_pairs``; a case that cannot be read is left out, with a
        ``DataWarning``.
    """
    tables = []
    pairs = list(zip(cases, prepared, strict=True))
    shown = bar("Searching threshold and smallest component", len(pairs), shown=progress)
    with shown, shown_in(shown):
        for case, stored in advancing(shown, pairs):
            try:
                rows = _of_case(run, case, stored, search)
            except DataError as error:
                said = f"not among the cases of the search: {error}"
                warnings.warn(f"{case.case_id}: {said}", DataWarning, stacklevel=2)
                continue
            tables.append(pd.DataFrame(rows).assign(case=case.case_id)[["case", *search.columns]])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["case", *search.columns])


def found_of(table: pd.DataFrame, search: Search, tested: Collection[str]) -> Found:
    """The search over all cases of a table.

    Args:
        table: of ``tune_cases``.
        search: the pairs.
        tested: ids of the cases that the run is tested on.

    Raises:
        DataError: no case could be read.
    """
    if table.empty:
        raise DataError(
            "postprocess=tuned",
            found="no case that could be predicted and read",
            expected="labelled cases to find threshold and smallest component on",
            remedy="see the warnings above",
        )
    return Found(search, table, best_pair(table, search), tested=bool({*table["case"]} & {*tested}))


def _of_case(run: Run, case: Case, stored: StoredCase | StoredImages, search: Search) -> list[dict[str, float]]:
    forms = run.as_forms(stored.load())
    prepared = next(iter(forms.values()))
    scores, grid = where_finished(prepared, run.average(forms), run.finish)
    image = case.reference_image
    native = read_grid(image)
    reference = read_lesion(case.lesions, native, image)
    return try_pairs(
        scores.lesion,
        reference != 0,
        native.spacing,
        search,
        voxel_mm3=grid.voxel_volume_mm3,
        steps=() if scores.native else prepared.steps,
    )
