"""Sweeps started again: finished members are not trained twice, unfinished ones go on, other settings are refused."""

import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from tiny_runs import SHORT_MAIN

from strokelab import runs
from strokelab.sweeps.record import SWEEP
from strokelab.sweeps.table import gather_states

SETTINGS = ["sweep=seeds", "hydra.sweep.dir=sweep", "hydra.launcher.at_once=2", SHORT_MAIN]


@pytest.fixture(scope="module")
def settings(tiny):
    """Two members that train long enough to be stopped."""
    return [*SETTINGS, *tiny, "seed=0,1", "trainer.max_epochs=25", "callbacks.case_metrics.every_n_epochs=25"]


@pytest.fixture(scope="module")
def stopped(settings, doors, tmp_path_factory):
    """A sweep asked to stop while both members train; its output."""
    here = tmp_path_factory.mktemp("stopped")
    # A store of their own, which both prepare at the same time.
    sweep = doors.start("train", *settings, cwd=here, env={"STROKELAB_STORE": str(here / "store")})
    members = [here / "sweep" / f"sgnet-seed{seed}" for seed in (0, 1)]
    end = time.monotonic() + 120
    while not all((member / "checkpoints/last.ckpt").is_file() for member in members):
        assert time.monotonic() < end
        time.sleep(0.02)
    sweep.kill(signal.SIGTERM)
    done = sweep.wait()
    assert done.status == 143, done.output
    return here / "sweep", done.output


def states(folder):
    return [state.state for state in gather_states(folder).values()]


@pytest.mark.slow
def test_asked_to_stop_members_save_and_the_table_says_so(stopped):
    folder, output = stopped
    assert states(folder) == ["killed", "killed"]
    assert "0 of 2 members finished" in output
    assert "--resume" in output
    assert "Traceback" not in output
    assert len(list((folder.parent / "store").rglob("case.json"))) == 9  # every case once
    for member in folder.glob("sgnet-*"):
        assert not runs.is_claimed(member)
        assert "Traceback" not in (member / "log.txt").read_text()
        assert (member / "checkpoints/last.ckpt").is_file()


@pytest.mark.slow
def test_what_is_left_is_trained_once_and_ends_like_a_run_never_stopped(stopped, settings, doors, tmp_path):
    folder = Path(shutil.copytree(stopped[0], tmp_path / "sweep"))  # it may have moved
    resumed = doors.strokelab("sweep", folder, "--resume", "--at-once", "2", cwd=tmp_path).check()
    assert states(folder) == ["finished", "finished"]
    assert "Report:  " in resumed.output and " sweep=sweep" in resumed.output  # noqa: PT018
    own = [item for item in settings if not item.startswith(("sweep=", "hydra.", "seed="))]
    doors.train(*own, "seed=1", "run_dir=alone", cwd=tmp_path).check()
    mine, alone = (
        torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for run in (folder / "sgnet-seed1", tmp_path / "alone")
    )
    assert all(torch.equal(mine[name], alone[name]) for name in alone)
    assert (folder / "sgnet-seed1/metrics.csv").read_text() == (tmp_path / "alone/metrics.csv").read_text()

    # The sweep's own command: nothing is left, and no process is started for it.
    log = (folder / "sgnet-seed0/log.txt").read_text()
    again = doors.train(*settings, cwd=tmp_path).check()
    assert "2 finished before" in again.output
    assert "2 of 2 members finished" in again.output
    assert (folder / "sgnet-seed0/log.txt").read_text() == log

    # Other settings in the same folder: said, not written over.
    before = (folder / SWEEP).read_text(), runs.read_status(folder / "sgnet-seed0")
    other = doors.train(*settings, "trainer.max_epochs=26", cwd=tmp_path)
    assert other.status == 1
    assert other.output.count("a run with other settings lies there (finished)") >= 2
    assert "Traceback" not in other.output
    assert "Error executing job" not in other.output
    assert before == ((folder / SWEEP).read_text(), runs.read_status(folder / "sgnet-seed0"))


MOMENTS = {
    "before a checkpoint": ("strokelab.models.segmenter.Segmenter.training_step", 2),
    "after training": ("strokelab.training.score_test", 1),
}


@pytest.mark.parametrize(("place", "call"), MOMENTS.values(), ids=MOMENTS)
def test_resume_auto_does_what_is_left(place, call, trained_run, tiny, doors, tmp_path):
    command = [*tiny, SHORT_MAIN, "run_dir=run", "resume=auto"]
    assert doors.train(*command, cwd=tmp_path, kill_at=(place, call)).status == -signal.SIGKILL
    doors.train(*command, "data.workers=0", cwd=tmp_path).check()
    assert (tmp_path / "run/metrics.csv").read_text() == (trained_run / "metrics.csv").read_text()
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    done = doors.train(*command, cwd=tmp_path).check()
    assert "nothing is left to train" in done.output
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_resume_auto_refuses_other_settings_and_strangers_files(a_run, tiny, doors, tmp_path):
    command = [*tiny, SHORT_MAIN, "resume=auto"]
    done = doors.train(*command, "model.network.base=5", f"run_dir='{a_run}'", cwd=tmp_path)
    assert done.status == 1
    assert "model.network.base=5, there 4" in done.output
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/split.csv").write_text("mine")
    done = doors.train(*command, "run_dir=theirs", cwd=tmp_path)
    assert done.status == 1
    assert "no run folder" in done.output
    assert (tmp_path / "theirs/split.csv").read_text() == "mine"
    # What was trained longer since is another run.
    doors.train(f"resume='{a_run}'", "trainer.max_epochs=3", cwd=tmp_path).check()
    assert doors.train(*command, f"run_dir='{a_run}'", cwd=tmp_path).status == 1
