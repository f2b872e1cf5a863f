"""Which cases of a dataset a run has seen in training. Knows ids and metadata; opens no image.

A case is seen where its subject trained or validated. ATLAS v1.2 subjects are in ATLAS v2.0 under other ids: the
metadata table of v2.0 has both (``ATLAS 1.2``, ``INDI Subject ID``). What that table leaves open counts as seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strokelab import runs
from strokelab.contract import Case
from strokelab.data import SEVERAL, read_cases
from strokelab.data.several import member_of, number_in_v1, tells_v1, was_in_v1
from strokelab.data.split_file import Split
from strokelab.errors import StrokelabError
from strokelab.evaluation.candidates import Candidate
from strokelab.evaluation.datasets import Dataset
from strokelab.phantoms.naming import phantom_record
from strokelab.runs.folder import read_json
from strokelab.runs.packed import ENDING

V1, V2 = "atlas_v1", "atlas_v2"

Subject = tuple[str, str]
"""Dataset and the subject's id in it."""


@dataclass(frozen=True)
class Seen:
    """What of a dataset a run has seen.

    Args:
        cases: ids of the seen cases.
        subjects: how many subjects these are.
        unknown: why nothing can be said; "" = it can.
    """

    cases: frozenset[str] = frozenset()
    subjects: int = 0
    unknown: str = ""


@dataclass(frozen=True)
class _Trained:
    """Who trained a run, and one that its weights come from."""

    subjects: frozenset[Subject]  # by all their ids
    datasets: frozenset[str]  # that they were read from
    unknown: Mapping[str, str]  # dataset -> why its cases may have been seen, where that cannot be told


class Memory:
    """What runs have seen; the cohort of each is read once.

    Args:
        datasets: that are tested on; they may tell what a cohort that is gone cannot.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._datasets = datasets
        self._cohorts: dict[tuple[str, str], Mapping[str, Case]] = {}

    def of(self, run: Candidate, dataset: Dataset) -> Seen:
        """Which cases of a dataset a run has seen."""
        if others(run, dataset):
            return Seen()
        trained = self._trained(run)
        if dataset.reader in trained.unknown:
            return Seen(unknown=trained.unknown[dataset.reader])
        if dataset.reader == V2 and V1 in trained.datasets and not tells_v1(dataset.cases):
            return Seen(unknown=f"which of its subjects are in ATLAS v1.2 is not known: no metadata in {dataset.root}")
        cases = [case for case in dataset.cases if _seen(case, dataset.reader, trained)]
        return Seen(frozenset(case.case_id for case in cases), len({case.subject_id for case in cases}))

    def _trained(self, run: Candidate) -> _Trained:
        subjects: set[Subject] = set()
        unknown: dict[str, str] = {}
        ids = [*run.split.train, *run.split.val]
        subjects |= {_subject(case_id, run.split, run.cohort) for case_id in ids}
        for name, options in cohorts_of(run.cohort).items():
            own = [case_id for case_id in ids if _dataset(case_id, run.cohort) == name]
            known = self._cases(str(run.cohort.get("dataset")), run.root, _mapping(run.cohort.get("options")))
            cases = [known[case_id] for case_id in own if case_id in known]
            subjects |= {alias for case in cases for alias in names_of(case, name) if alias[0] == V1 != name}
            if name == V2 and own and not options.get("without_v1"):
                if len(cases) < len(own) or not tells_v1(cases):
                    words = "which of its subjects trained as subjects of ATLAS v2.0 is not known: no metadata of v2.0"
                    unknown[V1] = words
                elif any(was_in_v1(case) and not number_in_v1(case) for case in cases):
                    words = "some of its subjects trained as subjects of ATLAS v2.0 under ids that the metadata lack"
                    unknown[V1] = words
        first = _of_first_weights(run.folder)
        datasets = {*cohorts_of(run.cohort), *(name for name, _ in first)}
        return _Trained(frozenset(subjects | first), frozenset(datasets), unknown)

    def _cases(self, name: str, root: Path | None, options: Mapping[str, Any]) -> Mapping[str, Case]:
        """The cases of a run's cohort by id, from its own folder or else from a dataset that is tested on."""
        key = (name, f"{root} {options}")
        if key not in self._cohorts:
            found = {case.case_id: case for one in self._datasets if one.reader == name for case in one.cases}
            if root is not None:
                with suppress(StrokelabError, TypeError, ValueError):  # a damaged cohort tells nothing
                    found |= {case.case_id: case for case in read_cases(name, root, **options)}
            self._cohorts[key] = found
        return self._cohorts[key]


def cohorts_of(cohort: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The datasets of a run's cohort, by their readers, each with its options."""
    options = _mapping(cohort.get("options"))
    if cohort.get("dataset") != SEVERAL:
        return {str(cohort.get("dataset")): options}
    nodes = {name: _mapping(node) for name, node in _mapping(options.get("datasets")).items()}
    return {str(node.get("dataset") or name): _mapping(node.get("options")) for name, node in nodes.items()}


def names_of(case: Case, dataset: str) -> set[Subject]:
    """All ids that a subject is known by: its own, and that of ATLAS v1.2 where the metadata tell it."""
    number = number_in_v1(case) if dataset in (V1, V2) else ""
    return {(dataset, case.subject_id), *([(V1, number)] if number else [])}


def others(run: Candidate, dataset: Dataset) -> bool:
    """Whether the subjects must be others: one side is synthetic, or both are and are different cohorts."""
    if run.phantom is None:
        return False
    if run.phantom != dataset.phantom:
        return True
    if not dataset.phantom or run.root is None or run.cohort.get("dataset") != dataset.reader:
        return False
    records = [phantom_record(place) for place in (run.root, dataset.root)]
    return all(records) and records[0].read_bytes() != records[1].read_bytes()  # type: ignore[union-attr]


def untold(run: Candidate, datasets: Sequence[Dataset]) -> list[str]:
    """Why scores of a run may look better than they are although no seen case is counted, in sentences."""
    words = []
    if not run.split.train and not run.split.val:
        words.append(f"{run.label}: which cases it was trained on is not recorded; it may have seen those tested on.")
    if Path(str(read_json(run.folder / runs.INIT_WEIGHTS).get("run"))).suffix.lower() == ENDING:
        words.append(f"{run.label}: it started from a packed model, which does not say what it was trained on.")
    pseudo: Any = run.cohort.get("pseudo_labels")
    tested = any(dataset.reader in cohorts_of(run.cohort) for dataset in datasets)
    if tested and isinstance(pseudo, dict) and pseudo.get("honest") is False:
        words.append(f"{run.label}: it learned from masks by models that had seen its test cases.")
    return words


def _seen(case: Case, dataset: str, trained: _Trained) -> bool:
    """Whether a case's subject trained; of the other release of ATLAS also where the metadata leave it open."""
    names = names_of(case, dataset)
    if names & trained.subjects:
        return True
    numbered = any(name == V1 and subject.isdigit() for name, subject in trained.subjects)
    if dataset == V2 and V1 in trained.datasets and was_in_v1(case):
        return not (number_in_v1(case) and numbered)
    return dataset == V1 and V2 in trained.datasets and numbered and not any(subject.isdigit() for _, subject in names)


def _of_first_weights(folder: Path, depth: int = 8) -> set[Subject]:
    """Who trained the run whose weights a run started from, and those before, as far as their folders are there."""
    first = read_json(folder / runs.INIT_WEIGHTS).get("run")
    if not isinstance(first, str) or not depth:
        return set()
    found: set[Subject] = set()
    with suppress(StrokelabError, OSError):
        before = Path(first)
        cohort = runs.read_settings(before).get("cohort") or {}
        split = runs.read_split(before)
        found = {_subject(case_id, split, cohort) for case_id in (*split.train, *split.val)}
        found |= _of_first_weights(before, depth - 1)
    return found


def _mapping(node: Any) -> Mapping[str, Any]:
    return node if isinstance(node, Mapping) else {}  # run folders may be damaged


def _subject(case_id: str, split: Split, cohort: Mapping[str, Any]) -> Subject:
    """Whose scan a case of a run's split is."""
    subject = split.about.get(case_id, ("", ""))[0] or case_id
    if cohort.get("dataset") != SEVERAL:
        return str(cohort.get("dataset")), subject
    return member_of(subject, _mapping(_mapping(cohort.get("options")).get("datasets")))


def _dataset(case_id: str, cohort: Mapping[str, Any]) -> str:
    """The reader of the dataset that a case of a run's split is of."""
    if cohort.get("dataset") != SEVERAL:
        return str(cohort.get("dataset"))
    return member_of(case_id, _mapping(_mapping(cohort.get("options")).get("datasets")))[0]
