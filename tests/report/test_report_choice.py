"""Which cases a report shows: the best, the median and the three worst, none twice."""

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.report.choice import cases_by_size, cases_to_show


def table(*dice, run="a", lesion=1.0):
    cases = [f"c{index}" for index in range(len(dice))]
    return pd.DataFrame({"run": run, "case": cases, "dice": dice, "lesion_ml": lesion})


def test_best_median_and_three_worst():
    shown = cases_to_show(table(0.5, 0.9, 0.1, 0.3, 0.2, 0.7, 0.4))
    assert shown == [
        ("best", "a", "c1"),
        ("median", "a", "c6"),
        ("worst", "a", "c2"),
        ("worst 2", "a", "c4"),
        ("worst 3", "a", "c3"),
    ]


def test_the_largest_and_the_smallest_lesions_none_twice():
    sizes = table(*[0.5] * 8).assign(lesion_ml=[4.0, 8.0, 1.0, 0.0, 2.0, 6.0, 3.0, 5.0])
    twice = pd.concat([sizes.assign(run="b"), sizes])
    assert cases_by_size(twice) == [
        *(("large", "a", "c1"), ("large", "a", "c5"), ("large", "a", "c7")),
        *(("small", "a", "c6"), ("small", "a", "c4"), ("small", "a", "c2")),
    ]
    assert [label for label, *_ in cases_by_size(sizes[:3])] == ["large", "large", "small"]
    assert cases_by_size(sizes[3:4]) == []


def test_none_is_shown_twice():
    assert cases_to_show(table(0.5)) == [("best", "a", "c0")]
    assert cases_to_show(table(0.5, 0.1)) == [("best", "a", "c0"), ("worst", "a", "c1")]
    assert cases_to_show(table(0.5, 0.1, 0.3)) == [("best", "a", "c0"), ("median", "a", "c2"), ("worst", "a", "c1")]
    assert [label for label, *_ in cases_to_show(table(0.5, 0.1, 0.3, 0.2))] == ["best", "median", "worst", "worst 3"]


def test_over_several_runs_rows_are_told_apart_by_run():
    shown = cases_to_show(pd.concat([table(0.5, 0.6, run="a"), table(0.4, 0.9, run="b")]))
    assert shown[0] == ("best", "b", "c1")
    assert ("worst", "b", "c0") in shown
    assert ("median", "a", "c0") in shown


def test_cases_that_show_nothing_are_left_out():
    assert cases_to_show(table(1.0, 0.0, lesion=0.0)) == []
    assert cases_to_show(table(float("nan"))) == []
    assert cases_to_show(pd.DataFrame({"run": ["a"], "case": ["c"], "error": ["no mask"]})) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order_of_rows(dice, random):
    rows = table(*dice)
    order = list(range(len(rows)))
    random.shuffle(order)
    shown = cases_to_show(rows)
    assert cases_to_show(rows.iloc[order]) == shown
    assert len({case for _, _, case in shown}) == len(shown) >= min(4, len(dice))
    assert shown[0][0] == "best"
    assert len(dice) == 1 or min(dice) == next(dice[int(case[1:])] for label, _, case in shown if label == "worst")
