"""A hold-out by lesion volume: counted in scans, subjects whole, every quarter of the volume in proportion."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.contract import Case, LesionFile
from strokelab.data.splits import HoldOut
from strokelab.errors import ConfigError, DataError

PAPER = {"test_fraction": 0.13, "val_fraction": 0.11, "stratify": "volume"}


def cohort(sizes):
    """A subject with so many scans for each size."""
    return [
        Case(f"s{n}_t{visit}", f"s{n}", "x", None, {"T1w": Path("i")}, (LesionFile(Path("l")),))
        for n, size in enumerate(sizes)
        for visit in range(size)
    ]


def divided(cases, ml, **how):
    split = HoldOut(**{**PAPER, **how})(cases, lambda: ml)
    assert sorted((*split.train, *split.val, *split.test)) == sorted(case.case_id for case in cases)  # disjoint
    part = {name: each for each in ("train", "val", "test") for name in getattr(split, each)}
    sides = {(case.subject_id, part[case.case_id]) for case in cases}
    assert len(sides) == len({case.subject_id for case in cases})  # whole
    return part


def nearest(sizes, total):
    """How far from ``total`` the nearest number of scans is that whole subjects add up to."""
    sums = {0}
    for size in sizes:
        sums |= {reached + size for reached in sums}
    return min(abs(reached - total) for reached in sums)


@pytest.mark.parametrize("twice", [0, 1, 9, 60, 119])
@pytest.mark.parametrize("seed", [0, 1])
def test_239_scans_are_182_26_31_also_where_subjects_have_two(twice, seed):
    cases = cohort([2] * twice + [1] * (239 - 2 * twice))
    part = divided(cases, {case.case_id: number * 37 % 97 + 0.5 for number, case in enumerate(cases)}, seed=seed)
    assert Counter(part.values()) == {"train": 182, "val": 26, "test": 31}


@given(scans=st.integers(9, 260), seed=st.integers(0, 2**32), empty=st.integers(0, 5), data=st.data())
@settings(deadline=None, max_examples=60)
def test_each_quarter_has_its_share_to_less_than_a_scan(scans, seed, empty, data):
    cases = cohort([1] * scans)
    order = data.draw(st.permutations(range(scans)))
    ml = {case.case_id: max(rank + 1.0 - empty, 0.0) for case, rank in zip(cases, order, strict=True)}
    part = divided(cases, ml, seed=seed)
    totals = Counter(part.values())
    assert totals["test"] == max(round(0.13 * scans), 1)
    assert totals["val"] == max(round(0.11 * scans), 1)
    ranked = sorted((name for name in ml if ml[name]), key=lambda name: ml[name])
    groups = [
        [name for index, name in enumerate(ranked) if int(4 * (index + 0.5) / len(ranked)) == q] for q in range(4)
    ]
    for group in [*groups, [name for name in ml if not ml[name]]]:
        counts = Counter(part[name] for name in group)
        for name, total in totals.items():
            assert abs(counts[name] - total * len(group) / scans) < 1


@given(sizes=st.lists(st.integers(1, 4), min_size=12, max_size=60), seed=st.integers(0, 2**32), data=st.data())
@settings(deadline=None, max_examples=60)
def test_parts_are_as_near_to_their_shares_as_subjects_allow(sizes, seed, data):
    cases = cohort(sizes)
    ml = {case.case_id: data.draw(st.floats(0.1, 9)) for case in cases}
    counts = Counter(divided(cases, ml, seed=seed).values())
    for name, share in (("test", 0.13), ("val", 0.11)):
        total = max(round(share * len(cases)), 1)
        assert (
            nearest(sizes, total) <= abs(counts[name] - total) <= nearest(sizes, total) + (name == "val") * max(sizes)
        )


def test_who_is_where_depends_on_the_seed_alone():
    cases = cohort([1, 2] * 30)
    ml = {case.case_id: float(number % 13 + 1) for number, case in enumerate(cases)}
    assert divided(cases, ml) == divided(cases[::-1], ml)
    assert divided(cases, ml) != divided(cases, ml, seed=1)


def test_by_default_nothing_changed():
    cases = [
        replace(case, case_id=f"sub-{number}_ses-1", subject_id=f"sub-{number}")
        for number, case in enumerate(cohort([1] * 20))
    ]
    split = HoldOut(0.2, 0.1, seed=1)(cases, lambda: {case.case_id: number % 5 for number, case in enumerate(cases)})
    assert split.test == ("sub-0_ses-1", "sub-8_ses-1", "sub-13_ses-1", "sub-19_ses-1")
    assert split.val == ("sub-12_ses-1", "sub-15_ses-1", "sub-16_ses-1")


def test_refused():
    cases = cohort([1] * 20)
    with pytest.raises(ConfigError, match=r"split\.stratify"):
        HoldOut(stratify="site")(cases, lambda: {})
    with pytest.raises(ValueError, match="volumes"):
        HoldOut(stratify="volume")(cases)
    with pytest.raises(DataError, match="no case in train"):
        HoldOut(0.5, 0.45, stratify="volume")(cohort([1, 1]), lambda: {"s0_t0": 1.0, "s1_t0": 2.0})


@pytest.mark.parametrize("sizes", [[20, 20, 20], [3, 40, 40]])
def test_no_part_is_empty_where_few_subjects_have_many_scans(sizes):
    cases = cohort(sizes)
    part = divided(cases, {case.case_id: 1.0 for case in cases})
    assert Counter(part[f"s{n}_t0"] for n in range(3)) == {"train": 1, "val": 1, "test": 1}
