"""What a search compares: the number a run's settings name, as it stood for the weights that the run evaluates."""

import pytest
import yaml

from strokelab import runs
from strokelab.errors import ConfigError

METRICS = """epoch,step,train/loss,val/pooled_dice,val/dice,val/loss
0,4,0.9,,,
0,4,,0.3,0.31,0.8
1,9,,0.6,0.59,0.4
2,14,,0.5,,0.5
"""


@pytest.fixture
def a_run(tmp_path):
    def made(metrics=METRICS, **settings):
        callbacks = {
            "best": {"filename": "best", "monitor": "val/pooled_dice", "mode": "max"},
            "lowest": {"filename": "lowest", "monitor": "val/loss", "mode": "min"},
            "progress": None,
        }
        content = {name: {} for name in ("model", "view", "postprocess", "cohort")}
        content |= {"checkpoint": "last", "callbacks": callbacks, **settings}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
        (tmp_path / "metrics.csv").write_text(metrics)
        (tmp_path / "cases.csv").write_text("run,case,dice\na,1,0.25\na,2,0.75\na,3,\n")
        return tmp_path

    return made


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({}, 0.5),  # runs of earlier versions have no such setting
        ({"objective": "test/dice"}, 0.5),
        ({"objective": "val/pooled_dice"}, 0.5),
        ({"objective": "val/dice"}, 0.59),
        ({"objective": "val/pooled_dice", "checkpoint": "best"}, 0.6),
        ({"objective": "val/loss", "checkpoint": "best"}, 0.4),
        ({"objective": "val/dice", "checkpoint": "lowest"}, 0.59),
        ({"objective": "val/dice", "checkpoint": "unknown"}, None),
        ({"objective": "val/nonsense"}, None),
    ],
)
def test_the_objective_is_that_of_the_weights_that_count(a_run, settings, value):
    assert runs.read_objective(a_run(**settings)) == value


def test_a_diverged_training_has_none(a_run):
    folder = a_run(METRICS + "3,19,,nan,,nan\n", objective="val/pooled_dice")
    assert runs.read_objective(folder) is None
    assert runs.read_objective(a_run("", objective="val/pooled_dice")) is None
    (folder / "metrics.csv").unlink()
    assert runs.read_objective(folder) is None


def test_what_the_run_will_not_have_is_refused_before():
    runs.check_objective({}, validates=False)
    runs.check_objective({"objective": "test/dice"}, validates=False)
    runs.check_objective({"objective": "val/dice"}, validates=True)
    with pytest.raises(ConfigError, match="no validation part"):
        runs.check_objective({"objective": "val/dice"}, validates=False)
    for wrong in ("dice", "train/loss", None):
        with pytest.raises(ConfigError, match="begins with val/"):
            runs.check_objective({"objective": wrong}, validates=True)
