"""Intervals of case tables: the worked example, the rules of clusters and infinities, and what must not matter."""

import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strokelab.errors import DataError
from strokelab.statistics.aggregate import micro_dice, summarize
from strokelab.statistics.bootstrap import bootstrap_intervals, format_interval, interval_of_best_column

EXAMPLE = [0.61, 0.55, 0.72, 0.40, 0.83, 0.35, 0.90, 0.12, 0.66, 0.48]


def table(**columns):
    n = len(next(iter(columns.values())))
    cases = [f"c{i:03d}" for i in range(n)]
    return pd.DataFrame({"case": cases, "subject": cases, "error": [""] * n} | columns)


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def interval(values, **options):
    return only(bootstrap_intervals(table(dice=values), ["dice"], **options))


@pytest.mark.parametrize("seed", range(12))
def test_worked_example_for_any_seed(seed):
    line = interval(EXAMPLE, seed=seed)
    assert line["estimate"] == pytest.approx(0.562)
    assert line["low"] == pytest.approx(0.420, abs=0.02)
    assert line["high"] == pytest.approx(0.696, abs=0.02)


def test_same_seed_same_interval_and_another_seed_another():
    first, again, other = (interval(EXAMPLE, seed=seed) for seed in (4, 4, 5))
    pd.testing.assert_series_equal(first, again)
    assert (first["low"], first["high"]) != (other["low"], other["high"])


def test_agrees_with_scipy_on_many_resamples():
    values = np.random.default_rng(0).beta(4, 2, 60)
    ours = interval(values, resamples=20000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20000, method="percentile", rng=0).confidence_interval
    assert ours["low"] == pytest.approx(theirs.low, abs=0.002)
    assert ours["high"] == pytest.approx(theirs.high, abs=0.002)


def test_covers_the_true_mean_about_as_often_as_it_says():
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(200):
        line = interval(random.exponential(1.0, 50), resamples=300)
        inside += line["low"] <= 1 <= line["high"]
    assert 0.87 <= inside / 200 <= 0.99


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=12), st.integers(0, 9))
def test_interval_contains_the_mean_and_constant_data_collapse(values, seed):
    line = interval(values, seed=seed, resamples=200)
    assert line["low"] - 1e-12 <= line["estimate"] <= line["high"] + 1e-12
    constant = interval([values[0]] * len(values), seed=seed, resamples=200)
    assert constant["low"] == constant["estimate"] == constant["high"] == values[0]


def test_interval_shrinks_with_the_root_of_n():
    values = np.random.default_rng(2).random(50)
    widths = [np.ptp(interval(np.tile(values, times))[["low", "high"]].astype(float)) for times in (1, 4, 16)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)
    assert widths[1] / widths[2] == pytest.approx(2, rel=0.15)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from("ab"), st.integers(0, 3)), min_size=1, max_size=15), st.data()
)
def test_order_of_rows_does_not_matter_to_the_last_bit(values, data):
    rows = table(
        dice=[v for v, _, _ in values], site=[s for _, s, _ in values], hd=[1 / v if v else np.inf for v, *_ in values]
    )
    rows["subject"] = [f"s{i}" if i else None for *_, i in values]
    shuffled = rows.iloc[data.draw(st.permutations(range(len(rows))))]
    options = {"by": ["site"], "resamples": 50}
    first, second = (bootstrap_intervals(t, ["dice", "hd"], **options) for t in (rows, shuffled))
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_groups_partition_and_do_not_depend_on_each_other():
    rows = table(dice=EXAMPLE, model=["a"] * 5 + ["b"] * 3 + [None] * 2)
    lines = bootstrap_intervals(rows, ["dice"], by=["model"])
    assert lines["n"].tolist() == [5, 3, 2]
    assert pd.isna(lines["model"].iloc[2])
    alone = bootstrap_intervals(rows[rows["model"] == "b"], ["dice"], by=["model"])
    pd.testing.assert_series_equal(lines.iloc[1], alone.iloc[0], check_names=False)


def test_two_runs_on_the_same_cases_see_the_same_resamples():
    rows = pd.concat([table(dice=EXAMPLE, run="one"), table(dice=np.array(EXAMPLE) / 2, run="two")])
    one, two = (line for _, line in bootstrap_intervals(rows, ["dice"], by=["run"]).iterrows())
    assert [two["low"], two["high"]] == pytest.approx([one["low"] / 2, one["high"] / 2])


def test_scans_of_a_patient_are_resampled_together():
    scans = table(dice=np.repeat(EXAMPLE, 2))
    scans["subject"] = np.repeat([f"p{i}" for i in range(10)], 2)
    together, apart = (only(bootstrap_intervals(scans, ["dice"], cluster=name)) for name in ("subject", "case"))
    assert (together["n"], together["clusters"], apart["clusters"]) == (20, 10, 20)
    # Two equal scans of a person carry no more than one.
    once = interval(EXAMPLE)
    assert [together["low"], together["high"]] == pytest.approx([once["low"], once["high"]])
    assert (together["high"] - together["low"]) > 1.2 * (apart["high"] - apart["low"])


def test_without_a_subject_a_case_stands_for_itself_in_all_its_runs():
    rows = table(dice=EXAMPLE)
    rows["subject"] = [None, np.nan, *rows["subject"][2:]]
    twice = pd.concat([rows.assign(run="one"), rows.assign(run="two")])
    assert only(bootstrap_intervals(twice, ["dice"]))["clusters"] == 10
    without = bootstrap_intervals(rows.drop(columns="subject"), ["dice"])
    assert only(without)["clusters"] == 10
    assert only(without)["low"] == only(bootstrap_intervals(rows, ["dice"], cluster="case"))["low"]


def test_a_single_patient_has_no_interval():
    line = interval([0.5])
    assert line["estimate"] == 0.5
    assert np.isnan([line["low"], line["high"]]).all()
    assert format_interval(line) == "0.50"
    scans = table(dice=[0.4, 0.6]).assign(subject="one person")
    assert format_interval(only(bootstrap_intervals(scans, ["dice"]))) == "0.50"
    # Several patients, of whom one alone has a defined value.
    assert format_interval(interval([0.5, np.nan, np.nan])) == "0.50 (2 undefined)"


def test_infinite_distances_get_a_median_and_stand_beside_the_finite_mean():
    values = [5.0, 10.0, 15.0, 20.0, 25.0, 30.0, np.inf, np.inf]
    rows = table(hd=values, dice=np.linspace(0, 1, 8))
    lines = bootstrap_intervals(rows, ["dice", "hd"])
    assert list(zip(lines["metric"], lines["statistic"], strict=True)) == [
        ("dice", "mean"),
        ("hd", "mean"),
        ("hd", "median"),
    ]
    mean, median = lines.iloc[1], lines.iloc[2]
    assert (mean["n"], mean["infinite"], mean["estimate"]) == (6, 2, 17.5)
    assert 5 <= mean["low"] < 17.5 < mean["high"] <= 30
    assert format_interval(mean, 1).endswith("; 2 inf)")
    assert (median["n"], median["infinite"], median["estimate"]) == (8, 2, 22.5)
    assert median["low"] < 22.5 < median["high"] == np.inf
    assert format_interval(median, 1).endswith("-inf)")


def test_only_infinite_distances_have_an_infinite_mean_without_interval():
    mean, median = (line for _, line in bootstrap_intervals(table(hd=[np.inf] * 3), ["hd"]).iterrows())
    assert format_interval(mean) == "inf (3 inf)"
    assert format_interval(median) == "inf (inf-inf)"


def test_failed_and_undefined_rows_are_left_out_and_counted():
    rows = table(dice=[0.5, 0.1, np.nan, 0.7, 0.9])
    rows["error"] = ["", "no prediction", "", np.nan, None]
    line = only(bootstrap_intervals(rows, ["dice"]))
    assert (line["n"], line["undefined"], line["failed"]) == (3, 1, 1)
    assert line["estimate"] == pytest.approx(0.7)
    assert format_interval(line).endswith("; 1 undefined, 1 failed)")
    nothing = only(bootstrap_intervals(rows.assign(error="no prediction"), ["dice"]))
    assert (nothing["n"], nothing["failed"]) == (0, 5)
    assert format_interval(nothing) == "– (5 failed)"


def test_estimates_are_the_means_of_the_summary():
    random = np.random.default_rng(5)
    rows = table(dice=random.random(30), hd=np.where(random.random(30) > 0.2, random.random(30), np.inf))
    lines = bootstrap_intervals(rows, ["dice", "hd"]).query("statistic == 'mean'")
    summary = summarize(rows, ["dice", "hd"])
    np.testing.assert_allclose(lines["estimate"], summary["mean"])
    assert lines["n"].tolist() == summary["n"].tolist()


def test_micro_dice_comes_from_pooled_counts_and_the_same_resamples():
    rows = table(tp=[10, 500, 0], fp=[10, 100, 7], fn=[30, 100, 0], tn=[0, 0, 0], dice=[0.3333, 0.8333, 0.0])
    rows.loc[2, "error"] = "truncated file"
    micro, dice = (line for _, line in bootstrap_intervals(rows, ["micro_dice", "dice"]).iterrows())
    assert micro["statistic"] == "micro"
    assert micro["estimate"] == pytest.approx(only(micro_dice(rows))["micro_dice"])
    assert micro["estimate"] == pytest.approx(0.8095, abs=1e-4)
    assert (micro["n"], micro["failed"]) == (2, 1)
    # Resamples of two cases: the first twice, one of each, the second twice.
    assert (micro["low"], micro["high"]) == (pytest.approx(1 / 3), pytest.approx(1000 / 1200))
    assert dice["estimate"] == pytest.approx(0.5833)
    with pytest.raises(DataError, match="no column tp"):
        bootstrap_intervals(table(dice=[0.1]), ["dice", "micro_dice"])


def test_equal_cases_have_the_same_micro_dice_and_mean():
    rows = table(tp=[6] * 4, fp=[2] * 4, fn=[4] * 4, tn=[0] * 4, dice=[12 / 18] * 4)
    lines = bootstrap_intervals(rows, ["dice", "micro_dice"])
    np.testing.assert_allclose(lines[["estimate", "low", "high"]].to_numpy(dtype=float), 2 / 3)


def test_missing_metrics_and_repeated_cases_are_named():
    with pytest.raises(DataError, match="no column hd95"):
        bootstrap_intervals(table(dice=[0.1]), ["hd95"])
    with pytest.raises(DataError, match="sub-07"):
        bootstrap_intervals(table(dice=[0.1, 0.2]).assign(case="sub-07"), ["dice"])


def test_one_threshold_for_all_is_chosen_anew_in_every_resample():
    random = np.random.default_rng(6)
    values, people = random.random((25, 99)), [f"p{i // 2}" for i in range(25)]
    best, low, high = interval_of_best_column(values, people)
    assert best == pytest.approx(values.mean(axis=0).max())
    # The best of many columns is never below any of them, in no resample.
    lines = bootstrap_intervals(table(dice=values[:, 3]).assign(subject=people), ["dice"])
    assert only(lines)["low"] <= low
    assert only(lines)["high"] <= high
    turned = random.permutation(25)
    assert interval_of_best_column(values[turned], np.array(people)[turned]) == (best, low, high)
    assert np.isnan(interval_of_best_column(values[:2], ["one", "one"])[1:]).all()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ({"estimate": 0.638, "low": 0.512, "high": 0.756}, "0.64 (0.51-0.76)"),
        ({"estimate": -0.03, "low": -0.05, "high": 0.01}, "-0.03 (-0.05 to 0.01)"),
        ({"estimate": np.nan, "low": np.nan, "high": np.nan}, "–"),
    ],
)
def test_cells(line, text):
    assert format_interval(pd.Series(line)) == text


def test_a_thousand_resamples_of_655_cases_and_twelve_metrics_take_no_time():
    random = np.random.default_rng(7)
    rows = table(**{f"m{i}": random.random(655) for i in range(12)})
    bootstrap_intervals(rows.head(20), ["m0"])
    start = time.perf_counter()
    bootstrap_intervals(rows, [f"m{i}" for i in range(12)])
    assert time.perf_counter() - start < 1  # 0.02 s on an idle core
