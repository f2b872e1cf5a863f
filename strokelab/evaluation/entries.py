"""The runs of an evaluation: loaded to see that they can be, named apart, no result counted twice.

The weights of a few stay for what follows; a sweep may have more members than memory has room for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from strokelab.configuration import Settings
from strokelab.contract import Case
from strokelab.data.splits import Split
from strokelab.errors import DataError, RunError
from strokelab.evaluation.cohort import Cohort, Cohorts
from strokelab.evaluation.naming import identity_of, names_of
from strokelab.evaluation.sweep import Finished
from strokelab.evaluation.tuning import Tuning
from strokelab.inference.precision import AS_TRAINED
from strokelab.inference.tune import Found
from strokelab.preparation.store import PreparedStore, Preparing, StoredCase, Unregistered
from strokelab.runs import SNAPSHOTS, Ensemble, Run, each_named, load_ensemble, load_run, run_folders
from strokelab.runs.alone import StoredImages, store_images
from strokelab.runs.members import Loading, Pool
from strokelab.runs.preparer import Preparer
from strokelab.scoring.cases import recipe_of
from strokelab.view import View

_KEPT_GB = 1.0
"""For the weights of runs that stay loaded from the first look at them to the report."""


@dataclass(frozen=True)
class Entry:
    """One run to evaluate: everything but its weights."""

    folder: Path
    name: str  # how the run calls its model
    settings: Settings  # of its training
    view: View
    split: Split
    sites: Mapping[str, int]
    recipe: Mapping[str, str]  # scoring's columns: checkpoint, weights, post-processing, profile, version
    cohort: Cohort
    label: str = ""  # how tables call the run
    model: str = ""  # how tables call the model, of which there may be several runs
    differs: str = ""  # settings that tell the model from its namesakes, where ``model`` does not say them
    member: str = ""  # its name in the sweep; "" = named on the command line
    overrides: Mapping[str, str] = field(default_factory=dict)  # that tell it from the sweep's others
    members: tuple[Entry, ...] = ()  # the runs whose mean it is; () = a run
    made_of: str = ""  # the same in words
    preparer: Preparer | None = None  # where its cases are not those of its own split
    pool: Pool | None = field(default=None, repr=False, compare=False)  # that loads it; None: there is no run
    published: str = ""  # what conf/paper knows the model by, where that is not its name in tables
    tuning: Found | None = field(default=None, repr=False, compare=False)  # the search for its post-processing
    tuned_in: Path | None = None  # where that lies
    epoch: int | None = None  # from 1, of the checkpoint
    averaged: tuple[str, ...] = ()  # checkpoints of the run whose mean it is; () = the one that is evaluated
    each: Preparer | None = None  # where it predicts each image of a case alone
    modality: str = ""  # the one image that it is given, or the name of their mean; "" = as it is applied otherwise

    def stored(
        self, store: PreparedStore, cases: Sequence[Case], *, progress: bool = True
    ) -> Sequence[StoredCase | StoredImages | Unregistered]:
        """Cases in the store, as the run looks at them.

        Raises:
            DataError: cases cannot be prepared.
        """
        if self.each is None:
            return store.prepare_each(cases, self.preparing(store), progress=progress)
        names, own = self.cohort.modalities, self.cohort.own
        return store_images(self.each, cases, store, modalities=names, as_trained=own, progress=progress)

    def preparing(self, store: PreparedStore) -> Preparing:
        """How its cases are prepared: those of its own split as in the training, others as the run prepares scans."""
        return self.view.preparation if self.preparer is None else partial(self.preparer, store=store.folder)

    def load(self, settings: Settings) -> Run | Ensemble:
        """The run with its weights, or the mean of several of its checkpoints."""
        run = self.run(settings)
        if not self.averaged:
            return run
        return load_ensemble(
            [self.folder],
            name=self.name,
            checkpoint=self.averaged,
            postprocess=run.postprocess_node,
            **_given(settings),
        )

    def run(self, settings: Settings) -> Run:
        """The run with the weights of the checkpoint that is evaluated."""
        assert self.pool is not None
        return self.pool.run(_loading(self.folder, settings))


def entries_of(
    folders: Sequence[str], finished: Sequence[Finished], settings: Settings, *, each: bool = False
) -> list[Entry]:
    """The runs named on the command line and the finished members of sweeps, each checked, all told apart.

    Args:
        folders: run folders and packed models.
        finished: members of sweeps.
        settings: of the evaluation.
        each: runs of one channel are applied to each modality of a dataset.

    Raises:
        StrokelabError: a run cannot be loaded or its dataset not be read, or a result would count twice.
    """
    cohorts = Cohorts(settings, each=each)
    listed = [Finished(folder.expanduser().resolve(), "", {}) for folder in run_folders(folders)]
    tuning = Tuning(settings, cohorts)
    pool = Pool(lambda asked: tuning.settled(_load(asked.folder, settings, asked.checkpoint)), _KEPT_GB)
    entries = [_entry(one, cohorts, tuning, settings, pool) for one in [*listed, *finished]]
    _refuse_folder_twice(entries)
    entries = _named(entries)
    _refuse_result_twice(entries)
    return entries


def _entry(one: Finished, cohorts: Cohorts, tuning: Tuning, settings: Settings, pool: Pool) -> Entry:
    run = pool.run(_loading(one.folder, settings))
    place, found = tuning.place(run) or (None, None)
    for further in each_named(one.folder, _checkpoints(settings))[1:]:
        _load(one.folder, settings, further)
    try:
        cohort = cohorts.of(run)
    except DataError as error:
        if not one.name or settings.get("data"):
            raise
        cohort = cohorts.elsewhere(run, error.where)  # its own tables may do
    return Entry(
        folder=run.folder,
        name=run.name,
        settings=run.settings,
        view=run.view,
        split=run.split,
        sites=run.sites,
        recipe=recipe_of(run, settings["profile"]),
        cohort=cohort,
        member=one.name,
        overrides=one.overrides,
        preparer=None if cohort.own else run.preparation_of.ready(),
        each=run.preparation_of if cohort.modalities else None,
        pool=pool,
        tuning=found,
        tuned_in=place,
        epoch=run.epoch,
    )


def _checkpoints(settings: Settings) -> list[str | None]:
    chosen = settings["checkpoint"]
    return chosen if isinstance(chosen, list) else [chosen]


def _loading(folder: Path, settings: Settings) -> Loading:
    """Of several checkpoints that are averaged, the first; of snapshots, the run's own choice."""
    first = _checkpoints(settings)[0]
    return Loading(folder, None if first == SNAPSHOTS else first, 0)


def _load(folder: Path, settings: Settings, checkpoint: str | None) -> Run:
    return load_run(folder, checkpoint=checkpoint, postprocess=settings.get("postprocess"), **_given(settings))


def _given(settings: Settings) -> dict[str, Any]:
    return {
        "device": settings["device"],
        "allow": settings["allow"],
        "precision": settings.get("precision") or AS_TRAINED,
        "windows": settings.get("windows"),
        **intake_of(settings),
    }


def intake_of(settings: Settings) -> dict[str, str]:
    """How scans are taken in, as ``load_run`` asks for it; settings of earlier versions do not say."""
    return {"register": settings.get("register") or "auto", "brain_mask": settings.get("brain_mask") or "as_trained"}


def _named(entries: Sequence[Entry]) -> list[Entry]:
    """Entries with the names of runs and models that tables use."""
    return [replace(entry, **names._asdict()) for entry, names in zip(entries, names_of(entries), strict=True)]


def _refuse_folder_twice(entries: Sequence[Entry]) -> None:
    for folder, count in Counter(entry.folder for entry in entries).items():
        if count > 1:
            raise RunError(
                folder, found=f"the same run {count} times", expected="each run once", remedy="leave the others out"
            )


def _refuse_result_twice(entries: Sequence[Entry]) -> None:
    seen: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        # Where the data are elsewhere, the split says who was tested.
        for case_id in [case.case_id for case in entry.cohort.cases] or entry.split.test:
            other = seen.setdefault((identity_of(entry.model, entry.settings), case_id), entry)
            if other is not entry:
                raise RunError(
                    entry.folder,
                    found=f"case {case_id} a second time with {entry.model}, the same split and seed "
                    f"{entry.settings.get('seed')}; first in {other.folder}",
                    expected="one run per model, split and seed",
                    remedy="leave one of the two out; two variants of a model need different names (train.py name=...)",
                )
