"""What came of each run: its own tables, or predictions made and scored now. Writes predictions; makes no report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from strokelab.configuration import Settings, build
from strokelab.contract import Case, Prediction, Registered
from strokelab.errors import ConfigError, DataError, RunError
from strokelab.evaluation.cohort import store_of
from strokelab.evaluation.entries import Entry
from strokelab.evaluation.overlays import KeptMasks
from strokelab.evaluation.own_tables import own_scores
from strokelab.grid import Grid, Orient, resample
from strokelab.inference.derivative import QC, Derivative
from strokelab.inference.registration_files import QC as REGISTRATION_QC
from strokelab.metrics.own import OwnMetric, check_names
from strokelab.nifti import read_voxels
from strokelab.preparation.store import StoredCase, Unregistered
from strokelab.preparation.template import MNI, WHITE_FROM, template_brain, template_t1
from strokelab.report.case_overlay import overlay_of
from strokelab.report.choice import cases_by_size, cases_of_all, cases_to_show
from strokelab.report.material import Overlay
from strokelab.report.overlays import qc_picture
from strokelab.report.registration_picture import registration_picture
from strokelab.runs.alone import StoredImages
from strokelab.scoring import Scores, score_cases

CLASSES = "classes"
"""A word of ``overlays``: as ``shared``, with all classes of a network that names them."""
FEW = 6
"""Up to so many runs named on the command line are looked at one by one; of more, and of sweeps, the models are."""


@dataclass(frozen=True)
class Outcome:
    """One run, scored."""

    entry: Entry
    scores: Scores
    again: str = ""  # why it was predicted now; "" = its own tables were taken
    masks: KeptMasks = field(default_factory=KeptMasks)
    overlays: tuple[Overlay, ...] = ()
    size_overlays: tuple[Overlay, ...] = ()
    shared_overlays: tuple[Overlay, ...] = ()


def own_metrics(settings: Settings) -> dict[str, OwnMetric]:
    """The user's own metrics, by the names of their columns.

    Raises:
        ConfigError: these are no metrics by name, one cannot be built, or its name is taken.
    """
    given = settings.get("metrics") or {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            "metrics",
            found=repr(given),
            expected="names, each with what computes the metric",
            remedy="'+metrics.NAME={_target_:my_parts.metric.NAME,_partial_:true}', or as a file: docs/own_parts.md",
        )
    own: dict[str, OwnMetric] = {name: build(node) for name, node in given.items()}
    check_names(own, "metrics")
    return own


def outcomes_of(entries: Sequence[Entry], settings: Settings, out: Path) -> list[Outcome]:
    """Score every run, in order; what can be wrong with a dataset is found before the first of them is predicted.

    Raises:
        StrokelabError: cases cannot be prepared, or predictions not be written.
    """
    own = [_own(entry, settings) for entry in entries]
    store = store_of(settings)
    prepared = [
        entry.stored(store, entry.cohort.cases) if isinstance(known, str) else []
        for entry, known in zip(entries, own, strict=True)
    ]
    outcomes = []
    for entry, known, stored in zip(entries, own, prepared, strict=True):
        if isinstance(known, Scores):
            masks = KeptMasks(probabilities=_graded(settings), labels=with_classes(settings))
            outcomes.append(Outcome(entry, known.named(entry.label), masks=masks))
        else:
            outcomes.append(replace(_predicted(entry, stored, settings, out), again=known))
    return outcomes


def with_overlays(outcomes: Sequence[Outcome], settings: Settings) -> list[Outcome]:
    """The outcomes with the pictures of a few cases: per run where runs are few, else per model.

    Only what was not predicted for the tables is predicted here.
    """
    groups: dict[str, list[pd.DataFrame]] = {}
    for outcome in outcomes:
        group = outcome.entry.model if many(outcomes) else outcome.entry.label
        groups.setdefault(group, []).append(outcome.scores.cases)
    by_dice: dict[str, dict[str, str]] = {}
    by_size: dict[str, dict[str, str]] = {}
    shared = _shared(outcomes) if settings.get("overlays") in ("shared", CLASSES) else {}
    for tables in groups.values():
        rows = pd.concat(tables, ignore_index=True)
        chosen = [(by_dice, cases_to_show(rows))] + ([(by_size, cases_by_size(rows))] if _graded(settings) else [])
        for wanted, shown in chosen:
            for label, run, case in shown:
                wanted.setdefault(run, {})[case] = label
    return [
        replace(
            outcome,
            size_overlays=tuple(_overlays(outcome, by_size.get(outcome.entry.label, {}), settings, graded=True)),
            overlays=tuple(_overlays(outcome, by_dice.get(outcome.entry.label, {}), settings)),
            shared_overlays=tuple(_overlays(outcome, shared.get(outcome.entry.label, {}), settings)),
        )
        for outcome in outcomes
    ]


def _shared(outcomes: Sequence[Outcome]) -> dict[str, dict[str, str]]:
    """The cases that all models are shown on: run -> case -> label."""
    tables = [outcome.scores.cases.assign(model=outcome.entry.model) for outcome in outcomes]
    wanted: dict[str, dict[str, str]] = {}
    for label, run, case in cases_of_all(pd.concat(tables, ignore_index=True)):
        wanted.setdefault(run, {})[case] = label
    return wanted


def with_classes(settings: Settings) -> bool:
    """Whether all models are shown side by side with the most probable class of each voxel."""
    return bool(settings.get("overlays") == CLASSES)


def _graded(settings: Settings) -> bool:
    """Whether the largest and the smallest lesions are shown as well, with probabilities."""
    return settings.get("overlays") == "size"


def many(outcomes: Sequence[Outcome]) -> bool:
    """Whether there are too many runs to look at each."""
    return len(outcomes) > FEW or any(
        one.member for outcome in outcomes for one in (outcome.entry, *outcome.entry.members)
    )


def save_qc(derivative: Derivative, case: Case, prediction: Prediction) -> Path:
    """A small picture of a prediction beside its mask, in RAS+ order; and of its registration, where it has one."""
    voxels, grid = read_voxels(case.reference_image)
    orient = Orient(grid)
    path = derivative.path_of(prediction.case_id, QC, case.reference_modality)
    qc_picture(orient.apply(voxels), orient.apply(prediction.mask), orient.target.spacing, path)
    for registered in prediction.registered:
        if registered.image == case.reference_modality:
            _save_registration(derivative, case, registered, voxels, grid)
    return path


def _save_registration(
    derivative: Derivative, case: Case, registered: Registered, voxels: NDArray[np.float32], grid: Grid
) -> None:
    """The registered scan with the template's outlines, beside the picture of the prediction."""
    registration_picture(
        lambda target: resample(voxels, registered.carried(grid), target),
        {"brain": template_brain(MNI), "white matter": template_t1() > WHITE_FROM},
        MNI,
        derivative.path_of(case.case_id, REGISTRATION_QC, case.reference_modality),
        title=f"registered to {registered.to}: brain overlap {registered.overlap:.2f}, "
        f"volumes x {registered.volume_factor:.2f}",
    )


def _own(entry: Entry, settings: Settings) -> Scores | str:
    if _saves(entry, settings):
        scores: Scores | str = "predictions are to be saved"
    elif settings["rescore"] is True:
        scores = "asked for with rescore=true"
    else:
        scores = own_scores(entry, settings)
    if isinstance(scores, str) and entry.cohort.absent:
        raise RunError(
            entry.folder,
            found=f"no data at {entry.cohort.absent}, and no tables of its own that would do ({scores})",
            expected="one of the two",
            remedy="restore the data, or name a dataset with data=...",
        )
    return scores


def _saves(entry: Entry, settings: Settings) -> bool:
    """Predictions are kept of runs named one by one and their means, and of sweeps when asked for."""
    asked = settings["save_predictions"]
    return not any(one.member for one in (entry, *entry.members)) if asked is None else bool(asked)


class Keeper:
    """What stays of a run's predictions: masks for pictures, and files where they are asked for.

    Args:
        entry: the run.
        settings: of the evaluation.
        out: where predictions go.
        provenance: of the predictions.

    Raises:
        DataError: predictions of an earlier evaluation lie there and were edited since.
    """

    def __init__(self, entry: Entry, settings: Settings, out: Path, provenance: Mapping[str, str]) -> None:
        self._masks = KeptMasks(probabilities=_graded(settings), labels=with_classes(settings))
        self._derivative: Derivative | None = None
        if _saves(entry, settings):
            name = f"strokelab-{entry.label}".replace("/", "-").replace(" ", "-")
            place = out / "predictions" / name
            self._derivative = Derivative(place, name=name, provenance=provenance, overwrite=True)
            _refuse_edited(self._derivative)

    def keep(self, case: Case, prediction: Prediction) -> None:
        """Take in one prediction.

        Raises:
            DataError: its files cannot be written.
        """
        self._masks.keep(prediction)
        if self._derivative is not None:
            plain = replace(prediction, classes=None)  # of which a picture alone was asked for
            self._derivative.write(plain, modality=case.reference_modality)
            save_qc(self._derivative, case, prediction)

    def finish(self) -> KeptMasks:
        """Write what is known only at the end, and hand out the masks."""
        if self._derivative is not None:
            self._derivative.finish()
        return self._masks


def _refuse_edited(derivative: Derivative) -> None:
    edited = [row.mask for row in derivative.rows().values() if row.edited()]
    if edited:
        raise DataError(
            edited[0],
            found=f"{len(edited)} masks that were edited since an earlier evaluation wrote them here",
            expected="masks as they were written, which this evaluation replaces",
            remedy="choose another out=, or move them away",
        )


def _predicted(
    entry: Entry, stored: Sequence[StoredCase | StoredImages | Unregistered], settings: Settings, out: Path
) -> Outcome:
    run = entry.load(settings)
    keeper = Keeper(entry, settings, out, run.provenance)
    scores = score_cases(
        run,
        entry.cohort.cases,
        stored,
        profile=settings["profile"],
        name=entry.label,
        keep=keeper.keep,
        phantom=entry.cohort.phantom,
        own=own_metrics(settings),
    )
    return Outcome(entry, scores, masks=keeper.finish())


def _overlays(
    outcome: Outcome, wanted: Mapping[str, str], settings: Settings, *, graded: bool = False
) -> list[Overlay]:
    by_id = {case.case_id: case for case in outcome.entry.cohort.cases if case.case_id in wanted}
    again = with_classes(settings) and not outcome.entry.modality  # images of a case alone kept theirs before
    unseen = [case for case_id, case in by_id.items() if again or case_id not in outcome.masks]
    if unseen:
        run = outcome.entry.load(settings)
        store = store_of(settings)
        for stored in outcome.entry.stored(store, unseen, progress=False):
            form = stored.load()
            outcome.masks.keep(run.predict_prepared(form, classes=True) if again else run.predict_prepared(form))
    return [
        overlay_of(
            label,
            by_id[case_id],
            outcome.masks.mask(case_id),
            outcome.masks.probability(case_id) if graded else None,
            outcome.masks.labels(case_id),
            outcome.masks.class_names,
        )
        for case_id, label in wanted.items()
        if case_id in by_id  # not where the data are elsewhere
    ]
