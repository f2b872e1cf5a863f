"""Which model is better, as rows, as a table and as sentences."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
from report_material import ONLY_DICE, evaluation_of, scored_run

from strokelab.report.ranking import ranking_table
from strokelab.report.significance import (
    comparison_table,
    comparisons,
    number_of_tests,
    sentence,
    with_nested_intervals,
    worth_telling,
)

A = (0.61, 0.55, 0.72, 0.40, 0.83, 0.35, 0.90, 0.12, 0.66, 0.48)
B = (0.58, 0.50, 0.70, 0.45, 0.80, 0.30, 0.88, 0.10, 0.60, 0.40)


def found(*runs):
    return comparisons(evaluation_of(*runs).cases)


def said(*runs):
    """The sentence about the Dice of the only pair."""
    table = found(*runs)
    return sentence(table[table["metric"] == "dice"].iloc[0], number_of_tests(table))


def test_a_known_difference_as_a_sentence():
    text = said(scored_run("old", B, **ONLY_DICE), scored_run("new", A, **ONLY_DICE))
    match = re.fullmatch(
        r"new is ahead of old by 0\.031 Dice \(95 % CI (\S+) to (\S+); Wilcoxon p = 0\.037 over 10 cases\)\.", text
    )
    low, high = (float(end) for end in match.groups())
    assert 0 < low < 0.031 < high < 0.07


def test_holm_runs_over_all_metrics_and_pairs():
    runs = [scored_run("a", A), scored_run("b", B), scored_run("c", B)]
    table = found(*runs)
    assert number_of_tests(table) == 3 * 6
    row = table[(table["first"] == "a") & (table["second"] == "b") & (table["metric"] == "dice")].iloc[0]
    assert row["p_holm"] == pytest.approx(18 * row["p"])
    text = sentence(row, number_of_tests(table))
    assert "Wilcoxon p = 0.037 over 10 cases; p = 0.67 after Holm's correction for 18 comparisons" in text


def test_first_is_the_model_that_appears_first_and_signs_follow():
    forth, back = found(scored_run("z", A), scored_run("a", B)), found(scored_run("a", B), scored_run("z", A))
    assert set(forth["first"]) == {"z"}
    assert set(back["first"]) == {"a"}
    one, other = forth.iloc[0], back.iloc[0]
    assert one["difference"] == pytest.approx(0.031)
    assert other[["difference", "low", "high"]].tolist() == pytest.approx([-0.031, -one["high"], -one["low"]])
    assert other["mean_first"] == one["mean_second"]
    assert said(scored_run("z", A), scored_run("a", B)) == said(scored_run("a", B), scored_run("z", A))


def test_not_significant_says_what_could_have_been_seen():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.7, 36)
    noisy = base + rng.normal(0, 0.15, 36)
    table = found(scored_run("a", base, **ONLY_DICE), scored_run("b", noisy, **ONLY_DICE))
    row = table.iloc[0]
    text = sentence(row, 1)
    assert row["p"] > 0.05
    assert f"not significant; with 36 cases a difference of {row['detectable']:.3f} could have been detected" in text
    assert "(80 % power), a smaller one may well exist." in text
    assert "80 % power, uncorrected" in sentence(row, 6), "p is corrected for six tests, the difference is not"


def test_ties_are_the_same():
    assert said(scored_run("a", A), scored_run("b", A)) == "a and b have the same Dice on each of 10 cases."
    swapped = [A[1], A[0], *A[2:]]
    assert said(scored_run("a", A), scored_run("b", swapped)).startswith("a and b have the same mean Dice (95 % CI −")


def test_a_difference_that_rounds_to_nothing_is_not_written_as_zero():
    text = said(scored_run("a", A), scored_run("b", [value + 0.0001 for value in A]))
    assert text.startswith("b and a differ by less than 0.001 Dice (")


def test_one_case_is_no_comparison():
    text = said(scored_run("a", [0.5]), scored_run("b", [0.25]))
    assert text == "a is ahead of b by 0.250 Dice on the only case they share; one case is too few to compare models."


def test_no_shared_case_and_no_scored_case():
    assert "no scored case in common" in said(scored_run("a", A), scored_run("b", B, first=20))
    failed = scored_run("b", [np.nan] * 10, error="no mask", **ONLY_DICE)
    assert "no scored case in common" in said(scored_run("a", A, **ONLY_DICE), failed)


def test_few_pairs_are_marked():
    runs = scored_run("a", A[:5], **ONLY_DICE), scored_run("b", [value - 0.1 for value in A[:5]], **ONLY_DICE)
    text = said(*runs)
    assert "Wilcoxon p = 0.062 over 5 cases" in text
    assert text.endswith(": not significant, and with 5 cases that differ the test could not have been.")
    table = comparison_table(found(*runs), "default")
    assert table.rows[0][table.header.index("Significance")].text == "ns†"
    assert any(note.startswith("†") for note in table.notes)


def test_a_test_that_contradicts_the_interval_is_told():
    # Nine small gains and one large loss: the ranks see gains, the mean sees the loss.
    gains = [0.010 + 0.001 * i for i in range(14)]
    first = [0.5 + gain for gain in gains] + [0.1]
    text = said(scored_run("a", first, **ONLY_DICE), scored_run("b", [0.5] * 15, **ONLY_DICE))
    assert text.startswith("b is ahead of a by")
    assert text.endswith("; the test ranks the differences, the interval is of their mean, and here the two disagree.")


def test_shared_cases_are_said_and_what_is_left_out_is_counted():
    one, other = scored_run("a", A), scored_run("b", B[:8], first=1)
    other = dataclasses.replace(other, cases=other.cases.assign(error=["", "gone", *[""] * 6]))
    table = found(one, other)
    row = table[table["metric"] == "dice"].iloc[0]
    assert row[["n", "only_first", "only_second", "failed"]].tolist() == [7, 2, 0, 1]
    assert "over 7 shared cases" in sentence(row, 6)
    shown = comparison_table(table, "default")
    assert shown.rows[0][shown.header.index("Not among them")].text == "2 only in a, 1 failed"


def test_seeds_are_averaged_before_pairing():
    seeds = [
        scored_run("a", [value + shift for value in A], name=f"a-{shift}", seed=i)
        for i, shift in enumerate((-0.1, 0.1))
    ]
    table = found(*seeds, scored_run("b", B))
    row = table.iloc[0]
    assert row[["n", "repeats"]].tolist() == [10, 2]
    assert row["difference"] == pytest.approx(0.031)
    assert any("Up to 2 rows of a case" in note for note in comparison_table(table, "default").notes)


def test_infinite_distances_are_in_the_test_only():
    distances = [10.0 + i for i in range(9)]
    one = scored_run("a", A, hd95=[*distances, np.inf])
    other = scored_run("b", A, hd95=[value + 5 for value in (*distances, 30.0)])
    table = comparison_table(found(one, other), "default")
    (row,) = [row for row in table.rows if row[1].text.startswith("HD95")]
    shown = {name: cell.text for name, cell in zip(table.header, row, strict=True)}
    assert shown["Cases"] == "10"
    assert shown["Not among them"] == "1 infinite (in the test only)"
    assert shown["Difference (95 % CI)"].startswith("−5.0")


def test_the_table_has_numbers_behind_its_texts():
    table = comparison_table(found(scored_run("a", A), scored_run("b", B)), "default")
    row = dict(zip(table.header, table.rows[0], strict=True))
    assert row["Wilcoxon p"].text == "0.037"
    assert row["Wilcoxon p"].number == pytest.approx(0.037109375)
    assert row["p, Holm"].text == "0.22"
    assert dict(row["Difference (95 % CI)"].further)["low"] < row["Difference (95 % CI)"].number


def test_best_pair_then_each_with_the_first():
    table = found(scored_run("a", B), scored_run("b", A), scored_run("c", [0.9] * 10), scored_run("d", B))
    pairs = [(row["first"], row["second"]) for row in worth_telling(table, list("abcd"), list("cbad"))]
    assert pairs == [("b", "c"), ("a", "b"), ("a", "c"), ("a", "d")]


def test_one_model_is_compared_with_nothing():
    table = found(scored_run("a", A))
    assert table.empty
    assert number_of_tests(table) == 0
    assert ranking_table(evaluation_of(scored_run("a", A)), scored_run("a", A).cases) is None


def test_ranking_and_its_stability():
    better = [value + 0.05 for value in A]
    evaluation = evaluation_of(scored_run("worse", A, **ONLY_DICE), scored_run("better", better, **ONLY_DICE))
    table = ranking_table(evaluation, evaluation.cases)
    assert table.header[:4] == ("Model", "Place", "Mean rank", "Rank by Dice")
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["better", "1", "1.00", "1.00", "1", "100 %", "100 %"],
        ["worse", "2", "2.00", "2.00", "2", "100 %", "0 %"],
    ]


def test_ranking_needs_shared_cases_and_names_the_others():
    apart = evaluation_of(scored_run("a", A), scored_run("b", B, first=50))
    assert ranking_table(apart, apart.cases) is None
    partly = evaluation_of(scored_run("a", A), scored_run("b", B[:8]))
    table = ranking_table(partly, partly.cases)
    assert table.caption == "Ranking on the 8 cases that every model has"
    assert "Cases not ranked because another model lacks them: a 2." in table.notes


def test_order_of_rows_changes_nothing():
    cases = evaluation_of(scored_run("a", A), scored_run("b", B)).cases
    shuffled = pd.concat([cases[:10].sample(frac=1, random_state=1), cases[10:].sample(frac=1, random_state=2)])
    pd.testing.assert_frame_equal(comparisons(cases), comparisons(shuffled))


def test_where_trainings_are_compared_their_interval_stands_beside_the_test_with_both_questions():
    """Three folds of two models: cases within a fold say nothing about training again."""
    fold_means = (0.2, 0.5, 0.8)
    runs = [
        scored_run(model, [mean + add - 0.01, mean + add + 0.01], name=f"{model}-{fold}", first=10 * fold, fold=fold)
        for fold, mean in enumerate(fold_means)
        for model, add in (("a", 0.1 * fold), ("b", 0.0))
    ]
    cases = evaluation_of(*runs).cases
    found = with_nested_intervals(comparisons(cases), cases)
    row = found[found["metric"] == "dice"].iloc[0]
    assert (row["difference"], row["trainings"]) == (pytest.approx(0.1), 3)
    assert (row["low_training"], row["high_training"]) == (pytest.approx(0.0), pytest.approx(0.2))
    table = comparison_table(found, "default")
    assert "95 % CI, trainings resampled" in table.header
    (note,) = [note for note in table.notes if note.startswith("Two questions")]
    assert "models trained again would differ" in note
    assert "(3 trainings of a model; with fewer than 10" in note
    once = evaluation_of(*runs[:2]).cases
    assert "low_training" not in with_nested_intervals(comparisons(once), once)
