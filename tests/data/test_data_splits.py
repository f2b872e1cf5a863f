"""Who trains, validates and tests: no person on two sides, nothing unlabelled in training, nothing silently dropped."""

import csv
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.contract import Case, LesionFile
from strokelab.data.splits import All, FromFile, HoldOut, KFold, LeaveOneSiteOut, SizeBalancedKFold, Split
from strokelab.errors import ConfigError, DataError, DataWarning

# ATLAS v1.2, Yu 2022, Table I; site 8 holds nine people scanned twice
ATLAS_V1 = {1: 55, 2: 34, 3: 27, 4: 12, 5: 27, 6: 14, 7: 11, 8: 35, 9: 14}


def a_case(name, person=None, site="Site1", labelled=True):
    lesions = (LesionFile(Path(f"{name}_lesion.nii.gz")),) if labelled else ()
    return Case(name, person or name, "test", site, {"T1w": Path(f"{name}.nii.gz")}, lesions)


def atlas_v1():
    cases = []
    for site, scans in ATLAS_V1.items():
        twice = 9 if site == 8 else 0
        for person in range(scans - twice):
            who = f"03{site}{person:03d}"
            visits = ("t01", "t02") if person < twice else ("t01",)
            cases += [a_case(f"{who}_{visit}", who, f"Site{site}") for visit in visits]
    return cases


def a_cohort(count=40, site="A"):
    return [a_case(f"sub-{i}_ses-1", f"sub-{i}", site) for i in range(count)]


def parts(split):
    return {case_id: name for name in ("train", "val", "test") for case_id in getattr(split, name)}


def assert_people_stay_together(split, cases):
    part = parts(split)
    sides = {}
    for case in cases:
        if case.case_id in part:
            sides.setdefault(case.subject_id, set()).add(part[case.case_id])
    assert all(len(side) == 1 for side in sides.values())
    assert len(part) == len(split.train) + len(split.val) + len(split.test)


# ---------------------------------------------------------------- leave one site out


def test_the_real_counts_of_atlas_v1():
    cases = atlas_v1()
    assert len(cases) == 229
    assert len({case.subject_id for case in cases}) == 220
    splits = [LeaveOneSiteOut(fold, val_fraction=0)(cases) for fold in range(9)]
    assert [len(split.train) for split in splits] == [174, 195, 202, 217, 202, 215, 218, 194, 215]
    assert [len(split.test) for split in splits] == list(ATLAS_V1.values())
    assert sorted(case_id for split in splits for case_id in split.test) == sorted(case.case_id for case in cases)


@pytest.mark.parametrize("fold", range(9))
def test_validation_is_a_tenth_of_the_persons_of_each_training_site(fold):
    cases = atlas_v1()
    split = LeaveOneSiteOut(fold)(cases)
    assert_people_stay_together(split, cases)
    assert len(split.train) + len(split.val) == 229 - list(ATLAS_V1.values())[fold]
    site_of = {case.case_id: case.site for case in cases}
    person_of = {case.case_id: case.subject_id for case in cases}
    held_out = f"Site{fold + 1}"
    assert held_out not in {site_of[case_id] for case_id in split.train + split.val}
    persons = Counter(site for site, _ in {(site_of[c], person_of[c]) for c in split.val})
    expected = {"Site1": 6, "Site2": 3, "Site3": 3, "Site4": 1, "Site5": 3, "Site6": 1, "Site7": 1, "Site8": 3}
    expected["Site9"] = 1  # 55, 34, 27, 12, 27, 14, 11, 26, 14 persons
    assert persons == {site: n for site, n in expected.items() if site != held_out}


def test_validating_persons_are_the_same_in_every_fold():
    cases = atlas_v1()
    one, other = (set(LeaveOneSiteOut(fold)(cases).val) for fold in (0, 1))
    shared = {case.case_id for case in cases if case.site not in ("Site1", "Site2")}
    assert one & shared == other & shared
    assert one != set(LeaveOneSiteOut(0, seed=1)(cases).val)


def test_sites_are_counted_naturally_and_may_be_named():
    cases = [a_case(f"c{i}", site=f"Site{1 + i % 11}") for i in range(44)]
    assert LeaveOneSiteOut(1)(cases) == LeaveOneSiteOut("Site2")(cases)
    assert LeaveOneSiteOut(10)(cases) == LeaveOneSiteOut("Site11")(cases)


@pytest.mark.parametrize("fold", ["Site12", 11, -1])
def test_unknown_site_lists_those_that_exist(fold):
    cases = [a_case(f"c{i}", site=f"Site{1 + i % 11}") for i in range(44)]
    with pytest.raises(ConfigError, match="10: 'Site11'"):
        LeaveOneSiteOut(fold)(cases)


@pytest.mark.parametrize("sites", [[None] * 6, ["A"] * 6])
def test_fewer_than_two_sites(sites):
    with pytest.raises(DataError, match="at least two sites"):
        LeaveOneSiteOut(0)([a_case(f"c{i}", site=site) for i, site in enumerate(sites)])


def test_cases_of_unknown_site_are_left_out_and_said():
    cases = [*a_cohort(6, "A"), *(a_case(f"b{i}", site="B") for i in range(6)), a_case("lost", site=None)]
    with pytest.warns(DataWarning, match="1 cases of unknown site"):
        split = LeaveOneSiteOut(0)(cases)
    assert "lost" not in parts(split)


def test_a_site_with_one_subject_trains_only_and_this_is_said():
    cases = [*(a_case(f"{site}{i}", site=site) for site in "AB" for i in range(5)), a_case("C0", site="C")]
    with pytest.warns(DataWarning, match="'C' has one subject"):
        split = LeaveOneSiteOut("A")(cases)
    assert "C0" in split.train
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LeaveOneSiteOut("C")(cases).test == ("C0",)
        assert LeaveOneSiteOut("A", val_fraction=0)(cases).val == ()


def test_a_person_scanned_at_two_sites_never_crosses():
    cases = [*(a_case(f"{site}{i}", site=site) for site in "AB" for i in range(5))]
    cases += [a_case("x_a", "x", "A"), a_case("x_b", "x", "B")]
    with pytest.warns(DataWarning, match="x_b"):
        split = LeaveOneSiteOut("A")(cases)
    assert "x_a" in split.test
    assert "x_b" not in split.train + split.val


def test_unlabelled_cases_may_test_but_not_train():
    cases = [a_case(f"{site}{i}", site=site, labelled=site != "A") for site in "ABC" for i in range(4)]
    assert set(LeaveOneSiteOut("A")(cases).test) == {"A0", "A1", "A2", "A3"}
    with pytest.raises(DataError, match=r"4 cases without a lesion mask in training: A0.*[\s\S]*labelled_only"):
        LeaveOneSiteOut("B")(cases)


# ---------------------------------------------------------------- folds


@given(
    volumes=st.lists(st.sampled_from([0.0, 0.0, 0.1, 1.0, 2.0, 5.5, 80.0]), min_size=6, max_size=60),
    k=st.integers(2, 6),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_every_fold_has_its_share_of_every_size(volumes, k, seed):
    cases = a_cohort(len(volumes))
    ml = {case.case_id: volume for case, volume in zip(cases, volumes, strict=True)}
    tests = [SizeBalancedKFold(f, k, val_fraction=0, seed=seed)(cases, lambda: ml).test for f in range(k)]
    assert sorted(c for test in tests for c in test) == sorted(ml)
    assert max(map(len, tests)) - min(map(len, tests)) <= 1
    for threshold in set(volumes):
        everywhere = sum(volume <= threshold for volume in volumes)
        for test in tests:
            assert abs(sum(ml[c] <= threshold for c in test) - everywhere / k) < 1


def test_655_cases_give_131_each():
    cases = a_cohort(655)
    ml = dict(zip([c.case_id for c in cases], np.random.default_rng(0).lognormal(1.5, 1.5, 655), strict=True))
    assert [len(SizeBalancedKFold(fold)(cases, lambda: ml).test) for fold in range(5)] == [131] * 5


def test_a_group_counts_once_with_its_largest_volume():
    # Person p: 0 and 100 ml. By the largest it is the last in the ranking and shares a block with q (90 ml).
    cases = [a_case("p_1", "p"), a_case("p_2", "p"), a_case("q"), a_case("r"), a_case("s")]
    ml = {"p_1": 0.0, "p_2": 100.0, "q": 90.0, "r": 1.0, "s": 2.0}
    for seed in range(20):
        split = SizeBalancedKFold(0, 2, val_fraction=0, seed=seed)(cases, lambda: ml)
        assert_people_stay_together(split, cases)
        assert ("p_1" in split.test) != ("q" in split.test)
        assert ("r" in split.test) != ("s" in split.test)


@pytest.mark.parametrize("rule", [KFold, SizeBalancedKFold])
def test_folds_cover_once_and_depend_on_the_seed(rule):
    cases = [a_case(f"s{i}_{visit}", f"s{i}") for i in range(23) for visit in range(1 + (i % 4 == 0))]
    ml = {case.case_id: float(i) for i, case in enumerate(cases)}
    splits = [rule(fold, 4)(cases, lambda: ml) for fold in range(4)]
    for split in splits:
        assert_people_stay_together(split, cases)
        assert len(parts(split)) == len(cases)
        assert len({c.split("_")[0] for c in split.val}) == 2  # a tenth of 17 or 18 persons
    assert sorted(c for split in splits for c in split.test) == sorted(ml)
    assert set(splits[0].test) == set(rule(0, 4)(cases[::-1], lambda: ml).test)  # the order of files does not matter
    assert splits[0] != rule(0, 4, seed=1)(cases, lambda: ml)


def test_empty_masks_are_a_stratum_of_their_own():
    cases = a_cohort(40)
    ml = {case.case_id: 0.0 if i < 8 else 3.0 for i, case in enumerate(cases)}
    empty = {c for c, volume in ml.items() if volume == 0}
    for seed in range(10):
        assert [len(empty & set(KFold(f, 4, seed=seed)(cases, lambda: ml).test)) for f in range(4)] == [2] * 4
        split = HoldOut(0.25, 0.25, seed=seed)(cases, lambda: ml)
        assert [len(empty & set(part)) for part in (split.train, split.val, split.test)] == [4, 2, 2]


@pytest.mark.parametrize("rule", [KFold(), SizeBalancedKFold(), HoldOut()])
def test_folds_refuse_unlabelled_cases(rule):
    cases = [*a_cohort(12), a_case("new", labelled=False)]
    with pytest.raises(DataError, match="new"):
        rule(cases, lambda: {case.case_id: 1.0 for case in cases if case.labelled})


@pytest.mark.parametrize("rule", [KFold(5), KFold(-1), KFold(0, 1), SizeBalancedKFold(5)])
def test_folds_out_of_range(rule):
    with pytest.raises(ConfigError, match=r"split\.fold"):
        rule(a_cohort(12), lambda: {case.case_id: 1.0 for case in a_cohort(12)})


def test_fewer_subjects_than_folds():
    with pytest.raises(DataError, match="3 subjects"):
        KFold()(a_cohort(3))


def test_hold_out_shares():
    cases = a_cohort(50)
    split = HoldOut(0.2, 0.1)(cases)
    assert [len(part) for part in (split.train, split.val, split.test)] == [35, 5, 10]
    assert HoldOut(0.2, 0)(cases).val == ()
    with pytest.raises(ConfigError, match="fraction"):
        HoldOut(0.7, 0.3)(cases)


def test_all():
    cases = [*a_cohort(4), a_case("new", labelled=False)]
    split = All()(cases)
    assert (len(split.train), split.val, split.test) == (4, (), ("new",))
    assert All()(cases[:4]).test == ()
    assert len(All("test")(cases).test) == 5
    with pytest.raises(DataError, match="no case in train"):
        All()(cases[4:])


# ---------------------------------------------------------------- from a file


def published(path, rows, header="Name,Fold"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_the_published_list_is_matched_by_session(tmp_path):
    cases = a_cohort(10)
    rows = [f"sub-{i}_ses-1_space-MNI152NLin2009aSym_T1w,{i % 5}" for i in range(10)]
    split = FromFile(published(tmp_path / "fold_index.csv", rows), fold=2)(cases)
    assert split.test == ("sub-2_ses-1", "sub-7_ses-1")
    assert len(split.val) == 1
    assert len(split.train) == 7


def test_an_unknown_name_is_quoted(tmp_path):
    file = published(tmp_path / "f.csv", ["sub-0_ses-1,0", "sub-77_ses-1_T1w,1"])
    with pytest.raises(DataError, match="'sub-77_ses-1_T1w', which no case is called"):
        FromFile(file)(a_cohort(3))


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["sub-0_ses-1,0", "sub-0_ses-1_T1w,1"], "Name,Fold", "a second time"),
        (["sub-0_ses-1,0"], "id,fold", "columns"),
        ([], "Name,Fold", "no rows"),
        (["sub-0_ses-1,held-out"], "case_id,part", "parts \\['held-out'\\]"),
        (["sub-0_ses-1,train"], "case_id,part", "no case in test"),
    ],
)
@pytest.mark.filterwarnings("ignore::strokelab.errors.DataWarning")  # the cases that the file does not name
def test_files_that_are_wrong(tmp_path, rows, header, message):
    file = published(tmp_path / "f.csv", rows, header)
    with pytest.raises(DataError, match=message):
        FromFile(file)(a_cohort(3))


def test_a_missing_file_and_a_missing_fold(tmp_path):
    with pytest.raises(DataError, match="absent"):
        FromFile(tmp_path / "absent.csv")(a_cohort(3))
    file = published(tmp_path / "f.csv", [f"sub-{i}_ses-1,{i}" for i in range(3)])
    with pytest.raises(ConfigError, match=r"\['0', '1', '2'\]"):
        FromFile(file, fold=3)(a_cohort(3))


def test_a_file_may_not_part_a_subject(tmp_path):
    cases = [*a_cohort(4), a_case("sub-0_ses-2", "sub-0")]
    file = published(tmp_path / "f.csv", [f"{case.case_id},{i % 2}" for i, case in enumerate(cases[:4])])
    file.write_text(file.read_text() + "sub-0_ses-2,1\n")
    with pytest.raises(DataError, match="subject 'sub-0'"):
        FromFile(file)(cases)


def test_unnamed_cases_are_left_out_and_said(tmp_path):
    file = published(tmp_path / "f.csv", [f"sub-{i}_ses-1,{i}" for i in range(5)])
    with pytest.warns(DataWarning, match="2 of 7 cases are not named"):
        split = FromFile(file, val_fraction=0)(a_cohort(7))
    assert len(parts(split)) == 5


def test_what_a_run_wrote_is_read_back_and_can_be_a_split(tmp_path):
    cases = atlas_v1()
    split = LeaveOneSiteOut(4)(cases)
    split.write(tmp_path / "run" / "split.csv")
    again = Split.read(tmp_path / "run" / "split.csv")
    assert again == split
    assert again.about == split.about
    assert FromFile(tmp_path / "run" / "split.csv")(cases) == split
    with (tmp_path / "run" / "split.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert list(rows[0]) == ["case_id", "subject_id", "site", "part"]
    assert len(rows) == 229
