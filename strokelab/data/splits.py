"""Which cases train, validate and test. Knows subjects, sites and lesion volumes; opens no image itself.

Every split is a frozen dataclass that is called with the cases of a cohort. A subject (``subject_id``) never stands on
two sides, and cases without an annotated lesion never train or validate. Sampling depends on the seed alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from strokelab.buildable import buildable
from strokelab.contract import Case
from strokelab.data.split_file import Split, part_by_fold, read_rows
from strokelab.data.stratified import parts_by_volume
from strokelab.data.subjects import (
    Volumes,
    check_column,
    labelled_subjects,
    refuse_unlabelled,
    some,
    strata,
    subjects_of,
)
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.files import natural_key
from strokelab.seeding import stream

__all__ = ["All", "FromFile", "HoldOut", "KFold", "LeaveOneSiteOut", "SizeBalancedKFold", "Split"]


@buildable(training="split")
@dataclass(frozen=True)
class LeaveOneSiteOut:
    """One site tests, the others train (Yu 2022, SG-Net: nine runs on ATLAS v1.2).

    Args:
        fold: index into the naturally sorted sites, or a site's name.
        val_fraction: share of the subjects of each training site that validate; they are the same in every fold.
        seed: of the sampling of these subjects.
    """

    whole: ClassVar[bool] = True  # of several datasets, all sites are one list
    fold: int | str = 0
    val_fraction: float = 0.1
    seed: int = 0

    def __call__(self, cases: Sequence[Case], volumes: Volumes | None = None) -> Split:
        """Split a cohort.

        Raises:
            DataError: fewer than two sites, an unlabelled case in training, or an empty part.
            ConfigError: the site does not exist.
        """
        known = [case for case in cases if case.site is not None]
        sites = sorted({str(case.site) for case in known}, key=natural_key)
        held_out = self._held_out(sites, len(cases))
        if len(known) < len(cases):
            _warn(f"{len(cases) - len(known)} cases of unknown site are in no part: any site could be theirs")
        test = {case.subject_id for case in known if case.site == held_out}
        abroad = [case.case_id for case in known if case.site != held_out and case.subject_id in test]
        if abroad:
            _warn(f"{abroad} left out of training: these subjects were also scanned at the held-out site {held_out!r}")
        val: set[str] = set()
        for site in sites:
            subjects = [*subjects_of([case for case in known if case.site == site])]
            if site != held_out and self.val_fraction > 0 and len(subjects) < 2:
                _warn(f"site {site!r} has one subject: none of it validates (split.val_fraction={self.val_fraction})")
            chosen = some(subjects, self.val_fraction, stream(self.seed, "validation", site))
            val |= chosen if site != held_out else set()
        part = {case.case_id: "test" for case in known if case.site == held_out}
        for case in known:
            if case.subject_id not in test:
                part[case.case_id] = "val" if case.subject_id in val else "train"
        return _finish(cases, part, self.val_fraction)

    def _held_out(self, sites: list[str], n_cases: int) -> str:
        if len(sites) < 2:
            raise DataError(
                "split=leave_one_site_out",
                found=f"{n_cases} cases of {len(sites)} known sites {sites}",
                expected="at least two sites",
                remedy="choose split=kfold, split=size_balanced_kfold or split=holdout for this dataset",
            )
        if isinstance(self.fold, str) and self.fold in sites:
            return self.fold
        if isinstance(self.fold, int) and 0 <= self.fold < len(sites):
            return sites[self.fold]
        raise ConfigError(
            "split.fold",
            found=repr(self.fold),
            expected=f"the name of a site or its index: {dict(enumerate(sites))}",
            remedy=f"set split.fold to 0..{len(sites) - 1} or to a name",
        )


@buildable(training="split")
@dataclass(frozen=True)
class KFold:
    """Random folds of subjects; those whose every mask is empty are spread evenly over the folds.

    Args:
        fold: the fold that tests, 0..folds-1.
        folds: how many.
        val_fraction: share of the training subjects that validate.
        seed: of the sampling.
        contiguous: folds are blocks of subjects in the order of the cases instead, ceil(N / folds) of N in each but
            the last (Clèrigues 2019, released code: 28 cases in 7, 7, 7, 7; 30 in 8, 8, 8, 6).
    """

    fold: int = 0
    folds: int = 5
    val_fraction: float = 0.1
    seed: int = 0
    contiguous: bool = False

    def __call__(self, cases: Sequence[Case], volumes: Volumes | None = None) -> Split:
        """Split a cohort.

        Raises:
            DataError: an unlabelled case, fewer subjects than folds, or an empty part.
            ConfigError: the fold does not exist.
        """
        subjects = labelled_subjects(cases, self.fold, self.folds)
        if self.contiguous:
            block = -(-len(subjects) // self.folds)
            in_turn = {subject: index // block for index, subject in enumerate(subjects)}
            return _from_folds(cases, in_turn, self.fold, val_fraction=self.val_fraction, seed=self.seed)
        dealt: list[str] = []
        for name, stratum in strata(subjects, volumes).items():
            dealt += [stratum[i] for i in stream(self.seed, "kfold", name).permutation(len(stratum))]
        fold_of = {subject: index % self.folds for index, subject in enumerate(dealt)}
        return _from_folds(cases, fold_of, self.fold, val_fraction=self.val_fraction, seed=self.seed)


@buildable(training="split")
@dataclass(frozen=True)
class SizeBalancedKFold:
    """Folds that hold equally many lesions of every size (for Huo 2022, MAPPING, whose own rule is not published).

    Subjects are sorted by their largest lesion volume and cut into blocks of ``folds``; each block is dealt out in
    random order. The number of subjects up to any volume then differs from its share by less than one in every fold.

    Args:
        fold: the fold that tests, 0..folds-1.
        folds: how many.
        val_fraction: share of the training subjects that validate.
        seed: of the sampling.
    """

    fold: int = 0
    folds: int = 5
    val_fraction: float = 0.1
    seed: int = 0

    def __call__(self, cases: Sequence[Case], volumes: Volumes | None = None) -> Split:
        """Split a cohort by the volumes (ml).

        Raises:
            DataError: as ``KFold``.
            ConfigError: the fold does not exist.
            ValueError: no volumes were given.
        """
        if volumes is None:
            raise ValueError("SizeBalancedKFold needs the lesion volumes")
        subjects = labelled_subjects(cases, self.fold, self.folds)
        ml = volumes()
        largest = {subject: max(ml[case.case_id] for case in scans) for subject, scans in subjects.items()}
        ranked = sorted(subjects, key=lambda subject: (largest[subject], natural_key(subjects[subject][0].case_id)))
        rng = stream(self.seed, "size_balanced_kfold")
        fold_of: dict[str, int] = {}
        for begin in range(0, len(ranked), self.folds):
            block = ranked[begin : begin + self.folds]
            fold_of.update(zip(block, rng.permutation(self.folds).tolist(), strict=False))
        return _from_folds(cases, fold_of, self.fold, val_fraction=self.val_fraction, seed=self.seed)


@buildable(training="split")
@dataclass(frozen=True)
class HoldOut:
    """Random shares of subjects, taken apart from those whose every mask is empty.

    Args:
        test_fraction: share of the subjects that test.
        val_fraction: share of the subjects that validate.
        seed: of the draw.
        stratify: "none"; "volume": shares are of the scans, and every part holds lesions of each quarter of the volume
            in proportion, to less than one scan where each subject has one (``data.stratified``); a column of the
            dataset's table, such as group or age: shares of each of its values, of numbers of each quarter.
    """

    test_fraction: float = 0.2
    val_fraction: float = 0.1
    seed: int = 0
    stratify: str = "none"

    def __call__(self, cases: Sequence[Case], volumes: Volumes | None = None) -> Split:
        """Split a cohort.

        Raises:
            DataError: an unlabelled case, or an empty part.
            ConfigError: the shares leave no subject to train, or ``stratify`` names no column.
            ValueError: no volumes were given to stratify by.
        """
        check_column(cases, self.stratify)
        if not (self.test_fraction > 0 and self.val_fraction >= 0 and self.test_fraction + self.val_fraction < 1):
            raise ConfigError(
                "split.test_fraction, split.val_fraction",
                found=f"{self.test_fraction}, {self.val_fraction}",
                expected="a positive share for testing, and less than 1 together",
                remedy="set for example split.test_fraction=0.2 split.val_fraction=0.1",
            )
        subjects = labelled_subjects(cases, 0, 2)
        if self.stratify == "volume":
            if volumes is None:
                raise ValueError("HoldOut needs the lesion volumes to stratify by them")
            shares = {"test": self.test_fraction, "val": self.val_fraction}
            found = parts_by_volume(subjects, volumes(), shares, self.seed)
            return _finish(cases, {case.case_id: found[case.subject_id] for case in cases}, self.val_fraction)
        part = {case.case_id: "train" for case in cases}
        for name, stratum in strata(subjects, volumes, self.stratify).items():
            test = some(stratum, self.test_fraction, stream(self.seed, "test", name))
            rest = [subject for subject in stratum if subject not in test]
            val = some(rest, self.val_fraction / (1 - self.test_fraction), stream(self.seed, "validation", name))
            for subject in test | val:
                part.update({case.case_id: "test" if subject in test else "val" for case in subjects[subject]})
        return _finish(cases, part, self.val_fraction)


@buildable(training="split")
@dataclass(frozen=True)
class FromFile:
    """A split read from a file: ``Name,Fold`` (also MAPPING's published list) or ``case_id,part``.

    Args:
        path: the csv file. ``Name`` is a case id, or anything that holds its ``sub-*_ses-*``.
        fold: the fold that tests; not used by a file with parts.
        folds: how many the file should have, which sweeps count to; None: as many as it has.
        val_fraction: share of the training subjects that validate; not used by a file with parts.
        seed: of their draw.
    """

    whole: ClassVar[bool] = True  # of several datasets, the file names the cases of all
    path: str | Path
    fold: int = 0
    folds: int | None = None
    val_fraction: float = 0.1
    seed: int = 0

    def __call__(self, cases: Sequence[Case], volumes: Volumes | None = None) -> Split:
        """Split a cohort; cases the file does not name are in no part, with a warning.

        Raises:
            DataError: the file has other columns, names a case that does not exist or one twice, parts a subject,
                trains on an unlabelled case, or leaves a part empty.
            ConfigError: the file has no such fold.
        """
        path = Path(self.path)
        rows = read_rows(path, cases)
        missing = len(cases) - len(rows.part)
        if missing:
            _warn(f"{path}: {missing} of {len(cases)} cases are not named and are in no part")
        if rows.has_parts:
            return _finish(cases, rows.part, 0, where=path)
        there = len(set(rows.part.values()))
        if self.folds is not None and there != self.folds:
            _warn(
                f"{path}: {there} folds, but split.folds says {self.folds}; a sweep would miss some or fail: "
                f"set split.folds={there}"
            )
        part = part_by_fold(path, rows, self.fold)
        subjects = subjects_of([case for case in cases if part.get(case.case_id) == "train"])
        val = some([*subjects], self.val_fraction, stream(self.seed, "validation"))
        part.update({case.case_id: "val" for subject in val for case in subjects[subject]})
        return _finish(cases, part, self.val_fraction, where=path)


@buildable(training="split")
@dataclass(frozen=True)
class All:
    """No division: every labelled case trains and the unlabelled ones, if any, test; none validates.

    Args:
        part: ``"train"``, or ``"test"`` to put every case into the test part (an external dataset).
    """

    part: str = "train"

    def __call__(self, cases: Sequence[Case], volumes: Volumes | None = None) -> Split:
        """Split a cohort.

        Raises:
            DataError: no case is labelled (``part="train"``), or there is no case.
            ConfigError: another part.
        """
        if self.part not in ("train", "test"):
            raise ConfigError("split.part", found=self.part, expected="train or test", remedy="set split.part=train")
        part = {case.case_id: self.part if case.labelled else "test" for case in cases}
        return _finish(cases, part, 0, needed=(self.part,))


def _from_folds(
    cases: Sequence[Case], fold_of: Mapping[str, int], fold: int, *, val_fraction: float, seed: int
) -> Split:
    training = [subject for subject in subjects_of(cases) if fold_of[subject] != fold]
    val = some(training, val_fraction, stream(seed, "validation", fold))
    part = {
        case.case_id: "test" if fold_of[case.subject_id] == fold else "val" if case.subject_id in val else "train"
        for case in cases
    }
    return _finish(cases, part, val_fraction)


def _finish(
    cases: Sequence[Case],
    part: Mapping[str, str],
    val_fraction: float,
    *,
    needed: Collection[str] = ("train", "test"),
    where: str | Path = "split",
) -> Split:
    """The split, after everything that must hold was checked."""
    split = Split.of(cases, part)
    refuse_unlabelled([case for case in cases if not case.labelled and part.get(case.case_id) in ("train", "val")])
    for subject, scans in subjects_of([case for case in cases if case.case_id in part]).items():
        sides = {part[case.case_id] for case in scans}
        if len(sides) > 1:
            raise DataError(
                where,
                found=f"scans of subject {subject!r} in {sorted(sides)}: {[case.case_id for case in scans]}",
                expected="all scans of a subject in one part",
                remedy="give them the same fold or part",
            )
    for name in (*needed, *(["val"] if val_fraction > 0 else [])):
        if not getattr(split, name):
            raise DataError(
                where,
                found=f"no case in {name}; {len(split.train)} train, {len(split.val)} val, {len(split.test)} test",
                expected=f"at least one case in {name}",
                remedy="set split.val_fraction=0" if name == "val" else "use more cases, another fold or another split",
            )
    return split


def _warn(message: str) -> None:
    warnings.warn(message, DataWarning, stacklevel=3)
