import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.metrics.thresholds import ProbabilityCounts, count_probabilities
from strokelab.report.curves import (
    calibration,
    calibration_figure,
    counts_by_model,
    threshold_curve,
    threshold_figure,
    threshold_section,
)

# Two cases of four voxels: p, lesion
ONE = count_probabilities(np.array([[[0.9, 0.6, 0.3, 0.0]]]), np.array([[[1, 1, 0, 0]]]))
TWO = count_probabilities(np.array([[[0.9, 0.6, 0.3, 0.0]]]), np.array([[[1, 0, 1, 0]]]))


def test_threshold_curve_is_the_mean_over_cases():
    curve = threshold_curve((ONE, TWO))
    # at 0.5 two voxels are predicted: all right in one case, one of two in the other
    assert curve[49] == pytest.approx((1 + 0.5) / 2)
    assert curve[19] == pytest.approx((0.8 + 0.8) / 2)  # at 0.2 three voxels
    assert curve[69] == pytest.approx((2 / 3 + 2 / 3) / 2)  # at 0.7 one voxel
    assert curve.shape == (99,)


def test_calibration_by_hand():
    found = calibration((ONE, TWO))
    # voxels of 0.01 and more: 2 x 0.9 both lesion, 2 x 0.6 one lesion, 2 x 0.3 one lesion
    assert found.voxels.tolist() == [2, 2, 2]
    assert found.predicted.tolist() == pytest.approx([0.3, 0.6, 0.9])
    assert found.observed.tolist() == pytest.approx([0.5, 0.5, 1.0])
    assert found.ece == pytest.approx((0.2 + 0.1 + 0.1) / 3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 50)), min_size=1, max_size=20))
def test_probabilities_that_mean_what_they_say_have_no_error(bins):
    lesion, healthy, mass = np.zeros(100, np.int64), np.zeros(100, np.int64), np.zeros(100)
    for place, number in bins:  # of a hundred voxels with p = place / 100 as many are lesion
        lesion[place] += place * number
        healthy[place] += (100 - place) * number
        mass[place] += place * number
    found = calibration((ProbabilityCounts(lesion, healthy, mass),))
    assert found.ece == pytest.approx(0, abs=1e-12)
    assert found.observed == pytest.approx(found.predicted)


def test_background_does_not_make_a_model_look_calibrated():
    few = calibration((ONE,))
    background = count_probabilities(np.full((50, 50, 50), 1e-4), np.zeros((50, 50, 50)))
    assert calibration((ONE, background)).ece == few.ece
    assert np.isnan(calibration((background,)).ece)


def test_figures_hold_a_line_per_model_and_the_best_threshold():
    counts = {"a": (ONE,), "b": (ONE, TWO)}
    figure = threshold_figure(counts)
    lines = figure.axes[0].lines
    assert [line.get_xdata()[0] for line in lines if line.get_linestyle() == ":"] == [0.5]
    assert lines[1].get_ydata() == pytest.approx(threshold_curve((ONE,)))
    (best,) = [line for line in lines if line.get_marker() == "o"]
    assert best.get_ydata()[0] == 1.0
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a: 1.000 at 0.50", "b: 0.800 at 0.30"]
    above, below = calibration_figure(counts).axes
    assert above.lines[2].get_ydata() == pytest.approx([0.5, 0.5, 1.0])
    assert below.lines[1].get_ydata().tolist() == [2, 2, 2]


def test_the_section_draws_whom_it_can_and_names_the_others(full_evaluation, monkeypatch):
    monkeypatch.setattr("strokelab.report.pictures.png", lambda figure, photo: b"png")
    monkeypatch.setattr("strokelab.report.pictures.pdf", lambda figure: b"pdf")
    assert list(counts_by_model(full_evaluation)) == ["sgnet"]
    section = threshold_section(full_evaluation)
    assert [picture.name for picture in section.pictures] == ["dice_by_threshold", "calibration"]
    said = " ".join(section.sentences)
    assert "not plotted: unet-0" in said
    assert "upper bound" in said
    assert "Cases without probabilities: 1 of sgnet-0 (a2)." in said
    runs = [dataclasses.replace(run, probabilities=pd.DataFrame()) for run in full_evaluation.runs]
    nothing = threshold_section(dataclasses.replace(full_evaluation, runs=tuple(runs)))
    assert not nothing.pictures
    assert "No probabilities came with these runs" in nothing.sentences[0]


@pytest.mark.parametrize("most", [3, 10, 900, 40_000, 5_000_000, 800_000_000])
def test_voxel_counts_have_labels_that_do_not_lie_upon_each_other(most):
    voxels = np.linspace(most, max(1, most // 7), 100).astype(np.int64)
    lesion = voxels // 2
    counts = ProbabilityCounts(lesion, voxels - lesion, voxels * (np.arange(100) + 0.5) / 100)
    figure = calibration_figure({"a": (counts,)})
    figure.canvas.draw()
    below = figure.axes[1]
    shown = [label for label in below.get_yticklabels() if label.get_text() and _inside(label, below)]
    shown += [label for label in below.get_yticklabels(minor=True) if label.get_text()]
    assert len(shown) >= 2
    boxes = sorted((label.get_window_extent().y0, label.get_window_extent().y1) for label in shown)
    assert all(upper[0] > lower[1] for lower, upper in itertools.pairwise(boxes))


def _inside(label, axes):
    low, high = axes.get_ylim()
    return low <= label.get_position()[1] <= high
