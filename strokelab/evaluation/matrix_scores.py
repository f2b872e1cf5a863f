"""One run on one dataset of a matrix: predicted and scored now, case by case. Memory holds one case and the tables."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path

import pandas as pd

from strokelab.configuration import Settings
from strokelab.contract import Case
from strokelab.evaluation.by_modality import of_modality, predictions_of
from strokelab.evaluation.cohort import Cohorts, store_of
from strokelab.evaluation.trained_form import TrainedForm
from strokelab.evaluation.tuning import Tuning
from strokelab.inference.progress import shown_in
from strokelab.preparation.progress import advancing, bar
from strokelab.runs import Run, load_run
from strokelab.runs.alone import StoredImages, Whole, preparing, store_images
from strokelab.scoring import Scorer, Scores, score_cases
from strokelab.scoring.cases import recipe_of
from strokelab.scoring.tables import typed


def loaded(folder: Path, settings: Settings) -> Run:
    """A run with its weights; where its post-processing is searched for and was not found, it is found now.

    Args:
        folder: of the run.
        settings: of the matrix, with the keys of an evaluation.

    Raises:
        StrokelabError: it cannot be loaded, or its post-processing not be found.
    """
    run = load_run(
        folder,
        checkpoint=settings["checkpoint"],
        device=settings["device"],
        allow=settings["allow"],
        precision=settings["precision"],
        register=settings["register"],
        brain_mask=settings["brain_mask"],
    )
    return Tuning(settings, Cohorts(settings)).settled(run)


def predicted_scores(
    run: Run,
    cases: Sequence[Case],
    contrasts: Sequence[str],
    settings: Settings,
    *,
    main: str,
    mean: str | None,
    form: TrainedForm | None,
    phantom: bool,
) -> Scores:
    """Predict and score cases.

    Args:
        run: that predicts.
        cases: that have a mask.
        contrasts: the images that it is given each alone; (): all that it was trained on, at once.
        settings: of the matrix.
        main: how the rows that stand for the run are called.
        mean: how the rows of the mean over these images are called; None: there are none.
        form: how its training looked at the dataset, which held-out cases are prepared as; None: it is another.
        phantom: synthetic images.

    Returns:
        The case table with a column ``modality``: of which image a row is, or how the mean is called.

    Raises:
        DataError: cases cannot be prepared.
    """
    store, preparer = store_of(settings), run.preparation_of
    own: Collection[str] = form.held_out if form else ()
    if contrasts:
        given = form.named(preparer.own.modalities) if form and not run.any_contrast else ()
        whole = Whole(given[0], form.seen) if form and given else None
        stored = store_images(preparer, cases, store, modalities=contrasts, as_trained=own, whole=whole)
        return _image_by_image(run, stored, contrasts, settings, mean=mean, phantom=phantom)
    seen = [form.seen(case) for case in cases] if form else cases
    ready = preparer if {case.case_id for case in cases} <= {*own} else preparer.ready()
    prepared = store.prepare_each(seen, preparing(ready, store, as_trained=own))
    scores = score_cases(run, cases, prepared, profile=settings["profile"], phantom=phantom)
    return of_modality(scores, main)


def _image_by_image(
    run: Run,
    stored: Sequence[StoredImages],
    contrasts: Sequence[str],
    settings: Settings,
    *,
    mean: str | None,
    phantom: bool,
) -> Scores:
    recipe = recipe_of(run, settings["profile"])
    with ExitStack() as stack:
        names = [*contrasts, *([mean] if mean else [])]
        scorers = {name: stack.enter_context(Scorer(run.name, phantom=phantom)) for name in names}
        shown = stack.enter_context(bar(f"Predicting with {run.name}, image by image", len(stored), shown=True))
        stack.enter_context(shown_in(shown))
        for one in advancing(shown, stored):
            for name, prediction in predictions_of(run, one, contrasts, mean):
                scorers[name].add(one.case, prediction, settings=run.settings, recipe=recipe)
    tables = [of_modality(scorer.scores(), name) for name, scorer in scorers.items()]
    cases = pd.concat([table.cases for table in tables], ignore_index=True)
    # Of a run and a case there is one histogram of probabilities: that of the mean, where there are several images.
    return Scores(typed(cases), tables[-1].probabilities)
