"""SUNet from training to tables, in real processes: killed within an epoch, its variants, a fold's mean."""

import signal

import pandas as pd
import pytest
from test_system_repeatable import assert_same_end
from tiny_runs import balanced_settings

from strokelab.runs import load_run

STEP = "strokelab.models.segmenter.Segmenter.training_step"


@pytest.fixture(scope="module")
def settings(tiny):
    """Six cases of three subjects a fold; the held-out ones stop the training, choose its weights and its pair."""
    given = [item for item in balanced_settings(tiny) if not item.startswith(("callbacks.", "~", "data.val", "check"))]
    given += ["model=sunet", "postprocess=tuned", "postprocess.sizes=[1,10]", "split=kfold", "split.folds=3"]
    given += ["split.contiguous=true", "split.val_fraction=0", "+data.curves=held_out_selects", "split.fold=1"]
    return [*given, "trainer.max_epochs=3", "callbacks.resume_point.every_n_steps=3", "callbacks.progress=null"]


@pytest.fixture(scope="module")
def whole(settings, doors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("sunet") / "run"
    doors.train(*settings, f"run_dir={folder}", cwd=folder.parent).check()
    return folder


def test_killed_within_an_epoch_it_ends_like_a_run_never_killed(whole, settings, doors, tmp_path):
    killed = doors.train(*settings, "run_dir=run", cwd=tmp_path, kill_at=(STEP, 17))  # of 12 an epoch
    assert killed.status == -signal.SIGKILL, killed.output
    doors.train("resume=run", cwd=tmp_path).check()
    assert_same_end(tmp_path / "run", whole)
    assert (tmp_path / "run/tuning.csv").read_text() == (whole / "tuning.csv").read_text()


def test_it_is_evaluated_with_its_best_weights_and_its_pair(whole, doors, tmp_path):
    run = load_run(whole)
    assert run.checkpoint.name == "best.ckpt"
    assert run.view.preparation.channels == ("T1w", "mirrored_T1w")
    own = pd.read_csv(whole / "cases.csv", dtype={"case": str})
    assert own["inference"].str.contains(r"step=\[4, 4, 4\]").all()
    doors.evaluate(f"runs=[{whole}]", "rescore=true", "out=out", "save_predictions=false", cwd=tmp_path).check()
    again = pd.read_csv(tmp_path / "out/cases.csv", dtype={"case": str})
    pd.testing.assert_frame_equal(again[own.columns], own)


def test_the_baseline_is_another_model(settings, doors, tmp_path):
    doors.train(*settings, "variant=baseline", "trainer.max_epochs=1", "run_dir=run", cwd=tmp_path).check()
    run = load_run(tmp_path / "run")
    assert run.name == "sunet_baseline"
    assert run.view.preparation.channels == ("T1w",)
