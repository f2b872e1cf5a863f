"""Which trained runs of a sweep can teach, and which scheme does. Reads run folders and case tables; loads no model."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from strokelab import runs
from strokelab.data.split_file import Split
from strokelab.errors import RunError
from strokelab.scoring.tables import read_scores
from strokelab.sweeps.record import SweepMember, told_record
from strokelab.sweeps.states import state_of

SCHEMES = ("nnunet", "nnunet_topk", "nnunet_residual")
"""Huo 2022, section 2.2: the schemes that need no pseudo-labels."""


@dataclass(frozen=True)
class Teacher:
    """A finished run of one fold.

    Args:
        folder: of the run.
        fold: that it was tested on.
        split: who was in which part.
        checkpoint: that it predicts with.
    """

    folder: Path
    fold: int
    split: Split
    checkpoint: Path

    @property
    def seen(self) -> frozenset[str]:
        """Ids of all cases that had a share in its weights or in their choice."""
        return frozenset((*self.split.train, *self.split.val))

    @property
    def subjects(self) -> frozenset[str]:
        """The subjects of these cases."""
        return frozenset(self.split.about[case_id][0] for case_id in self.seen if case_id in self.split.about)


@dataclass(frozen=True)
class SchemeScore:
    """What a scheme reached in cross-validation, every case scored by the one run that was tested on it.

    Args:
        scheme: its model.
        cases: how many.
        dice_mean: over the cases.
        dice_sd: over the cases, with n - 1.
    """

    scheme: str
    cases: int
    dice_mean: float
    dice_sd: float


def find_teachers(folder: Path, schemes: Sequence[str], folds: int) -> dict[str, list[Teacher]]:
    """The teachers of each scheme in the folder of a sweep, one per fold, in order.

    Raises:
        RunError: a fold is missing, not finished, there twice, or tests on cases of another fold.
    """
    members = told_record(folder).members
    found = {scheme: [_of_scheme(folder, members, scheme, fold) for fold in range(folds)] for scheme in schemes}
    teachers = {scheme: [_teacher(member, fold) for fold, member in enumerate(of)] for scheme, of in found.items()}
    for scheme, of_scheme in teachers.items():
        tested = Counter(case_id for teacher in of_scheme for case_id in teacher.split.test)
        twice = [case_id for case_id, count in tested.items() if count > 1]
        if twice:
            raise RunError(
                folder,
                found=f"{len(twice)} cases in the test part of several folds of {scheme}, e.g. {twice[0]!r}",
                expected="a cross-validation: every case tests once",
                remedy="use one split and one split.seed for all folds",
            )
    return teachers


def cross_validated(teachers: Mapping[str, Sequence[Teacher]]) -> list[SchemeScore]:
    """The score of each scheme, the best first; among equals the one named first.

    Raises:
        RunError: a run was not scored, a case could not be, or schemes were tested on different cases.
    """
    scores, tested = [], {}
    for scheme, of_scheme in teachers.items():
        dice: dict[str, float] = {}
        for teacher in of_scheme:
            dice |= _dice(teacher)
        values = list(dice.values())
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        scores.append(SchemeScore(scheme, len(values), math.fsum(values) / len(values), spread))
        tested[scheme] = dice.keys()
    first = next(iter(tested))
    others = [scheme for scheme, ids in tested.items() if ids != tested[first]]
    if others:
        raise RunError(
            f"{first}, {', '.join(others)}",
            found="schemes that were tested on different cases",
            expected="the same cohort and folds for all",
            remedy="train all schemes with one set of data and split settings",
        )
    return sorted(scores, key=lambda score: -score.dice_mean)


def _of_scheme(folder: Path, members: Sequence[SweepMember], scheme: str, fold: int) -> SweepMember:
    wanted = {f"model={scheme}", f"split.fold={fold}"}
    found = [member for member in members if wanted <= set(member.overrides)]
    if len(found) != 1:
        raise RunError(
            folder,
            found=f"{len(found)} runs of {scheme} for fold {fold}: {[member.folder.name for member in found]}",
            expected="one",
            remedy="give the command again, it trains what is missing"
            if not found
            else "give another folder with --out: this one holds runs of different settings",
        )
    return found[0]


def _teacher(member: SweepMember, fold: int) -> Teacher:
    state = state_of(member)
    if state.state != "finished":
        raise RunError(
            member.folder,
            found=f"{state.state}{f': {state.error}' if state.error else ''}",
            expected="a finished training",
            remedy="see its log.txt, then give the command again: it goes on with what is not finished",
        )
    settings = runs.read_settings(member.folder)
    checkpoint = runs.find_checkpoint(member.folder, Path(str(settings.get("checkpoint", "last"))).name)
    return Teacher(member.folder, fold, runs.read_split(member.folder), checkpoint)


def _dice(teacher: Teacher) -> dict[str, float]:
    table = read_scores(teacher.folder / runs.CASES, teacher.folder / runs.PROBABILITIES).cases
    dice = {str(case): float(value) for case, value in zip(table["case"], table["dice"], strict=True)}
    failed = [case for case, value in dice.items() if not math.isfinite(value)]
    missing = sorted(set(teacher.split.test) - dice.keys())
    if failed or missing:
        raise RunError(
            teacher.folder / runs.CASES,
            found=f"no Dice of {[*failed, *missing][:3]}",
            expected=f"one for each of the {len(teacher.split.test)} test cases",
            remedy="mend or exclude these cases and train this fold again, with score_test=true",
        )
    return dice
