"""Persons and their scans: the unit of every split. Knows ids, labels and volumes; knows no parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from strokelab.contract import Case
from strokelab.errors import ConfigError, DataError
from strokelab.files import natural_key

Volumes = Callable[[], Mapping[str, float]]
"""Lesion volume (ml) of every labelled case by id; called only by splits that look at it."""
People = dict[str, list[Case]]


def people_of(cases: Sequence[Case]) -> People:
    """The scans of each person, persons and scans in natural order."""
    people: defaultdict[str, list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: natural_key(case.case_id)):
        people[case.subject_id].append(case)
    return {person: people[person] for person in sorted(people, key=natural_key)}


def first_persons(cases: Sequence[Case], limit: int) -> list[Case]:
    """The scans of the first ``limit`` persons of each site, in the order of ``cases``."""
    kept: set[str] = set()
    for site in {case.site for case in cases}:
        kept.update([*people_of([case for case in cases if case.site == site])][:limit])
    return [case for case in cases if case.subject_id in kept]


def labelled_people(cases: Sequence[Case], fold: int, folds: int) -> People:
    """The persons that can be dealt to ``folds`` folds.

    Raises:
        DataError: an unlabelled case, or fewer persons than folds.
        ConfigError: there is no such fold.
    """
    refuse_unlabelled([case for case in cases if not case.labelled])
    people = people_of(cases)
    if len(people) < folds:
        raise DataError(
            "split",
            found=f"{len(people)} persons",
            expected=f"at least {folds}",
            remedy="use more cases or fewer folds",
        )
    if not (folds > 1 and 0 <= fold < folds):
        raise ConfigError(
            "split.fold", found=f"{fold} of {folds}", expected="0..folds-1, two folds or more", remedy="set split.fold"
        )
    return people


def strata(people: People, volumes: Volumes | None) -> dict[str, list[str]]:
    """Persons with a lesion and persons whose every mask is empty, to be drawn from apart."""
    ml = volumes() if volumes is not None else {}
    empty = [person for person, scans in people.items() if all(ml.get(case.case_id, 1.0) == 0 for case in scans)]
    return {"lesion": [person for person in people if person not in set(empty)], "empty": empty}


def some(people: Sequence[str], fraction: float, rng: np.random.Generator) -> set[str]:
    """A random share of the persons: at least one, but never all."""
    if fraction <= 0 or len(people) < 2:
        return set()
    count = min(max(round(fraction * len(people)), 1), len(people) - 1)
    return {people[index] for index in rng.permutation(len(people))[:count]}


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
