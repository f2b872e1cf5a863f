"""Size groups partition the cases by volume; tables of groups say who is in them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError, DataError
from strokelab.statistics.bootstrap import bootstrap_intervals
from strokelab.statistics.strata import (
    EMPTY,
    UNKNOWN,
    by_size_bin,
    by_size_quartile,
    describe_groups,
    size_order,
    stratified,
)

VOLUMES = st.lists(st.one_of(st.sampled_from([0.0, 1.0, 5.0, np.nan]), st.floats(0, 400)), min_size=1, max_size=40)


def table(volumes, **columns):
    n = len(volumes)
    cases = [f"c{i:03d}" for i in range(n)]
    return pd.DataFrame({"case": cases, "subject": cases, "truth_ml": volumes, "error": [""] * n} | columns)


@settings(max_examples=80, deadline=None)
@given(VOLUMES, st.integers(1, 6), st.randoms())
def test_quarters_partition_the_cases_in_order_of_volume(volumes, groups, random):
    rows = table(volumes)
    labels = by_size_quartile(rows, groups)
    assert labels.index.equals(rows.index)
    assert labels.notna().all()
    volume = rows["truth_ml"]
    assert ((labels == EMPTY) == (volume == 0)).all()
    assert ((labels == UNKNOWN) == volume.isna()).all()
    inside = labels[volume > 0]
    sizes = inside.value_counts(sort=False).to_numpy()[1:-1]  # between EMPTY and UNKNOWN
    assert len(sizes) == groups
    assert sizes.sum() == len(inside)
    assert np.ptp(sizes) <= 1
    assert (np.diff(sizes) <= 0).all()  # the larger groups first
    ordered = rows[volume > 0].sort_values(["truth_ml", "case"]).index
    assert inside.loc[ordered].is_monotonic_increasing
    shuffled = rows.sample(frac=1, random_state=random.randrange(1000))
    pd.testing.assert_series_equal(by_size_quartile(shuffled, groups).sort_index(), labels)


def test_31_scans_make_quarters_of_8_8_8_7():
    labels = by_size_quartile(table(np.arange(31.0, 0.0, -1)))
    assert [int((labels == name).sum()) for name in size_order(labels)] == [8, 8, 8, 7]
    assert size_order(labels) == ["0-25 %", "25-50 %", "50-75 %", "75-100 %"]
    assert labels.iloc[-8:].tolist() == ["0-25 %"] * 8
    assert labels.min() == "0-25 %"  # labels know their order


def test_equal_volumes_are_split_by_case_id():
    labels = by_size_quartile(table([2.0, 2.0, 2.0, 2.0]).iloc[::-1])
    assert labels.sort_index().tolist() == ["0-25 %", "25-50 %", "50-75 %", "75-100 %"]


def test_a_case_is_in_one_group_in_all_its_runs():
    rows = pd.concat([table([1.0, 2.0, 0.0, 4.0], run="one"), table([1.0, np.nan, 0.0, np.nan], run="two")])
    rows.loc[3, "truth_ml"] = np.nan  # failed in both runs
    labels = by_size_quartile(rows.reset_index(drop=True), 2)
    assert labels.tolist() == ["0-50 %", "50-100 %", EMPTY, UNKNOWN] * 2


def test_fewer_cases_than_groups_fill_the_first():
    labels = by_size_quartile(table([3.0, 1.0, 0.0]))
    assert labels.tolist() == ["25-50 %", "0-25 %", EMPTY]
    assert size_order(labels) == [EMPTY, "0-25 %", "25-50 %"]


def test_bins_hold_their_lower_edge():
    labels = by_size_bin(table([0.0, 0.001, 0.999, 1.0, 4.999, 5.0, 20.0, 49.9, 50.0, 400.0, np.nan]))
    assert labels.tolist() == [
        *(EMPTY, "0-1 ml", "0-1 ml", "1-5 ml", "1-5 ml", "5-20 ml", "20-50 ml", "20-50 ml"),
        *("≥ 50 ml", "≥ 50 ml", UNKNOWN),
    ]
    assert size_order(labels) == [EMPTY, "0-1 ml", "1-5 ml", "5-20 ml", "20-50 ml", "≥ 50 ml", UNKNOWN]


def test_bins_of_the_users_own_with_names():
    names = ("small", "medium", "large")
    labels = by_size_bin(table([4.9, 5.0, 20.0]), (0, 5, 20, np.inf), names=names)
    assert labels.tolist() == list(names)
    assert by_size_bin(table([7.0]), (0, np.inf)).tolist() == ["≥ 0 ml"]


@pytest.mark.parametrize("edges", [(1, 5, np.inf), (0, 5), (0, 5, 5, np.inf), (0, 9, 5, np.inf), ()])
def test_edges_that_leave_lesions_out_are_refused(edges):
    with pytest.raises(ConfigError, match="rise from 0 to inf"):
        by_size_bin(table([1.0]), edges)


def test_what_else_is_refused():
    with pytest.raises(ConfigError, match="2 names for 5 bins"):
        by_size_bin(table([1.0]), names=("a", "b"))
    with pytest.raises(ConfigError, match="1 or more"):
        by_size_quartile(table([1.0]), 0)
    with pytest.raises(DataError, match="no column lesion_ml"):
        by_size_quartile(table([1.0]), volume="lesion_ml")
    with pytest.raises(DataError, match="0 and more"):
        by_size_quartile(table([1.0, -1.0]))


def test_groups_are_described():
    rows = table([0.0, 1.0, 3.0, 5.0, np.nan], site=["a", "a", "a", "b", None])
    rows = pd.concat([rows.assign(run="one"), rows.assign(run="two")], ignore_index=True)
    rows.loc[1, "error"] = "no prediction"
    lines = describe_groups(rows, column="site")
    assert lines["site"].tolist()[:2] == ["a", "b"]
    assert pd.isna(lines["site"].iloc[2])
    assert lines[["cases", "rows", "failed"]].to_numpy().tolist() == [[3, 6, 1], [1, 2, 0], [1, 2, 0]]
    assert lines.loc[0, ["ml_min", "ml_median", "ml_max"]].tolist() == [0.0, 1.0, 3.0]
    assert np.isnan(lines.loc[2, "ml_max"])


def test_stratified_tables_hold_intervals_and_volume_ranges():
    random = np.random.default_rng(0)
    volumes = [0.0, *random.random(20) * 60, np.nan]
    rows = pd.concat([table(volumes, dice=random.random(22), hd=random.random(22), model=m, run=m) for m in "ab"])
    rows.iloc[3, rows.columns.get_loc("hd")] = np.inf
    rows = rows.assign(size=by_size_bin(rows))
    lines = stratified(rows, ["dice", "hd"], by=["model"])
    plain = bootstrap_intervals(rows, ["dice", "hd"], by=["model", "size"])
    pd.testing.assert_frame_equal(lines[plain.columns], plain)
    for _, line in lines.iterrows():
        group = rows[(rows["model"] == line["model"]) & (rows["size"] == line["size"])]
        assert line["cases"] == group["case"].nunique()
        expected = [group["truth_ml"].min(), group["truth_ml"].max()]
        np.testing.assert_array_equal(line[["ml_min", "ml_max"]].astype(float), expected)
    assert lines.loc[lines["metric"] == "dice", "n"].sum() == 44
    assert list(dict.fromkeys(lines["size"])) == size_order(rows["size"])


def test_any_column_stratifies_also_one_with_missing_values():
    rows = table([1.0, 2.0, 3.0, 4.0], dice=[0.1, 0.2, 0.3, 0.4], scanner=["Trio", None, "Trio", None])
    lines = stratified(rows, ["dice"], column="scanner")
    assert lines["estimate"].tolist() == pytest.approx([0.2, 0.3])
    assert pd.isna(lines["scanner"].iloc[1])
    assert lines["ml_max"].tolist() == [3.0, 4.0]
