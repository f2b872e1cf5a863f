"""Intervals over trainings: folds as clusters, seeds beside subjects, against variances written out."""

import numpy as np
import pandas as pd
import pytest

from strokelab.statistics.nested import nested_differences
from strokelab.statistics.paired import compare
from strokelab.statistics.trainings import training_differences


def table(model, dice, *, folds=None, seeds=None, prefix=""):
    """A row per training and case, from (trainings, cases); each fold has cases of its own, seeds share them."""
    rows = []
    for number, values in enumerate(np.atleast_2d(dice)):
        fold = str(number) if folds else None
        seed = seeds[number] if seeds else 0
        for place, value in enumerate(values):
            case = f"{number}-{place}" if folds else str(place)
            rows.append(
                {"model": model, "run": f"{prefix}{model}-{fold}-{seed}", "seed": seed, "fold": fold, "case": case}
                | {"subject": f"s{case}", "dice": value, "error": ""}
            )
    return pd.DataFrame(rows)


def found(first, second, **options):
    rows = pd.concat([first, second], ignore_index=True)
    return training_differences(rows, ["dice"], first="a", second="b", **options).iloc[0]


def width(line):
    return line["high"] - line["low"]


RNG = np.random.default_rng(0)


def test_folds_are_resampled_whole_with_their_subjects():
    """The width is that of the means of folds, whatever the cases within one do."""
    folds = np.linspace(0.1, 0.5, 9)[:, None]
    noise = np.tile([-0.05, 0.05, 0.0], (9, 1))
    line = found(table("a", folds + noise, folds=True), table("b", np.zeros((9, 3)), folds=True), resamples=8000)
    assert (line["n"], line["trainings"]) == (27, 9)
    assert line["difference"] == pytest.approx(0.3)
    assert width(line) == pytest.approx(2 * 1.96 * folds.std() / 3, rel=0.05)
    flat = found(table("a", 0.3 + noise, folds=True), table("b", np.zeros((9, 3)), folds=True))
    assert (flat["low"], flat["high"]) == (pytest.approx(0.3), pytest.approx(0.3))


def test_what_a_fold_does_to_both_methods_cancels():
    folds = RNG.uniform(0.1, 0.6, (6, 4))
    line = found(table("a", folds + 0.1, folds=True), table("b", folds, folds=True))
    assert [line[name] for name in ("difference", "low", "high")] == pytest.approx([0.1, 0.1, 0.1])


def test_seeds_and_subjects_are_resampled_beside_each_other():
    """An effect of the training that subjects share does not average out, as it does nested in them."""
    subjects, seeds = RNG.normal(0, 0.1, 40), np.linspace(-0.2, 0.2, 8)
    dice = 0.5 + subjects + seeds[:, None]
    one, zero = table("a", dice, seeds=range(8)), table("b", np.zeros((8, 40)), seeds=range(8))
    line = found(one, zero, resamples=8000)
    expected = np.sqrt(subjects.var() / 40 + seeds.var() / 8)
    assert width(line) == pytest.approx(2 * 1.96 * expected, rel=0.06)
    nested = nested_differences(pd.concat([one, zero]), ["dice"], first="a", second="b").iloc[0]
    assert width(nested) < 0.6 * width(line)


def test_the_same_seeds_are_pairs_and_other_seeds_are_not():
    seeds = np.linspace(-0.2, 0.2, 6)[:, None] + np.zeros((6, 5))
    paired = found(table("a", 0.6 + seeds, seeds=range(6)), table("b", 0.5 + seeds, seeds=range(6)))
    assert width(paired) == pytest.approx(0, abs=1e-12)
    apart = found(table("a", 0.6 + seeds, seeds=range(6)), table("b", 0.5 + seeds, seeds=range(6, 12)))
    assert apart["difference"] == pytest.approx(0.1)
    assert apart["low"] < 0 < apart["high"]


def test_the_difference_is_that_of_the_comparison_and_one_training_has_no_interval():
    one, two = table("a", RNG.uniform(size=(3, 7)), seeds=range(3)), table("b", RNG.uniform(size=(1, 7)))
    two.loc[0, "error"] = "no prediction"
    one.loc[3, "dice"] = np.inf
    plain = compare(pd.concat([one, two]), ["dice"]).iloc[0]
    line = found(one, two)
    assert line["difference"] == pytest.approx(plain["difference"])
    assert (line["n"], line["trainings"], np.isnan(line["low"])) == (5, 1, True)


def test_order_of_rows_changes_nothing_and_methods_without_a_common_case_have_nothing():
    one, two = table("a", RNG.uniform(size=(3, 7)), folds=True), table("b", RNG.uniform(size=(3, 7)), folds=True)
    rows = pd.concat([one, two], ignore_index=True)
    ends = [
        training_differences(some, ["dice"], first="a", second="b").iloc[0][["low", "high"]].to_list()
        for some in (rows, rows.sample(frac=1, random_state=1))
    ]
    assert ends[0] == pytest.approx(ends[1])
    assert found(one, two.assign(case="other" + two["case"]))["n"] == 0
