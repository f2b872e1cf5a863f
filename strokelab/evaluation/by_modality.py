"""Rows of each run for every modality of a data set alone, and for their mean. Each image is predicted once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from strokelab.configuration import Settings
from strokelab.contract import Prediction
from strokelab.errors import ConfigError, DataError
from strokelab.evaluation.cohort import store_of
from strokelab.evaluation.entries import Entry
from strokelab.evaluation.outcomes import Keeper, Outcome, outcomes_of, own_metrics, with_classes
from strokelab.inference.postprocess import asks_classes
from strokelab.inference.progress import shown_in
from strokelab.preparation.progress import advancing, bar
from strokelab.preparation.store import PreparedStore
from strokelab.runs import Run
from strokelab.runs.alone import StoredImages, each_and_mean, store_images
from strokelab.scoring import Scorer, Scores


@dataclass(frozen=True)
class Modalities:
    """A run of one channel is applied to every image of a case alone: ``conf/ensemble/modalities.yaml``.

    Args:
        mean: how the row of the mean over the images is called; None: no such row.
        only: modalities that have a row; None: all that the data set has.

    Raises:
        ConfigError: ``only`` is empty.
    """

    mean: str | None = "ensemble"
    only: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.only is not None and not self.only:
            raise ConfigError(
                "ensemble.only",
                found="no modality",
                expected="modalities of the data set, or null",
                remedy="leave it out",
            )

    def rows(self, entry: Entry) -> dict[str, Entry]:
        """The rows of a run: modality, or name of the mean -> how tables know it.

        Args:
            entry: the run, with the images of its data set.

        Raises:
            ConfigError: the data set has none of the modalities that are asked for.
        """
        there = entry.cohort.modalities
        chosen = [name for name in there if self.only is None or name in self.only]
        if not chosen:
            raise ConfigError(
                "ensemble.only",
                found=", ".join(self.only or ()),
                expected=f"some of the modalities of {entry.cohort.dataset}: {', '.join(there)}",
                remedy="correct the names, or leave ensemble.only out for all",
            )
        rows = {name: _row(entry, name, f"{name} alone") for name in chosen}
        if self.mean and len(chosen) > 1:
            rows[self.mean] = _row(entry, self.mean, f"mean of {', '.join(chosen)}")
        return rows


def modality_outcomes(entries: Sequence[Entry], asked: Modalities, settings: Settings, out: Path) -> list[Outcome]:
    """Score every run on each modality and on their mean; a run of several channels has its usual row.

    Raises:
        StrokelabError: cases cannot be prepared, or predictions not be written.
    """
    rows = [asked.rows(entry) if entry.each else {} for entry in entries]
    stored = [_stored(entry, own, store_of(settings)) for entry, own in zip(entries, rows, strict=True)]
    found: list[Outcome] = []
    for entry, own, cases in zip(entries, rows, stored, strict=True):
        found += _scored(entry, own, cases, settings, out) if own else outcomes_of([entry], settings, out)
    return found


def _stored(entry: Entry, rows: Mapping[str, Entry], store: PreparedStore) -> list[StoredImages]:
    """The cases that have an image of the rows, prepared image by image."""
    names = [name for name in rows if name in entry.cohort.modalities]
    cases = [case for case in entry.cohort.cases if {*case.images} & {*names}]
    if entry.each is None or not cases:
        return []
    return store_images(entry.each, cases, store, modalities=names, as_trained=entry.cohort.own)


def _scored(
    entry: Entry, rows: Mapping[str, Entry], stored: Sequence[StoredImages], settings: Settings, out: Path
) -> list[Outcome]:
    run = entry.run(settings)
    keepers = {name: Keeper(row, settings, out, {**run.provenance, "model": row.label}) for name, row in rows.items()}
    own, recipe = own_metrics(settings), entry.recipe
    named = [name for name in rows if name in entry.cohort.modalities]
    mean = next((name for name in rows if name not in named), None)
    with ExitStack() as stack:
        scorers = {
            name: stack.enter_context(Scorer(row.label, keep=keepers[name].keep, phantom=row.cohort.phantom, own=own))
            for name, row in rows.items()
        }
        shown = stack.enter_context(bar(f"Predicting with {entry.label}, image by image", len(stored), shown=True))
        stack.enter_context(shown_in(shown))
        for one in advancing(shown, stored):
            for name, prediction in predictions_of(run, one, named, mean, classes=with_classes(settings)):
                scorers[name].add(one.case, prediction, settings=run.settings, recipe=dict(recipe))
    found = []
    for name, row in rows.items():
        scores = of_modality(scorers[name].scores(), name)
        found.append(Outcome(row, scores, again="each modality alone", masks=keepers[name].finish()))
    return found


def predictions_of(
    run: Run, stored: StoredImages, named: Sequence[str], mean: str | None, *, classes: bool = False
) -> Iterator[tuple[str, Prediction | DataError]]:
    """For one case: row -> its prediction; the mean of a case of one image is that image.

    Args:
        run: that is given each image alone.
        stored: the case.
        named: modalities that have a row.
        mean: how the row of the mean is called; None: there is none.
        classes: also the probabilities of all classes.
    """
    try:
        forms = stored.load()
    except DataError as error:
        there = [name for name in map(stored.name_of, stored.images) if name in named]
        yield from ((name, error) for name in [*there, *([mean] if mean else [])])
        return
    score = partial(run.scores, classes=classes or asks_classes(run.postprocess))
    for number, (used, scores) in enumerate(each_and_mean(forms, score)):
        name = stored.name_of(next(iter(used))) if number < len(forms) else mean
        if name is not None:
            yield name, run.finished(used, scores, classes)


def of_modality(scores: Scores, name: str) -> Scores:
    """The scores with a column that says of which images they are."""
    cases = scores.cases.copy()
    if len(cases):
        cases.insert(list(cases).index("dataset") + 1, "modality", name)
    return replace(scores, cases=cases)


def _row(entry: Entry, modality: str, made_of: str) -> Entry:
    return replace(
        entry,
        label=f"{entry.label} {modality}",
        model=f"{entry.model} {modality}",
        published=entry.published or entry.model,
        modality=modality,
        made_of=f"{entry.folder.name}, {made_of}",
        tuning=None,
    )
