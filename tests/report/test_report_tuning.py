"""One pair of all folds and the nested figure: looked up, and as computed by hand."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_material import CONF, case_row, case_table, evaluation_of

from strokelab.inference.tune import MEASURES, Found, Search, best_pair
from strokelab.metrics.combined import combined_score
from strokelab.report.material import RunMaterial
from strokelab.report.paper_tables import load_tables
from strokelab.report.training import early_stopping
from strokelab.report.tuning import score_map, tuned_models, tuning_section, tuning_tables

SEARCH = Search((0.4, 0.6), (50, 200))
PAIRS = [(0.4, 50), (0.4, 200), (0.6, 50), (0.6, 200)]


def a_fold(name: str, cases: dict[str, list[float]], model: str = "sunet", dataset: str = "isles2015_siss"):
    """A run with the Dice of its cases at the four pairs; distances 20 voxels, none where Dice is 0."""
    rows = [
        {"case": case, "threshold": pair[0], "min_voxels": pair[1], **dict.fromkeys(MEASURES, dice)}
        | dict.fromkeys(("hd_voxels", "hd_mm"), 20.0 if dice else np.nan)
        for case, values in cases.items()
        for pair, dice in zip(PAIRS, values, strict=True)
    ]
    table = pd.DataFrame(rows)
    found = Found(SEARCH, table, best_pair(table, SEARCH), tested=True)
    scored = case_table(*(case_row(case, "1", 0.5) for case in cases))
    return RunMaterial(name, model, dataset, scored, tuning=found)


FOLDS = (
    a_fold("f0", {"a": [0.9, 0.5, 0.1, 0.1], "b": [0.0, 0.5, 0.1, 0.1]}),
    a_fold("f1", {"c": [0.5, 0.5, 0.9, 0.1]}),
    a_fold("f2", {"d": [0.1, 0.6, 0.3, 0.1]}),
)


def rows_of(table):
    return {(line[0].text, line[1].text): [cell.number for cell in line] for line in table.rows}


def test_one_pair_and_the_nested_figure():
    """Over all: 0.4, 200 with 2.1 of 4. Without f0: (0.6, 50) with 1.2 of 2; without f1 and f2: (0.4, 200)."""
    (one,) = tuned_models(evaluation_of(*FOLDS))
    assert (one.pair.threshold, one.pair.size, one.pair.cases, one.tested) == (0.4, 200, 4, True)
    assert list(one.nested()["dice"]) == [0.1, 0.1, 0.5, 0.6]
    rows = rows_of(tuning_tables(evaluation_of(*FOLDS))[0])
    pooled, nested = rows["sunet", "one pair"], rows["sunet", "nested"]
    assert pooled[2:6] == [4, 0.4, 200, pytest.approx(0.525)]
    assert nested[5] == pytest.approx(0.325)
    assert pooled[9] == pytest.approx(combined_score(0.525, 20.0))
    assert nested[3:5] == [None, None], "folds have pairs of their own"
    (first,) = tuned_models(evaluation_of(FOLDS[0]))
    assert first.nested() is None


def test_spread_is_that_of_the_population_and_undefined_distances_are_counted():
    table = tuning_tables(evaluation_of(a_fold("f", {"a": [0.9, 0, 0, 0], "b": [0.5, 0, 0, 0], "c": [0.0] * 4})))[0]
    (line,) = table.rows
    assert dict(line[5].further)["sd"] == pytest.approx(np.std([0.9, 0.5, 0.0]))
    assert line[8].number == 20
    assert line[-1].number == 1


def test_variants_stand_beside_the_paper_and_are_tested_against_its_first_row():
    better = {case: [value + 0.05 * (i + 1) for value in values] for i, (case, values) in enumerate(CASES.items())}
    runs = [a_fold("p", better), a_fold("b", CASES, model="sunet_baseline")]
    evaluation = evaluation_of(*runs, papers=load_tables(CONF, "sunet_table1"))
    pairs, tests, *scores = tuning_tables(evaluation)
    printed = [line for line in pairs.rows if line[1].text == "paper says"]
    assert [[cell.number for cell in line[3:10]] for line in printed] == [
        [0.5, 200, 0.71, 0.78, 0.67, 29.5, 0.3874],
        [0.4, 50, 0.64, 0.69, 0.68, 43.7, 0.3519],
    ]
    assert {line[0].text for line in tests.rows} == {"sunet − sunet_baseline"}
    dice = next(line for line in tests.rows if line[1].text.startswith("Dice"))
    assert dice[5].number == pytest.approx(0.05 * 3.5)
    assert dice[6].number == pytest.approx(2 / 2**6), "six cases, all better"
    assert len(scores) == 2


CASES = {f"c{i}": [0.3, 0.4, 0.2, 0.1] for i in range(6)}


def test_the_heatmap_marks_the_pair():
    evaluation = evaluation_of(*FOLDS)
    (one,) = tuned_models(evaluation)
    axes = score_map(one).axes[0]
    shown = axes.images[0].get_array()
    assert shown.shape == (2, 2)
    assert np.unravel_index(np.argmax(shown), shown.shape) == (0, 1)
    assert {patch.get_xy() for patch in axes.patches} == {(0.5, -0.5)}
    marked = [cell for line in tuning_tables(evaluation)[-1].rows for cell in line if cell.ours]
    assert [cell.number for cell in marked] == [pytest.approx(one.pair.score)]


def test_no_search_no_section_and_other_cases_are_said():
    plain = RunMaterial("x", "x", "d", case_table(case_row("a", "1", 0.5)))
    assert tuning_section(evaluation_of(plain)) is None
    assert tuning_tables(evaluation_of(plain)) == []
    other = a_fold("f", {"v1": [0.5] * 4})
    validated = RunMaterial("f", "sunet", "d", case_table(case_row("t1", "1", 0.5)), tuning=other.tuning)
    (one,) = tuned_models(evaluation_of(validated))
    assert not one.tested


def test_the_curve_of_early_stopping_marks_what_was_kept_and_the_end():
    history = pd.DataFrame({"epoch": range(6), "step": range(6), "val/error": [0.9, 0.5, 0.3, 0.4, 0.35, 0.5]})
    marks = {"monitor": "val/error", "kept_epoch": 3, "ended_epoch": 6, "history": history}
    run = replace(RunMaterial("f", "sunet", "d", case_table(case_row("a", "1", 0.5))), **marks)
    kept, ended = early_stopping([run]).axes[0].lines[-2:]
    assert (list(kept.get_xdata()), list(kept.get_ydata())) == ([3], [0.3])
    assert (list(ended.get_xdata()), list(ended.get_ydata())) == ([6], [0.5])
    assert early_stopping([replace(run, monitor="")]) is None
