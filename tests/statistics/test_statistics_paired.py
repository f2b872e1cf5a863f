"""The signed-rank test against all sign patterns written out, Holm by hand, and what a comparison leaves out."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strokelab.errors import DataError
from strokelab.statistics.detectable import detectable_difference
from strokelab.statistics.paired import compare, holm, stars, wilcoxon

A = [0.61, 0.55, 0.72, 0.40, 0.83, 0.35, 0.90, 0.12, 0.66, 0.48]
B = [0.58, 0.50, 0.70, 0.45, 0.80, 0.30, 0.88, 0.10, 0.60, 0.40]
INF = np.inf

DISTANCES = st.sampled_from([0.0, 1.0, 2.0, 2.5, 4.0, 7.0, INF])


def model(name, values, cases=None, **columns):
    cases = [f"c{i}" for i in range(len(values))] if cases is None else cases
    return pd.DataFrame(
        {"model": name, "run": name, "case": cases, "subject": cases, "dice": values, "error": ""} | columns
    )


def only(frame):
    assert len(frame) == 1
    return frame.iloc[0]


def textbook(differences):
    """Two-sided p over all sign patterns of the ranks."""
    kept = [d for d in differences if d != 0]
    ranks = stats.rankdata(np.abs(kept))
    seen = sum(r for r, d in zip(ranks, kept, strict=True) if d > 0)
    sums = np.array([np.dot(ranks, signs) for signs in product((0, 1), repeat=len(ranks))])
    return min(1.0, 2 * min(np.mean(sums <= seen + 1e-9), np.mean(sums >= seen - 1e-9)))


def test_worked_example():
    result = wilcoxon(A, B)
    assert result.statistic == 7
    assert result.p == pytest.approx(0.0371, abs=5e-5)
    assert (result.n, result.nonzero, result.few) == (10, 10, False)
    # Unrounded, the ties of the example (0.05, 0.02, 0.03) would be none.
    assert len(np.unique(np.abs(np.array(A) - B))) > len(np.unique(np.round(np.abs(np.array(A) - B), 10)))


def test_normal_approximation_of_the_worked_example():
    differences = np.round(np.array(A) - B, 10)
    assert stats.wilcoxon(differences, method="asymptotic").pvalue == pytest.approx(0.0356, abs=5e-5)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(DISTANCES, DISTANCES), min_size=1, max_size=8))
def test_p_is_that_of_all_sign_patterns_with_ties_zeros_and_infinities(pairs):
    a, b = np.array(pairs).T
    differences = [0.0 if x == y else x - y for x, y in pairs]
    forth, back = wilcoxon(a, b), wilcoxon(b, a)
    if any(differences):
        assert forth.p == pytest.approx(textbook(differences))
    else:
        assert (forth.p, forth.statistic) == (1.0, 0.0)
    assert (forth.p, forth.statistic, forth.nonzero) == (back.p, back.statistic, back.nonzero)
    assert forth.few == (np.count_nonzero(differences) < 6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=70), st.randoms())
def test_order_and_side_do_not_matter(pairs, random):
    a, b = np.array(pairs).T
    shuffled = list(pairs)
    random.shuffle(shuffled)
    c, d = np.array(shuffled).T
    assert wilcoxon(a, b).p == wilcoxon(b, a).p == wilcoxon(c, d).p


def test_exact_up_to_fifty_pairs_without_ties_else_as_scipy_chooses():
    random = np.random.default_rng(0)
    for n, expected, method in ((50, "exact", "exact"), (51, "normal", "asymptotic")):
        differences = random.normal(0.2, 1, n)
        result = wilcoxon(differences, np.zeros(n))
        assert result.method == expected
        assert result.p == pytest.approx(stats.wilcoxon(np.round(differences, 10), method=method).pvalue, rel=1e-12)
    tied = np.array([1, 1, -2, 3, 3, 4, 5, 6, -7, 8, 9, 10, 11, 12.0])
    assert wilcoxon(tied, 0 * tied).method == "normal"
    assert wilcoxon(tied, 0 * tied).p == stats.wilcoxon(tied, method="asymptotic").pvalue
    assert wilcoxon(tied[:13], 0 * tied[:13]).method == "exact"
    assert wilcoxon(tied[:13], 0 * tied[:13]).p == pytest.approx(textbook(tied[:13]))
    assert wilcoxon(tied[:8], 0 * tied[:8]).p == pytest.approx(stats.wilcoxon(tied[:8]).pvalue)  # SciPy's own choice


def test_differences_tie_at_ten_decimals():
    # Of 0.1, 0.1 and 5 the tied two share rank 1.5; as floats 0.3 - 0.2 is the smaller.
    assert wilcoxon([0.3, 0.6, 5.0], [0.2, 0.7, 0.0]).statistic == 1.5
    assert wilcoxon([0.05], [0.05 + 4e-11]).nonzero == 0
    assert wilcoxon([0.05], [0.05000001]).nonzero == 1


def test_all_zero_differences_and_no_pairs():
    same = wilcoxon(A, A)
    assert (same.p, same.n, same.nonzero, same.few) == (1.0, 10, 0, True)
    assert wilcoxon([INF, 1.0], [INF, 1.0]).p == 1.0
    nothing = wilcoxon([np.nan, 1.0], [1.0, np.nan])
    assert nothing.n == 0
    assert np.isnan([nothing.p, nothing.statistic]).all()


@pytest.mark.parametrize(("pairs", "smallest", "few"), [(5, 0.0625, True), (6, 0.03125, False)])
def test_few_pairs_are_flagged(pairs, smallest, few):
    result = wilcoxon(np.arange(1, pairs + 4), [0] * pairs + list(range(pairs + 1, pairs + 4)))
    assert (result.n, result.nonzero) == (pairs + 3, pairs)
    assert result.p == pytest.approx(smallest)
    assert result.few == few


def test_infinite_distances_take_the_largest_ranks():
    a, b = [INF, 3.0, 4.0, 9.0, 5.0, 1.0, INF], [2.0, 2.0, 6.0, 2.0, 8.0, 7.0, INF]
    as_numbers = [998.0, 1.0, -2.0, 7.0, -3.0, -6.0]
    assert wilcoxon(a, b).p == pytest.approx(stats.wilcoxon(as_numbers).pvalue)
    assert wilcoxon(a, b).statistic == 2 + 3 + 4


def test_values_that_are_no_pairs_are_refused():
    with pytest.raises(DataError, match="10 values against 9"):
        wilcoxon(A, B[:9])


def test_holm_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.floats(0, 1), st.just(np.nan)), max_size=12))
def test_holm_is_monotone_never_smaller_and_controls_like_its_definition(p_values):
    p = np.array(p_values)
    corrected = holm(p)
    known = ~np.isnan(p)
    assert (np.isnan(corrected) == ~known).all()
    assert (corrected[known] >= p[known]).all()
    assert (corrected[known] <= 1).all()
    order = np.argsort(p[known], kind="stable")
    assert (np.diff(corrected[known][order]) >= 0).all()
    # Step down: reject the smallest while p <= alpha / (those left), stop at the first that is not.
    alpha = 0.05
    rejected = 0
    for i, value in enumerate(np.sort(p[known])):
        if value * (known.sum() - i) > alpha:
            break
        rejected += 1
    assert (corrected[known] <= alpha).sum() == rejected


@pytest.mark.parametrize(
    ("p", "text"),
    [
        *((0.0501, "ns"), (1.0, "ns"), (0.05, "*"), (0.0101, "*"), (0.01, "**"), (0.00101, "**"), (0.001, "***")),
        *((0.00011, "***"), (0.0001, "****"), (0.0, "****"), (np.nan, "")),
    ],
)
def test_stars(p, text):
    assert stars(p) == text


def test_a_comparison_carries_its_evidence():
    line = only(compare(pd.concat([model("a", A), model("b", B)]), ["dice"]))
    assert (line["first"], line["second"], line["metric"], line["n"]) == ("a", "b", "dice", 10)
    assert (line["mean_first"], line["mean_second"]) == (pytest.approx(0.562), pytest.approx(0.531))
    assert line["difference"] == pytest.approx(0.031)
    assert line["low"] < 0.031 < line["high"]
    assert (line["statistic"], line["p"]) == (7, pytest.approx(0.0371, abs=5e-5))
    assert (line["p_holm"], line["stars"], line["few"], line["repeats"]) == (line["p"], "*", False, 1)
    assert line["detectable"] == pytest.approx(detectable_difference(np.array(A) - B))


def test_every_pair_of_models_and_holm_over_the_whole_table():
    rows = pd.concat(
        [model(name, values, hd=np.array(values) * 9) for name, values in {"b": B, "c": A[::-1], "a": A}.items()]
    )
    lines = compare(rows, ["dice", "hd"])
    assert list(zip(lines["first"], lines["second"], strict=True)) == [
        *[("a", "b")] * 2,
        *[("a", "c")] * 2,
        *[("b", "c")] * 2,
    ]
    assert lines["metric"].tolist() == ["dice", "hd"] * 3
    np.testing.assert_array_equal(lines["p_holm"], holm(lines["p"]))
    assert lines["p_holm"][0] == pytest.approx(6 * lines["p"][0])


def test_swapped_names_turn_the_difference_and_leave_p():
    forth = only(compare(pd.concat([model("a", A), model("b", B)]), ["dice"]))
    back = only(compare(pd.concat([model("a", B), model("b", A)]), ["dice"]))
    assert forth["p"] == back["p"]
    assert forth["difference"] == -back["difference"]
    assert forth["low"] == pytest.approx(-back["high"], abs=0.006)


def test_shuffled_rows_leave_everything_as_it_was():
    rows = pd.concat(
        [model(m, np.array(v) * s, seed=s, run=f"{m}{s}") for m, v in (("a", A), ("b", B)) for s in (1, 0.9)]
    )
    pd.testing.assert_frame_equal(
        compare(rows, ["dice"]), compare(rows.sample(frac=1, random_state=1), ["dice"]), check_exact=True
    )


def test_the_order_of_a_categorical_is_kept():
    rows = pd.concat([model("a", A), model("b", B)], ignore_index=True)
    rows["model"] = pd.Categorical(rows["model"], ["b", "a"], ordered=True)
    line = only(compare(rows, ["dice"]))
    assert (line["first"], line["second"]) == ("b", "a")
    assert line["difference"] == pytest.approx(-0.031)


def test_cases_of_one_side_only_are_dropped_and_counted():
    rows = pd.concat([model("a", A), model("b", B[:7]), model("b", [0.5, 0.6], cases=["x", "y"], run="b2")])
    line = only(compare(rows, ["dice"]))
    assert (line["n"], line["only_first"], line["only_second"]) == (7, 3, 2)
    assert line["p"] == wilcoxon(A[:7], B[:7]).p


def test_no_shared_case_is_a_line_without_a_p():
    line = only(compare(pd.concat([model("a", A), model("b", B, cases=list("qrstuvwxyz"))]), ["dice"]))
    assert (line["n"], line["only_first"], line["only_second"], line["stars"]) == (0, 10, 10, "")
    assert np.isnan([line["p"], line["p_holm"], line["difference"], line["low"], line["detectable"]]).all()


def test_failed_cases_are_counted_and_repeats_without_them_averaged():
    first = pd.concat([model("a", [0.2, 0.4, 0.6], run="a0"), model("a", [0.4, 0.9, np.nan], run="a1")])
    first["error"] = ["", "", "no prediction", "", "no prediction", "truncated file"]
    line = only(compare(pd.concat([first, model("b", [0.1, 0.1, 0.1])]), ["dice"]))
    # c0: mean of 0.2 and 0.4; c1: 0.4 alone, what stands beside an error does not count; c2: nothing but errors.
    assert (line["n"], line["failed"], line["failed_rows"], line["repeats"]) == (2, 1, 3, 2)
    assert line["mean_first"] == pytest.approx((0.3 + 0.4) / 2)


def test_infinite_pairs_are_in_the_test_and_in_no_mean():
    first = model("a", [INF, 2.0, 3.0, 4.0, INF, np.nan]).rename(columns={"dice": "hd"})
    second = model("b", [5.0, 1.0, 1.0, 1.0, INF, 1.0]).rename(columns={"dice": "hd"})
    line = only(compare(pd.concat([first, second]), ["hd"]))
    assert (line["n"], line["infinite"], line["undefined"], line["nonzero"]) == (5, 2, 1, 4)
    assert (line["mean_first"], line["mean_second"], line["difference"]) == (3.0, 1.0, 2.0)
    assert line["p"] == pytest.approx(0.125)  # four differences of one sign
    assert line["few"]


def test_intervals_of_a_difference_go_by_patient():
    people = np.repeat([f"p{i}" for i in range(10)], 2)
    scans = [f"s{i:02d}" for i in range(20)]
    rows = pd.concat([model(m, np.repeat(v, 2), cases=scans, subject=people) for m, v in (("a", A), ("b", B))])
    by_patient, by_scan = (only(compare(rows, ["dice"], cluster=name)) for name in ("subject", "case"))
    assert np.ptp(by_patient[["low", "high"]].astype(float)) > 1.2 * np.ptp(by_scan[["low", "high"]].astype(float))
    one_person = only(compare(rows.assign(subject="p"), ["dice"]))
    assert np.isnan([one_person["low"], one_person["high"]]).all()


def test_constant_difference_collapses():
    line = only(compare(pd.concat([model("a", np.array(A) + 0.01), model("b", A)]), ["dice"]))
    assert line["low"] == line["high"] == line["difference"] == pytest.approx(0.01)
    assert line["detectable"] == 0


def test_site_means_can_be_paired_instead_of_cases():
    sites = ["x", "x", "x", "y", "y", "z", "z", "z", "z", None]
    rows = pd.concat([model("a", A, site=sites), model("b", B, site=sites)])
    line = only(compare(rows, ["dice"], unit="site"))
    a, b = (pd.Series(values).groupby(sites).mean().to_numpy() for values in (A, B))
    assert (line["n"], line["undefined"]) == (3, 1)
    assert line["difference"] == pytest.approx((a - b).mean())
    assert line["p"] == wilcoxon(a, b).p
    assert line["mean_first"] == pytest.approx(a.mean())
    # A site with an infinite pair is compared by its other cases.
    rows.loc[(rows["case"] == "c0") & (rows["model"] == "a"), "dice"] = INF
    line = only(compare(rows, ["dice"], unit="site"))
    a, b = (pd.Series(values[1:]).groupby(sites[1:]).mean().to_numpy() for values in (A, B))
    assert (line["n"], line["infinite"]) == (3, 1)
    assert line["difference"] == pytest.approx((a - b).mean())


def test_what_cannot_be_compared_is_refused_by_name():
    rows = pd.concat([model("a", A), model("b", B)])
    with pytest.raises(DataError, match="no column hd95"):
        compare(rows, ["dice", "hd95"])
    with pytest.raises(DataError, match="c0"):
        compare(pd.concat([rows, model("b", B)]), ["dice"])
    with pytest.raises(DataError, match="10 rows without a model"):
        compare(pd.concat([model("a", A), model(None, B, run="b")]), ["dice"])
