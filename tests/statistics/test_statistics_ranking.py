"""Ranks by hand, in both directions, with ties, infinities and failures; stability under the bootstrap."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import DataError
from strokelab.statistics.ranking import rank

INF = np.inf


def methods(metric="dice", **values):
    rows = []
    for name, column in values.items():
        rows += [
            {"model": name, "run": name, "case": f"c{i:02d}", "subject": f"c{i:02d}", metric: value, "error": ""}
            for i, value in enumerate(column)
        ]
    return pd.DataFrame(rows)


def ranks(frame, metrics=("dice",), **options):
    return rank(frame, list(metrics), resamples=100, **options).set_index("model")


def test_mean_ranks_and_places_by_hand():
    lines = ranks(methods(a=[0.9, 0.8, 0.3], b=[0.5, 0.8, 0.2], c=[0.7, 0.1, 0.4]))
    # case ranks: a 1, 1.5, 2; b 3, 1.5, 3; c 2, 3, 1
    assert lines["mean_rank"].to_dict() == pytest.approx({"a": 1.5, "c": 2.0, "b": 2.5})
    assert lines["place"].to_dict() == {"a": 1, "c": 2, "b": 3}
    assert lines.index.tolist() == ["a", "c", "b"]
    assert set(lines["cases"]) == {3}


def test_the_direction_comes_from_the_table_of_metrics():
    frame = methods(a=[1.0, 2.0], b=[3.0, 4.0])
    assert ranks(frame)["place"].to_dict() == {"b": 1, "a": 2}
    assert ranks(frame.rename(columns={"dice": "hd"}), ["hd"])["place"].to_dict() == {"a": 1, "b": 2}


def test_ranks_are_averaged_over_metrics():
    frame = methods(a=[0.9, 0.9], b=[0.5, 0.5], c=[0.1, 0.1]).assign(hd=[9.0, 9.0, 1.0, 5.0, 2.0, 2.0])
    lines = ranks(frame, ["dice", "hd"])
    assert lines[["rank_dice", "rank_hd"]].to_dict("index") == {
        "a": {"rank_dice": 1, "rank_hd": 3},
        "b": {"rank_dice": 2, "rank_hd": 1.5},
        "c": {"rank_dice": 3, "rank_hd": 1.5},
    }
    assert lines["mean_rank"].to_dict() == {"b": 1.75, "a": 2.0, "c": 2.25}


def test_equal_methods_share_place_and_first_share():
    lines = ranks(methods(a=[0.9, 0.2], b=[0.9, 0.2], c=[0.1, 0.1]))
    assert lines["place"].to_dict() == {"a": 1.5, "b": 1.5, "c": 3}
    assert lines["first_share"].to_dict() == {"a": 0.5, "b": 0.5, "c": 0}
    assert set(lines["holds_place"]) == {1.0}


def test_infinite_distances_are_the_worst_and_failed_cases_worse_still():
    frame = methods("hd", a=[INF, 5.0], b=[9.0, INF], c=[INF, INF], d=[np.nan, 1.0])
    frame.loc[6, "error"] = "no prediction"
    lines = ranks(frame, ["hd"])
    # case 0: b 1, a and c 2.5, d 4; case 1: d 1, a 2, b and c 3.5
    assert lines["mean_rank"].to_dict() == {"a": 2.25, "b": 2.25, "d": 2.5, "c": 3.0}
    assert lines["failed"].to_dict() == {"a": 0, "b": 0, "d": 1, "c": 0}
    penalised = frame.assign(hd_penalised=frame["hd"].replace(INF, 300.0))
    assert ranks(penalised, ["hd_penalised"])["mean_rank"].to_dict() == lines["mean_rank"].to_dict()


def test_an_undefined_value_takes_the_case_from_this_metric_for_all():
    frame = methods(a=[np.nan, 0.9, 0.5], b=[0.0, 0.1, 0.6]).assign(hd=[1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    lines = ranks(frame, ["dice", "hd"])
    assert lines[["rank_dice", "rank_hd"]].to_numpy().tolist() == [[1.5, 1.0], [1.5, 2.0]]
    assert set(lines["undefined"]) == {1}


def test_only_shared_cases_are_ranked_and_the_others_counted():
    frame = methods(a=[0.9, 0.1, 0.1], b=[0.5, 0.5])
    lines = ranks(frame)
    assert set(lines["cases"]) == {2}
    assert lines["not_shared"].to_dict() == {"a": 1, "b": 0}
    assert lines["mean_rank"].to_dict() == {"a": 1.5, "b": 1.5}
    apart = frame[(frame["model"] == "b") | (frame["case"] == "c02")]
    lines = ranks(apart)
    assert set(lines["cases"]) == {0}
    assert lines[["mean_rank", "place", "place_low"]].isna().all(axis=None)
    assert (lines[["holds_place", "first_share"]] == 0).all(axis=None)


def test_repeats_are_averaged_before_they_are_ranked():
    frame = pd.concat(
        [
            methods(a=[0.9, 0.9], b=[0.7, 0.7]),
            methods(a=[0.3, 0.3], b=[0.7, 0.7]).replace({"run": {"a": "a2", "b": "b2"}}),
        ]
    )
    assert ranks(frame)["place"].to_dict() == {"b": 1, "a": 2}


def test_a_clear_winner_is_firm_and_a_close_race_is_not():
    # b beats c in 12 of 20 cases: turned round in about one resample of six.
    lines = ranks(methods(a=[0.9] * 20, b=[0.5] * 12 + [0.3] * 8, c=[0.4] * 20))
    assert lines.loc["a", ["holds_place", "first_share", "place_low", "place_high"]].tolist() == [1, 1, 1, 1]
    close = lines.drop(index="a")
    assert (close["holds_place"] < 1).all()
    assert close[["place_low", "place_high"]].to_numpy().tolist() == [[2, 3], [2, 3]]
    assert lines["first_share"].sum() == pytest.approx(1)


def test_patients_are_resampled_whole():
    frame = methods(a=np.repeat([0.9, 0.8, 0.7, 0.9, 0.6, 0.4, 0.3, 0.8], 5), b=np.full(40, 0.5))
    by_case = ranks(frame)
    by_patient = ranks(frame.assign(subject=[f"p{i // 5}" for i in range(40)] * 2))
    assert by_patient["mean_rank"].to_dict() == by_case["mean_rank"].to_dict()
    # Eight people are less firm than forty cases.
    assert by_patient["holds_place"].iloc[0] < by_case["holds_place"].iloc[0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.5, 0.7, 1.0, np.nan])] * 3), min_size=1, max_size=8), st.randoms())
def test_order_of_rows_does_not_matter_and_ranks_add_up(values, random):
    a, b, c = zip(*values, strict=True)
    frame = methods(a=a, b=b, c=c)
    lines = ranks(frame)
    shuffled = frame.sample(frac=1, random_state=random.randrange(1000))
    pd.testing.assert_frame_equal(lines, ranks(shuffled), check_exact=True)
    if np.isnan(values).any(axis=1).all():
        assert lines["mean_rank"].isna().all()
    else:
        assert lines["mean_rank"].sum() == pytest.approx(6)
        assert lines["place"].sum() == pytest.approx(6)
        assert lines["place"].is_monotonic_increasing


def test_one_method_is_first():
    assert ranks(methods(a=[0.4, 0.2]))[["place", "first_share"]].to_numpy().tolist() == [[1.0, 1.0]]


def test_what_cannot_be_ranked_is_refused():
    frame = methods(a=[0.4], b=[0.2])
    with pytest.raises(DataError, match="found:    truth_ml"):
        ranks(frame.assign(truth_ml=1.0), ["truth_ml"])
    with pytest.raises(DataError, match="no column hd95"):
        ranks(frame, ["hd95"])
    with pytest.raises(DataError, match="no rows"):
        ranks(frame.iloc[:0])
    with pytest.raises(DataError, match="none"):
        ranks(frame, [])
