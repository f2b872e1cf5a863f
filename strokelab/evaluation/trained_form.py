"""A dataset that is tested on as a run's training looked at it: its options, its channels. Opens no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from strokelab.contract import Case
from strokelab.data import SEVERAL, readers
from strokelab.data.several import Member, members_of
from strokelab.errors import ConfigError, StrokelabError
from strokelab.evaluation.candidates import Candidate
from strokelab.evaluation.datasets import Dataset
from strokelab.evaluation.seen import others


@dataclass(frozen=True)
class TrainedForm:
    """How a training looked at the cases of a dataset.

    Args:
        cases: of the dataset, as they are read with the options of the training.
        held_out: ids of those that are of the test part of the run's own split.
        contrasts: channel -> the image of the dataset that was given for it, where the two names differ.
        note: in what the cases are not those that other runs are tested on, in a sentence; "" = in nothing.
        reason: why the cases cannot be read as in the training; "" = they can.
    """

    cases: tuple[Case, ...]
    held_out: frozenset[str] = frozenset()
    contrasts: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    reason: str = ""

    def named(self, channels: Sequence[str]) -> tuple[str, ...]:
        """Which images of the dataset are given for these channels."""
        return tuple(self.contrasts.get(name, name) for name in channels)

    def seen(self, case: Case) -> Case:
        """The case with its images under the names of the channels; its mask stays on the grid of its image."""
        given = {channel: image for channel, image in self.contrasts.items() if image in case.images}
        called = {image: channel for channel, image in given.items()}
        images = {name: path for name, path in case.images.items() if name not in called}
        images |= {channel: case.images[image] for channel, image in given.items()}
        reference = called.get(case.reference_modality, case.reference_modality)
        return replace(case, images=images, label_modality=reference)


def trained_form(run: Candidate, dataset: Dataset) -> TrainedForm | None:
    """How the training of a run looked at a dataset; None where the dataset is none of its training."""
    found = None if others(run, dataset) else _own(run, dataset)
    if found is None:
        return None
    member, prefix = found
    held_out = {case.case_id for case in dataset.cases if f"{prefix}{case.case_id}" in {*run.split.test}}
    form = TrainedForm(dataset.cases, frozenset(held_out), member.contrasts)
    if not member.options:
        return form
    try:
        read = {case.case_id: case for case in readers.read(member.dataset, dataset.root, **member.options)}
    except (StrokelabError, TypeError, ValueError, OSError) as error:
        told = error.found if isinstance(error, StrokelabError) else str(error)
        return replace(form, reason=f"it cannot be read with the options of the run's training: {told}")
    cases = tuple(_merged(case, read.get(case.case_id)) for case in dataset.cases)
    others_masks = sum(one.lesions != case.lesions for one, case in zip(cases, dataset.cases, strict=True))
    note = f"{run.label} on {dataset.name}: {others_masks} masks are those of its training's own options"
    return replace(form, cases=cases, note=f"{note}, other than those of other runs." if others_masks else "")


def _own(run: Candidate, dataset: Dataset) -> tuple[Member, str] | None:
    """The dataset among those of the training, and what its ids bear there."""
    cohort, root = run.cohort, run.root or Path()
    options = cohort.get("options") or {}
    known = {*run.split.train, *run.split.val, *run.split.test}
    try:
        several = members_of(options.get("datasets"), root) if cohort.get("dataset") == SEVERAL else ()
        single = () if several else (Member("", str(cohort.get("dataset")), root, dict(options)),)
    except (ConfigError, AttributeError, TypeError, ValueError):  # a damaged cohort tells nothing
        return None
    places = [(one, f"{one.name}_" if several else "") for one in (*several, *single) if one.dataset == dataset.reader]
    # Of two folders of own files that trained together, it is the one that lies there, else the one with these ids.
    for one, prefix in sorted(places, key=lambda place: place[0].root != dataset.root):
        if any(f"{prefix}{case.case_id}" in known for case in dataset.cases):
            return one, prefix
    return None


def _merged(case: Case, trained: Case | None) -> Case:
    """The case as the training read it, with those of its images that were not asked for there."""
    if trained is None or not trained.labelled:
        return case
    images = {**case.images, **trained.images}
    return replace(trained, images=images, label_modality=trained.reference_modality)
