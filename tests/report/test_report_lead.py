"""The sentences above the page."""

import dataclasses

import numpy as np
import pytest
from report_material import ONLY_DICE, evaluation_of, scored_run

from strokelab.report.lead import MOST_COMPARISONS
from strokelab.report.material import ListedMember
from strokelab.report.tables import lead, measure, page_tables

DICE = np.array([0.61, 0.55, 0.72, 0.40, 0.83, 0.35, 0.90, 0.12, 0.66, 0.48])


def test_one_model_in_two_sentences():
    run = dataclasses.replace(scored_run("sgnet", DICE, seed=3, site=["2", "10"] * 5), held_out_site="10")
    first, second = lead(evaluation_of(run))
    assert first == (
        "1 run of 1 model (sgnet) on 10 cases of phantom cohort, sites 2, 10; held out in training: site 10; seed 3. "
        "Scored on the images' own grids, metric profile “default”."
    )
    assert second.startswith("Mean Dice over cases (95 % CI): sgnet 0.562 (0.4")


def test_means_stand_best_first_and_a_single_case_has_no_interval():
    assert "b 0.700, a 0.500." in lead(evaluation_of(scored_run("a", [0.5]), scored_run("b", [0.7])))[1]


def test_the_best_pair_is_told_then_each_with_the_first():
    runs = [scored_run(name, DICE + shift, **ONLY_DICE) for name, shift in (("a", 0.0), ("b", 0.2), ("c", 0.1))]
    told = [sentence for sentence in lead(evaluation_of(*runs)) if " is ahead of " in sentence]
    assert [sentence.split(" Dice")[0] for sentence in told] == [
        "b is ahead of c by 0.100",
        "b is ahead of a by 0.200",
        "c is ahead of a by 0.100",
    ]
    assert all("after Holm's correction for 3 comparisons)." in sentence for sentence in told)


def test_many_models_do_not_make_a_long_lead_and_none_is_lost():
    runs = [scored_run(f"m{i}", DICE + i / 100, **ONLY_DICE) for i in range(7)]
    evaluation = evaluation_of(*runs)
    numbers = measure(evaluation)
    above = [sentence for sentence in lead(evaluation, numbers) if " is ahead of " in sentence]
    (below,) = [said for anchor, _, said, _ in page_tables(evaluation, numbers) if anchor == "comparison"]
    assert len(above) == MOST_COMPARISONS
    assert len({*above, *below}) == 7


def test_different_cases_are_named():
    one, other = scored_run("a", DICE), scored_run("b", DICE[:9], first=2)
    text = " ".join(lead(evaluation_of(one, other)))
    assert "not evaluated on the same cases: a lacks 1 of 11 (c10), b lacks 2 of 11 (c00, c01)." in text
    assert "over 8 shared cases" in text
    assert "not evaluated on the same cases" not in " ".join(lead(evaluation_of(one, scored_run("b", DICE))))


def test_failed_rows_are_named():
    run = scored_run("m", DICE[:6], error=["", "no mask", "", "", "x", "y"], name="m-0")
    sentence = lead(evaluation_of(run))[-1]
    assert sentence == (
        "3 rows could not be scored and count in no number (c01 of m-0, c04 of m-0, c05 of m-0); "
        "the case table says why."
    )


def test_seeds_are_said_to_be_averaged():
    seeds = [scored_run("a", DICE, name=f"a{i}", seed=i) for i in range(3)]
    text = " ".join(lead(evaluation_of(*seeds, scored_run("b", DICE))))
    assert "4 runs of 2 models" in text
    assert "Rows of one model on the same case (seeds, runs; up to 3) are averaged before models are compared." in text


@pytest.mark.parametrize("state", ["failed", "killed", "running", "missing", "unknown"])
def test_members_without_a_result_are_told_whatever_became_of_them(state):
    members = (ListedMember("0", "finished"), ListedMember("1", state))
    assert lead(evaluation_of(scored_run("m", DICE), members=members))[-1] == (
        f"Of 2 members of the sweep 1 is in no number: 1 {state} (1)."
    )


def test_a_complete_sweep_needs_no_word():
    members = (ListedMember("0", "finished"), ListedMember("1", "finished"))
    assert lead(evaluation_of(scored_run("m", DICE), members=members)) == lead(evaluation_of(scored_run("m", DICE)))
