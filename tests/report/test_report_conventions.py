"""A case table in another scoreboard's conventions equals the table that would have been scored that way."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.metrics.case import score_row
from strokelab.metrics.profiles import CASE_METRICS, PROFILES
from strokelab.report.conventions import in_terms_of

DISTANCES = ("hd", "hd95", "assd")


def scored(seed: int, profile: str, n: int = 3) -> pd.DataFrame:
    """Cases of sparse random masks, on voxels of 2 x 1 x 1.5 mm, scored under a profile."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        truth, found = (rng.random((7, 6, 8)) < share for share in (0.08, 0.1))
        rows.append({"case": f"c{i}", **score_row(found, truth, (2, 1, 1.5), profile), "error": ""})
    table = pd.DataFrame(rows)
    return table.rename(columns={"truth_ml": "lesion_ml"})


@given(seed=st.integers(0, 10_000), one=st.sampled_from(sorted(PROFILES)), other=st.sampled_from(sorted(PROFILES)))
@settings(max_examples=40, deadline=None)
def test_what_is_computed_again_is_what_scoring_would_have_given(seed, one, other):
    brought, remarks = in_terms_of(scored(seed, one), other)
    wanted = scored(seed, other)
    for metric in CASE_METRICS:
        same = np.allclose(brought[metric].astype(float), wanted[metric].astype(float), equal_nan=True)
        resampled = PROFILES[one].spacing_mm != PROFILES[other].spacing_mm
        assert same or (metric in remarks and (resampled or metric in DISTANCES)), metric


def test_nothing_is_done_and_said_under_the_same_profile():
    table = scored(1, "sunet")
    brought, remarks = in_terms_of(table, "sunet")
    pd.testing.assert_frame_equal(brought, table)
    assert remarks == {}


def test_what_was_done_and_what_cannot_be_done_is_said():
    _, remarks = in_terms_of(scored(2, "default"), "atlas")
    assert remarks["volume_difference"] == "in voxels, from the voxel counts (scored in ml)"
    assert remarks["lesion_f1"] == "with 6 neighbours, from the component counts (scored with 26)"
    _, remarks = in_terms_of(scored(2, "default"), "tomita")
    assert "weighted by area" in remarks["assd"]
    assert "evaluate with profile=tomita" in remarks["assd"]
    _, remarks = in_terms_of(scored(2, "default"), "sunet")
    assert "profile=sunet" in remarks["hd_voxels"]


def test_without_counts_the_volumes_serve_or_the_metric_is_left_out():
    table = pd.DataFrame({"case": ["a"], "lesion_ml": [2.0], "prediction_ml": [3.5], "volume_difference": [1.5]})
    assert in_terms_of(table, "synthstroke")[0]["volume_difference"].tolist() == [1500.0]
    brought, remarks = in_terms_of(table, "atlas")
    assert math.isnan(brought["volume_difference"].iloc[0])
    assert remarks["volume_difference"].startswith("left out")
    assert "no counts for 6" in remarks["lesion_f1"]


def test_failed_rows_stay_without_a_value():
    table = pd.concat([scored(3, "default", 1), pd.DataFrame({"case": ["lost"], "error": ["no mask"]})])
    brought, _ = in_terms_of(table.reset_index(drop=True), "atlas")
    assert brought["case"].tolist() == ["c0", "lost"]
    assert brought.loc[1, ["volume_difference", "lesion_f1"]].isna().all()
    assert brought.loc[0, ["volume_difference", "lesion_f1"]].notna().all()


def test_two_empty_masks_count_as_the_profile_says():
    from dataclasses import replace

    empty = np.zeros((3, 3, 3), bool)
    table = pd.DataFrame([{"case": "e", **score_row(empty, empty, 1.0)}])
    brought, remarks = in_terms_of(table, replace(PROFILES["default"], empty_value=float("nan")))
    assert brought[["dice", "jaccard", "precision", "recall"]].isna().all(axis=None)
    assert "counts nan (scored as 1.0)" in remarks["dice"]


def test_rows_of_several_profiles_come_to_one():
    table = pd.concat([scored(4, "default", 2), scored(5, "atlas", 2).assign(case=["x", "y"])], ignore_index=True)
    brought, remarks = in_terms_of(table, "isles22")
    np.testing.assert_allclose(
        brought["lesion_f1"], [*scored(4, "isles22", 2).lesion_f1, *scored(5, "isles22", 2).lesion_f1]
    )
    assert "scored in voxels" in remarks["volume_difference"]


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_the_table_handed_in_is_never_changed(profile):
    table = scored(6, "default")
    before = table.copy()
    in_terms_of(table, profile)
    pd.testing.assert_frame_equal(table, before)
