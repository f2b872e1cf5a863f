"""What MAPPING's post-processing did, by size class: who is paired with whom, and the numbers of the table."""

import json

import numpy as np
import pytest
from report_material import evaluation_of, scored_run

from strokelab.report.drawing import png
from strokelab.report.postprocessing import (
    count_scatter,
    effect_tables,
    effects,
    postprocessing_section,
    size_histogram,
)

THRESHOLD = json.dumps({"_target_": "strokelab.inference.postprocess.threshold"})
MAPPING = json.dumps({"_target_": "strokelab.inference.postprocess.mapping", "size_limit": 3000})


def run(model, dice, postprocessing, **columns):
    usual = {"weights": "w", "prediction_ml": 2.0, "tp": 10, "fp": 5, "truth_lesions_26": 2, "truth_lesions_6": 3}
    return scored_run(model, dice, postprocessing=postprocessing, **(usual | columns))


def test_runs_of_the_same_weights_are_paired_and_others_are_not():
    plain, finished = run("mean", [0.5, 0.6], THRESHOLD), run("mean + PP", [0.6, 0.6], MAPPING)
    other = run("else", [0.5, 0.6], THRESHOLD, weights="v")
    (effect,) = effects(evaluation_of(other, finished, plain))
    assert (effect.without, effect.finished) == ("mean", "mean + PP")
    assert len(effect.cases) == 2
    assert effects(evaluation_of(plain, other)) == []
    assert effect_tables(evaluation_of(plain, other)) == []
    assert postprocessing_section(evaluation_of(plain)) is None


def test_means_per_size_class_and_what_changed():
    volumes = [1.0, 2.999, 3.0, 9.0]
    plain = run("mean", [0.2, 0.4, 0.6, 0.8], THRESHOLD, prediction_ml=volumes, hd95=[1, 2, np.inf, 4])
    finished = run("mean + PP", [0.3, 0.4, 0.6, 0.7], MAPPING, fp=[4, 5, 5, 6], hd95=[1, 2, 3, 4])
    (table,) = effect_tables(evaluation_of(plain, finished))
    rows = [[cell.text for cell in row] for row in table.rows]
    column = {name.split("\u00a0")[0]: index for index, name in enumerate(table.header)}
    dice, hd95 = column["Dice"], next(i for name, i in column.items() if name.startswith("HD95"))
    assert [[*row[:3], row[dice]] for row in rows] == [
        ["below 3 ml", "mean", "2", "0.300"],
        ["below 3 ml", "mean + PP", "2", "0.350"],
        ["below 3 ml", "difference", "1 changed", "+0.050"],
        ["3 ml and more", "mean", "2", "0.700"],
        ["3 ml and more", "mean + PP", "2", "0.650"],
        ["3 ml and more", "difference", "1 changed", "−0.050"],
        ["all", "mean", "4", "0.500"],
        ["all", "mean + PP", "4", "0.500"],
        ["all", "difference", "2 changed", "0.000"],
    ]
    assert [row[hd95] for row in rows[3:6]] == ["4.0 (n=1)", "4.0 (n=1)", "0.0 (n=1)"], "infinite values are counted"


def test_failed_cases_and_other_limits():
    wide = MAPPING.replace("3000", "1500")
    plain = run("mean", [0.2, 0.4], THRESHOLD, prediction_ml=[1.0, 2.0])
    finished = run("mean + PP", [0.3, 0.4], wide, error=["", "cannot be read"])
    (effect,) = effects(evaluation_of(plain, finished))
    assert effect.limit_mm3 == 1500
    assert list(effect.cases["case"]) == ["c00"]
    assert list(effect.cases["small"]) == [True]


def test_the_figures_show_every_case_with_a_lesion():
    cases = run("mean", [0.1, 0.2, 0.3], THRESHOLD, lesion_ml=[0.013, 3.0, 250.0]).cases
    histogram = size_histogram(cases)
    assert sum(patch.get_height() for patch in histogram.axes[0].patches) == 3
    scatter = count_scatter(cases, 6)
    assert scatter.axes[0].lines[0].get_ydata().tolist() == [3, 3, 3]
    assert all(len(png(figure)) > 1000 for figure in (histogram, scatter))
    one = run("mean", [0.1], THRESHOLD, lesion_ml=[1.0]).cases
    assert sum(patch.get_height() for patch in size_histogram(one).axes[0].patches) == 1


def test_cases_without_a_lesion_are_said_and_not_drawn():
    plain = run("mean", [0.5, 1.0], THRESHOLD, lesion_ml=[2.0, 0.0])
    finished = run("mean + PP", [0.6, 0.0], MAPPING, lesion_ml=[2.0, 0.0])
    section = postprocessing_section(evaluation_of(plain, finished))
    assert [picture.name for picture in section.pictures] == ["lesion_sizes", "lesion_counts_by_size"]
    assert "1 without a lesion" in section.pictures[0].caption
    none = [run(name, [1.0], post, lesion_ml=[0.0]) for name, post in (("a", THRESHOLD), ("b", MAPPING))]
    assert postprocessing_section(evaluation_of(*none)).pictures == ()


@pytest.mark.parametrize("foreign", ["", "threshold", '{"no": ', "7"])
def test_tables_from_elsewhere_are_no_error(foreign):
    assert (
        effects(evaluation_of(run("a", [0.5], foreign), run("b", [0.5], "x.postprocess.mapping")))[0].limit_mm3 == 3000
    )
