"""``synthesis=synthstroke`` beside every family: a synthetic step, a real step, a run; killed, it goes on as it was."""

import signal

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from tiny_runs import balanced_settings, crop_settings, patch_settings

from strokelab.configuration import check_fit, compose, plain
from strokelab.errors import ConfigError
from strokelab.runs import load_run
from strokelab.training import train

STEPS = ["synthesis=synthstroke", "data.mixing.steps=2", "trainer.max_epochs=1", "callbacks=none", "score_test=false"]
SMALL = {"nnunet": patch_settings, "resunet3d": crop_settings, "sunet": balanced_settings}


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("model", ["unet2d", "sgnet", "nnunet", "resunet3d", "sunet"])
@pytest.mark.filterwarnings("ignore")
def test_every_family_takes_synthetic_steps(model, tiny, tmp_path):
    own = SMALL.get(model, list)(tiny)
    own = [f"model={model}", *(item for item in own if not item.startswith("callbacks.")), *STEPS]
    if model == "sunet":  # the command is refused, and taken with what the message says
        with pytest.raises(ConfigError, match=r"mirror\.enabled=false"):
            check_fit(plain(compose("train", [*own, f"run_dir={tmp_path}"])))
        own.append("view.preparation.mirror.enabled=false")
    run = tmp_path / "run"
    train(compose("train", [*own, f"run_dir={run}"]))
    metrics = pd.read_csv(run / "metrics.csv")
    assert metrics["train/loss_step"].notna().sum() == 2
    assert np.isfinite(metrics["train/loss_step"].dropna()).all()
    assert load_run(run).model is not None


def test_a_killed_training_ends_with_the_numbers_of_one_never_killed(tiny, doors, tmp_path):
    own = ["model=unet2d", *(item for item in tiny if not item.startswith("callbacks."))]
    own += ["synthesis=synthstroke", "data.mixing.steps=3", "data.batch_size=4", "callbacks.progress=null"]
    own += ["score_test=false"]
    for name, kill in (("unbroken", None), ("killed", ("strokelab.models.segmenter.Segmenter.training_step", 5))):
        kill_at = None if kill is None else (*kill, signal.SIGUSR1)
        done = doors.train(*own, f"run_dir={tmp_path / name}", cwd=tmp_path, kill_at=kill_at)
        assert (done.status == 0) == (kill is None), done.output
    doors.train(f"resume={tmp_path / 'killed'}", cwd=tmp_path).check()
    tables = [(tmp_path / name / "metrics.csv").read_text() for name in ("unbroken", "killed")]
    assert tables[0] == tables[1]
    weights = [
        torch.load(tmp_path / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("unbroken", "killed")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    told = yaml.safe_load((tmp_path / "killed" / "config.yaml").read_text())["cohort"]["synthetic"]
    assert (told["tissue_maps"], told["lesions_of"]) == (1, "training cases")
    assert told["lesions"] > 0
