"""Curves without a validation part: of the cases that test, where a family asks for them; never of training cases."""

import pytest
from data_small_cohort import small_view, write_cohort

from strokelab.data import ATLASv1
from strokelab.data.cohort_checks import warn_selected_by_test
from strokelab.data.splits import All, LeaveOneSiteOut
from strokelab.errors import ConfigError, DataWarning


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("cohort")
    write_cohort(place / "raw", sites=(3, 2, 3), twice={(3, 0)})
    return place


def a_module(folder, split, curves):
    store = folder / "store"
    settings = {"view": small_view(), "batch_size": 8, "progress": False, "curves": curves, "store": store}
    return ATLASv1(folder / "raw", split=split, **settings)


def curve_cases(data):
    return {case_id for batch in data.val_dataloader() for case_id in batch["case_id"]}


def test_held_out_curves_are_of_the_cases_that_test(folder):
    data = a_module(folder, LeaveOneSiteOut(1, val_fraction=0), "held_out")
    assert data.curves_only
    assert curve_cases(data) == set(data.split_result.test)
    assert not curve_cases(data) & {case_id for batch in data.train_dataloader() for case_id in batch["case_id"]}
    assert data.volumes("val") == []  # whole volumes of the test part are looked at by nothing


def test_where_held_out_cases_select_they_validate_and_it_is_said(folder):
    data = a_module(folder, LeaveOneSiteOut(1, val_fraction=0), "held_out_selects")
    with pytest.warns(DataWarning, match="2 cases that test also choose"):
        warn_selected_by_test(data.split_result, data.curves)
    assert data.validates
    assert not data.curves_only
    assert curve_cases(data) == set(data.split_result.test)
    aside = a_module(folder, LeaveOneSiteOut(1, val_fraction=0.4), "held_out_selects")
    assert curve_cases(aside) == set(aside.split_result.val)


def test_a_validation_part_goes_first(folder):
    data = a_module(folder, LeaveOneSiteOut(1, val_fraction=0.4), "held_out")
    assert not data.curves_only
    assert curve_cases(data) == set(data.split_result.val)


@pytest.mark.parametrize(("split", "curves"), [(LeaveOneSiteOut(1, val_fraction=0), "validation"), (All(), "held_out")])
def test_without_either_there_are_none(folder, split, curves):
    data = a_module(folder, split, curves)
    assert not data.curves_only
    assert data.val_dataloader() == []


def test_training_batches_do_not_depend_on_the_curves(folder):
    split = LeaveOneSiteOut(1, val_fraction=0)
    loaders = [a_module(folder, split, curves).train_dataloader() for curves in ("validation", "held_out")]
    orders = [[batch["case_id"] for batch in loader] for loader in loaders]
    assert orders[0] == orders[1]


def test_another_word_is_refused(folder):
    with pytest.raises(ConfigError) as refused:
        a_module(folder, LeaveOneSiteOut(1, val_fraction=0), "test").val_dataloader()
    assert (refused.value.where, refused.value.found) == ("data.curves", "'test'")
