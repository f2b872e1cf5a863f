"""Curves of a training in stages: where a stage begins, a cycle restarts, weights are kept."""

from dataclasses import replace

import pandas as pd
import pytest
from report_material import case_row, case_table, evaluation_of

from strokelab.report.material import RunMaterial
from strokelab.report.training import curves, learning_rate, stage_starts, training_section

HISTORY = pd.DataFrame(
    {
        "epoch": range(6),
        "step": range(6),
        "stage": [1, 1, 1, 1, 2, 2],
        "train/loss": [0.9, 0.7, 0.5, 0.4, 0.35, 0.3],
        "snapshot/rate": [None, None, None, None, 1e-5, 2e-5],
    }
)
RATES = pd.DataFrame(
    {
        "epoch": [0, 1, 2, 3, 4, 5],
        "stage": [1, 1, 1, 1, 2, 2],
        "rate": [1e-2, 1e-3, 1e-2, 1e-3, 1e-4, 1e-5],
        "restart": [False, False, True, False, False, False],
    }
)


@pytest.fixture
def run() -> RunMaterial:
    return RunMaterial("r", "resunet3d", "d", case_table(case_row("a", "1", 0.5)), history=HISTORY, rates=RATES)


def points(line) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)]


def test_restarts_and_snapshots_are_marked_on_the_learning_rate(run):
    axes = learning_rate([run]).axes[0]
    marks = {line.get_marker(): points(line) for line in axes.lines}
    assert marks["^"] == [(2, 1e-2)]
    assert marks["o"] == [(5, 1e-5), (6, 2e-5)], "epochs done, each with the rate of its last step"
    curve = [points(line) for line in axes.lines if line.get_marker() == "None"]
    assert [len(part) for part in curve] == [4, 2, 2], "a stage each, and the line between them"
    assert curve[2][0][0] == 4
    assert axes.get_yscale() == "log"
    assert learning_rate([replace(run, rates=None)]) is None


def test_a_line_between_stages_stands_in_the_curves(run):
    assert stage_starts([run]) == [4]
    plain = replace(run, history=HISTORY.drop(columns="stage"))
    with_line, without = (curves([one], {"train/loss": "loss"}, ylabel="Loss").axes[0].lines for one in (run, plain))
    assert len(with_line) == len(without) + 1
    assert set(with_line[-1].get_xdata()) == {4.5}, "between the fourth epoch and the fifth"


def test_the_section_holds_both_curves(run):
    names = [picture.name for picture in training_section(evaluation_of(run)).pictures]
    assert {"loss", "learning_rate"} <= set(names)
