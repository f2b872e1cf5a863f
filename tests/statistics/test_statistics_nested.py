"""Seeds nested within subjects: by hand, against lists written out, and against the comparison that averages them."""

import numpy as np
import pandas as pd
import pytest

from strokelab.statistics.nested import nested_differences
from strokelab.statistics.paired import compare
from strokelab.statistics.resampling import nested_bootstrap


def rows(model, dice, *, seeds=None, subjects=None, **columns):
    """A row per case and seed from (cases, seeds)."""
    dice = np.asarray(dice, dtype=float)
    seeds = range(dice.shape[1]) if seeds is None else seeds
    subjects = [f"s{i}" for i in range(len(dice))] if subjects is None else subjects
    table = [
        {"model": model, "run": f"{model}-{seed}", "seed": seed, "case": f"c{i}", "subject": subjects[i]}
        | {"dice": dice[i, k], "error": ""}
        | {name: values[i][k] for name, values in columns.items()}
        for k, seed in enumerate(seeds)
        for i in range(len(dice))
    ]
    return pd.DataFrame(table)


def line(first, second, metric="dice", **options):
    table = pd.concat([first, second], ignore_index=True)
    (found,) = nested_differences(table, [metric], first="a", second="b", **options).to_dict("records")
    return found


def some(cases=12, seeds=3, seed=0):
    return np.random.default_rng(seed).uniform(0.2, 0.9, (cases, seeds))


def test_weights_of_units_are_the_list_a_textbook_would_sample():
    groups, owners = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 2])
    seen = []

    def watch(weights):
        seen.append(weights)
        return weights[:, :1]

    nested_bootstrap(watch, groups, owners, resamples=6000, seed=2)
    equal, drawn = seen[0], np.concatenate([weights for weights in seen if len(weights) > 1])
    sizes = np.array([3, 1, 2])
    assert equal[0] == pytest.approx(1 / sizes[groups])
    copies = np.stack([drawn[:, groups == g].sum(axis=1) for g in range(3)], axis=1)
    np.testing.assert_allclose(copies.sum(axis=1), 3)
    np.testing.assert_allclose(copies, copies.round())
    np.testing.assert_allclose((drawn * sizes[groups]) % 1, 0, atol=1e-9)
    # Unit 0: of 3 subjects, each copy of the first has 3 seeds sampled of 3; expectation 1/3 each.
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / sizes[groups], atol=0.02)
    # Law of total variance: E[copies * 3 * (1/3)(2/3)] / 9 + Var[copies] / 9, with Var[copies] = 3 * (1/3) * (2/3).
    assert drawn[:, 0].var() == pytest.approx((2 / 3 + 2 / 3) / 9, rel=0.1)


def test_one_seed_gives_the_numbers_of_the_comparison_that_averages():
    a, b = rows("a", some(20, 1)), rows("b", some(20, 1, 1))
    plain = compare(pd.concat([a, b]), ["dice"]).iloc[0]
    for second in (b, b.assign(seed=7)):  # in pairs, and each by itself
        nested = line(a, second)
        assert [nested[key] for key in ("n", "difference", "low", "high")] == pytest.approx(
            [plain[key] for key in ("n", "difference", "low", "high")]
        )


def test_alike_seeds_add_nothing_and_unlike_ones_widen_the_interval():
    alike = np.repeat(0.4 + 0.2 * some(20, 1), 3, axis=1)
    zero = rows("b", np.zeros((20, 3)))
    plain = compare(pd.concat([rows("a", alike), zero]), ["dice"]).iloc[0]
    same = line(rows("a", alike), zero)
    assert (same["low"], same["high"]) == (pytest.approx(plain["low"]), pytest.approx(plain["high"]))
    wide = line(rows("a", alike + np.array([-0.15, 0.0, 0.15])), zero)
    assert wide["difference"] == pytest.approx(same["difference"])
    assert wide["high"] - wide["low"] > 1.1 * (same["high"] - same["low"])


def test_the_variance_is_that_of_two_levels():
    values = some(10, 4)
    found = line(rows("a", values), rows("b", np.zeros((10, 4))), resamples=20000)
    between, within = values.mean(axis=1).var() / 10, values.var(axis=1).mean() / (10 * 4)
    assert found["high"] - found["low"] == pytest.approx(2 * 1.96 * np.sqrt(between + within), rel=0.05)


def test_seeds_of_both_methods_are_sampled_in_pairs_where_they_are_the_same():
    """A spread that both share within a seed cancels in pairs, and does not when the seeds are others'."""
    spread = np.array([-0.2, 0.0, 0.2])
    b = np.full((8, 3), 0.5) + spread
    together = line(rows("a", b + 0.1), rows("b", b))
    assert [together[key] for key in ("difference", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])
    apart = line(rows("a", b + 0.1), rows("b", b, seeds=(5, 6, 7)))
    assert apart["difference"] == pytest.approx(0.1)
    assert apart["low"] < 0.05 < 0.15 < apart["high"]


def test_scans_of_a_subject_come_with_the_same_seed():
    """Two scans whose seeds cancel: the subject's mean is constant only if both take the seed that was sampled."""
    values = np.tile([[0.4, 0.6], [0.6, 0.4]], (4, 1))
    found = line(rows("a", values, subjects=[f"s{i // 2}" for i in range(8)]), rows("b", np.zeros((8, 2))))
    assert (found["low"], found["high"]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_failed_infinite_and_undefined_values_are_left_out_as_in_the_comparison():
    a, b = rows("a", some(9), hd=some(9) * 20), rows("b", some(9, 3, 1), hd=some(9, 3, 1) * 20)
    a.loc[[0], "error"], a.loc[[1], "hd"], b.loc[[2], "hd"] = "no prediction", np.inf, np.nan
    b.loc[b["case"] == "c3", "hd"] = np.nan
    a.loc[a["case"] == "c4", "error"] = "no prediction"
    plain = compare(pd.concat([a, b]), ["hd"]).iloc[0]
    found = line(a, b, "hd")
    assert (found["n"], found["infinite"], found["undefined"]) == (6, 1, 1)
    assert (plain["infinite"], plain["undefined"], plain["failed"]) == (1, 1, 1)
    assert found["difference"] == pytest.approx(plain["difference"])


def test_micro_dice_pools_the_voxels_of_all_cases_and_averages_the_seeds():
    counts = {"tp": [[8, 6], [90, 70]], "fp": [[2, 4], [10, 30]], "fn": [[2, 4], [10, 30]]}
    none = {"tp": [[5, 5], [50, 50]], "fp": [[5, 5], [50, 50]], "fn": [[5, 5], [50, 50]]}
    found = line(rows("a", some(2, 2), **counts), rows("b", some(2, 2), **none), "micro_dice")
    assert found["difference"] == pytest.approx(2 * (7 + 80) / (2 * (7 + 80) + 2 * (3 + 20)) - 0.5)
    assert 0.6 - 0.5 <= found["low"] < found["high"] <= 0.9 - 0.5, (
        "one subject throughout, with its worse or better seed"
    )


def test_the_order_of_rows_does_not_matter_and_no_shared_case_is_a_line():
    table = pd.concat([rows("a", some()), rows("b", some(seed=1))], ignore_index=True)
    options = {"first": "a", "second": "b"}
    shuffled = table.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(
        nested_differences(table, ["dice"], **options), nested_differences(shuffled, ["dice"], **options)
    )
    other = rows("b", some()).assign(case=lambda frame: frame["case"] + "x")
    assert line(rows("a", some()), other)["n"] == 0
    alone = line(rows("a", some(1)), rows("b", some(1, seed=1)))
    assert alone["n"] == 1
    assert np.isnan([alone["low"], alone["high"]]).all()
