"""The curves end where the evaluation of the same weights on the same cases begins."""

import numpy as np
import pandas as pd
import pytest

from strokelab.configuration import compose, plain
from strokelab.statistics.aggregate import micro_dice, summarize


@pytest.mark.slow
def test_the_last_validation_of_a_training_is_its_evaluation(tiny, doors, tmp_path):
    # The cut decides what is seen: a callback with another than the run's own would show other numbers.
    settings = [*tiny, "model=unet2d", "postprocess=small_components", "postprocess.threshold=0.3"]
    doors.train(*settings, "run_dir=run", "score_test=false", cwd=tmp_path).check()
    doors.evaluate("runs=[run]", "part=val", "out=evaluation", cwd=tmp_path).check()
    curves = pd.read_csv(tmp_path / "run/metrics.csv")
    last = curves[curves["val/cases"].notna()].iloc[-1]
    (path,) = (tmp_path / "evaluation").rglob("cases.csv")
    table = pd.read_csv(path, dtype={"error": str})
    assert len(table) == last["val/cases"] == 3
    for line in summarize(table).itertuples():
        found = last[f"val/{line.metric}"]
        assert found == pytest.approx(line.mean, rel=1e-9) or (np.isinf(found) and np.isinf(line.mean)), line.metric
        assert last.get(f"val/{line.metric}_infinite", 0) == line.infinite
    assert last["val/micro_dice"] == pytest.approx(micro_dice(table)["micro_dice"].item(), rel=1e-12)
    assert 0 < last["val/dice"] < 1


def test_the_callback_cuts_as_the_run_does():
    settings = plain(compose("train", ["postprocess=small_components", "postprocess.min_voxels=7"]))
    assert settings["callbacks"]["case_metrics"]["postprocess"] == settings["postprocess"]
    assert settings["postprocess"]["min_voxels"] == 7
