"""Subjects and their scans: the unit of every split. Knows ids, labels and volumes; knows no parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from strokelab.contract import Case
from strokelab.errors import ConfigError, DataError
from strokelab.files import natural_key

Volumes = Callable[[], Mapping[str, float]]
"""Lesion volume (ml) of every labelled case by id; called only by splits that look at it."""
Subjects = dict[str, list[Case]]


def subjects_of(cases: Sequence[Case]) -> Subjects:
    """The scans of each subject, subjects and scans in natural order."""
    subjects: defaultdict[str, list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: natural_key(case.case_id)):
        subjects[case.subject_id].append(case)
    return {subject: subjects[subject] for subject in sorted(subjects, key=natural_key)}


def first_subjects(cases: Sequence[Case], limit: int) -> list[Case]:
    """The scans of the first ``limit`` subjects of each site, in the order of ``cases``."""
    kept: set[str] = set()
    for site in {case.site for case in cases}:
        kept.update([*subjects_of([case for case in cases if case.site == site])][:limit])
    return [case for case in cases if case.subject_id in kept]


def labelled_subjects(cases: Sequence[Case], fold: int, folds: int) -> Subjects:
    """The subjects that can be dealt to ``folds`` folds.

    Raises:
        DataError: an unlabelled case, or fewer subjects than folds.
        ConfigError: there is no such fold.
    """
    refuse_unlabelled([case for case in cases if not case.labelled])
    subjects = subjects_of(cases)
    if len(subjects) < folds:
        raise DataError(
            "split",
            found=f"{len(subjects)} subjects",
            expected=f"at least {folds}",
            remedy="use more cases or fewer folds",
        )
    if not (folds > 1 and 0 <= fold < folds):
        raise ConfigError(
            "split.fold", found=f"{fold} of {folds}", expected="0..folds-1, two folds or more", remedy="set split.fold"
        )
    return subjects


def strata(subjects: Subjects, volumes: Volumes | None, column: str = "none") -> dict[str, list[str]]:
    """Subjects with a lesion and subjects whose every mask is empty, to be sampled from apart.

    Args:
        subjects: to be divided.
        volumes: of their lesions.
        column: of ``Case.meta``; each is divided further by its values (of the first scan), numbers by quarters of
            their rank, and subjects without a value are a stratum of their own. "none": not divided further.
    """
    ml = volumes() if volumes is not None else {}
    empty = [subject for subject, scans in subjects.items() if all(ml.get(case.case_id, 1.0) == 0 for case in scans)]
    found = {"lesion": [subject for subject in subjects if subject not in set(empty)], "empty": empty}
    return found if column == "none" else {f"{n}/{v}": s for n, g in found.items() for v, s in _by(subjects, g, column)}


def check_column(cases: Sequence[Case], column: str) -> None:
    """Hold what a split is to be stratified by against what is known of the cases.

    Raises:
        ConfigError: it is neither none nor volume nor a column of the dataset's table.
    """
    columns = sorted({str(key) for case in cases for key in case.meta})
    if column not in ("none", "volume", *columns):
        raise ConfigError(
            "split.stratify",
            found=repr(column),
            expected=", ".join(["none", "volume", *columns]),
            remedy="set split.stratify=volume",
        )


def _by(subjects: Subjects, names: Sequence[str], column: str) -> list[tuple[str, list[str]]]:
    values = {name: subjects[name][0].meta.get(column) for name in names}
    numbers = {name: value for name, value in values.items() if isinstance(value, float)}
    ranked = sorted(numbers, key=lambda name: (numbers[name], natural_key(name)))
    quarter = {name: f"quarter {4 * place // len(ranked) + 1}" for place, name in enumerate(ranked)}
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(quarter.get(name, str(values[name])), []).append(name)
    return sorted(groups.items())


def some(subjects: Sequence[str], fraction: float, rng: np.random.Generator) -> set[str]:
    """A random share of the subjects: at least one, but never all."""
    if fraction <= 0 or len(subjects) < 2:
        return set()
    count = min(max(round(fraction * len(subjects)), 1), len(subjects) - 1)
    return {subjects[index] for index in rng.permutation(len(subjects))[:count]}


def refuse_unlabelled(cases: Sequence[Case]) -> None:
    """Stop at cases without a mask.

    Raises:
        DataError: naming the first of them, if there are any.
    """
    if cases:
        names = ", ".join(case.case_id for case in cases[:5]) + (", ..." if len(cases) > 5 else "")
        raise DataError(
            "split",
            found=f"{len(cases)} cases without a lesion mask in training: {names}",
            expected="labelled cases in the train and val parts",
            remedy="leave them out with ++data.labelled_only=true or data.exclude, or put them into test",
        )
