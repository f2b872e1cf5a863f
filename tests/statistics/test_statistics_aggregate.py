"""Means over cases and sites by hand, and what never leaves them silently."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import DataError
from strokelab.metrics import score_row
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.statistics.aggregate import (
    check_rows,
    failures,
    format_mean_sd,
    has_failed,
    micro_dice,
    over_folds,
    over_sites,
    summarize,
)


def table(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame({"case": [f"c{i}" for i in range(n)], "error": [""] * n} | columns)


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def test_mean_and_sd_with_n_minus_one():
    line = only(summarize(table(dice=[0.2, 0.4, 0.9]), ["dice"]))
    assert line["mean"] == pytest.approx(0.5)
    assert line["sd"] == pytest.approx(np.sqrt(0.13))
    assert (line["n"], line["median"], line["min"], line["max"]) == (3, 0.4, 0.2, 0.9)
    assert format_mean_sd(line) == "0.500 ± 0.361"


def test_one_case_has_no_sd_and_no_case_no_mean():
    assert format_mean_sd(only(summarize(table(dice=[0.25]), ["dice"]))) == "0.250"
    assert format_mean_sd(only(summarize(table(dice=[0.25]).iloc[:0], ["dice"]))) == "–"


def test_infinite_distances_stand_beside_the_finite_mean():
    line = only(summarize(table(hd=[10.0, 20.0, np.inf, np.inf, np.inf]), ["hd"]))
    assert (line["n"], line["mean"], line["infinite"], line["median"]) == (2, 15.0, 3, np.inf)
    assert format_mean_sd(line, 1) == "15.0 ± 7.1 (3 inf)"
    line = only(summarize(table(hd=[np.inf, np.inf]), ["hd"]))
    assert (line["mean"], line["median"]) == (np.inf, np.inf)
    assert format_mean_sd(line) == "inf (2 inf)"


def test_failed_and_undefined_rows_are_counted_and_failed_ones_named():
    rows = table(dice=[0.5, np.nan, np.nan, 0.7], site=["1", "1", None, "2"])
    rows["error"] = ["", "no prediction", None, np.nan]
    assert has_failed(rows).tolist() == [False, True, False, False]
    line = only(summarize(rows, ["dice"]))
    assert (line["n"], line["failed"], line["undefined"]) == (2, 1, 1)
    assert format_mean_sd(line, 2) == "0.60 ± 0.14 (1 undefined, 1 failed)"
    assert failures(rows) == ["c1 (site 1): no prediction"]
    assert failures(rows.drop(columns="error")) == []


def test_macro_mean_over_sites_differs_from_the_mean_over_cases():
    rows = table(dice=[0.8, 0.8, 0.8, 0.2, 0.5], site=["a", "a", "a", "b", None], run="r")
    line = only(over_sites(rows, ["dice"], by=["run"]))
    assert line["mean"] == pytest.approx(3.1 / 5)
    assert line["site_mean"] == pytest.approx(0.5)
    assert line["site_sd"] == pytest.approx(np.sqrt(0.18))
    assert line["sites"] == 2
    assert format_mean_sd(line, 2, sites=True) == "0.50 ± 0.42"


def test_a_site_of_infinite_distances_is_counted_as_one():
    rows = table(hd=[10.0, np.inf, np.inf, 30.0], site=["a", "a", "b", "c"])
    line = only(over_sites(rows, ["hd"]))
    assert (line["sites"], line["site_mean"], line["sites_infinite"]) == (2, 20.0, 1)
    assert format_mean_sd(line, 1, sites=True) == "20.0 ± 14.1 (1 inf)"


def test_mean_over_folds_beside_the_mean_over_cases():
    rows = table(dice=[0.9, 0.5, 0.4, 0.2], hd=[1.0, 2.0, np.inf, np.inf], fold=[0, 0, 0, 1], run="r")
    dice, hd = (line for _, line in over_folds(rows, ["dice", "hd"], by=["run"]).iterrows())
    assert (dice["mean"], dice["folds"], dice["fold_mean"]) == (pytest.approx(0.5), 2, pytest.approx(0.4))
    assert format_mean_sd(dice, 2, folds=True) == "0.40 ± 0.28"
    assert format_mean_sd(hd, 1, folds=True) == "1.5 (1 inf)"
    with pytest.raises(DataError, match="no column fold"):
        over_folds(rows.drop(columns="fold"), ["dice"])


def test_groups_are_tidy_and_partition_the_rows():
    rows = table(dice=[0.1, 0.2, 0.3, 0.4], hd=[1.0, 2.0, 3.0, 4.0], site=["b", "a", "b", None])
    summary = summarize(rows, ["dice", "hd"], by=["site"])
    assert list(summary.columns[:2]) == ["site", "metric"]
    assert len(summary) == 6
    assert summary["n"].sum() == 8
    assert summary[(summary["site"] == "b") & (summary["metric"] == "hd")]["mean"].item() == 2
    assert summary[summary["site"].isna()]["n"].tolist() == [1, 1]


def test_a_case_listed_twice_is_an_error_that_names_it():
    rows = table(dice=[0.1, 0.2])
    rows["case"] = "sub-07"
    with pytest.raises(DataError, match="sub-07"):
        summarize(rows, ["dice"])
    rows["run"] = ["one", "two"]
    check_rows(rows)
    with pytest.raises(DataError, match="no column hd95"):
        summarize(rows, ["hd95"])


def test_micro_dice_pools_counts_and_leaves_failed_rows_out():
    rows = table(tp=[10, 500, np.nan], fp=[10, 100, np.nan], fn=[30, 100, np.nan], tn=[0, 0, np.nan])
    rows["error"] = ["", "", "truncated file"]
    line = only(micro_dice(rows))
    assert line["n"] == 2
    assert line["micro_dice"] == pytest.approx(0.8095, abs=1e-4)


def test_rows_of_score_row_go_straight_in():
    random = np.random.default_rng(0)
    rows = []
    for i in range(4):
        prediction, truth = random.random((2, 6, 6, 6)) > 0.7
        rows.append({"case": f"c{i}", "site": str(i % 2)} | score_row(prediction & (i > 0), truth, 1.0) | {"error": ""})
    rows.append({"case": "c9", "site": "1", "error": "no prediction"})
    summary = over_sites(pd.DataFrame(rows))
    assert summary["metric"].tolist() == list(CASE_METRICS)
    assert (summary["n"] + summary["infinite"]).tolist() == [4] * 12
    assert set(summary["failed"]) == {1}
    assert summary.set_index("metric").loc["hd", "infinite"] == 1
    assert micro_dice(pd.DataFrame(rows)).loc[0, "n"] == 4


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from("abc")), min_size=1, max_size=12), st.randoms())
def test_order_of_rows_does_not_matter(values, random):
    rows = table(dice=[v for v, _ in values], site=[s for _, s in values])
    shuffled = rows.sample(frac=1, random_state=random.randrange(1000))
    pd.testing.assert_frame_equal(over_sites(rows, ["dice"]), over_sites(shuffled, ["dice"]))
