"""The line of a volume in a command's bar, and the estimate before it."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from rich.console import Console

from strokelab.inference import progress
from strokelab.inference.dense_patches import DensePatches
from strokelab.preparation.progress import advancing, bar


def predicted(monkeypatch, seconds_a_batch, *, shown=True, windows=None):
    """What is printed while a case of 3 x 3 x 64 windows in batches of 64 is predicted, and the scores.

    Of the 64 along z the first is moved onto the second (``DensePatches``): 567 windows are left.
    """
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])

    def predict(image, brain):
        now[0] += seconds_a_batch
        return image[:, :1] + 1

    image, brain = np.zeros((1, 12, 12, 64), np.float32), np.ones((12, 12, 64), bool)
    windows = windows or DensePatches((8, 8, 8), (4, 4, 1))
    out = Console(file=io.StringIO(), width=200)
    with bar("Predicting", 1, shown=shown, console=out) as line, progress.shown_in(line):
        for _ in advancing(line, [0]):
            with progress.followed(predict, SimpleNamespace(case_id="sub-1", brain=brain), windows) as watched:
                scores = windows(torch.from_numpy(image), watched, torch.from_numpy(brain))
            assert [task.description for task in line.tasks] == ["Predicting"]
    return out.file.getvalue(), scores


@pytest.mark.parametrize(("seconds", "said"), [(60.0, "9 min"), (1.0, None), (2400.0, "5 h 54 min")])
def test_a_case_of_more_than_a_minute_is_announced(monkeypatch, seconds, said):
    text, scores = predicted(monkeypatch, seconds)
    assert scores.max() == 1
    assert ("about" in text) == (said is not None)
    if said:
        assert f"sub-1: 567 windows, about {said}" in text


def test_nothing_is_printed_where_no_bar_is_wanted(monkeypatch):
    assert predicted(monkeypatch, 60.0, shown=False)[0] == ""


def test_outside_a_command_a_prediction_is_not_watched():
    def predict(image, brain):
        return image

    with progress.followed(predict, SimpleNamespace(), DensePatches((8, 8, 8))) as same:
        assert same is predict
