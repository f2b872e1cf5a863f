"""A training that something ended before its length stays ended; rates that wait for a plateau survive a kill."""

import json
import signal
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_runs import SHORT_MAIN

STEP = "strokelab.models.segmenter.Segmenter.training_step"
SCORING = "strokelab.training.test_part.write_scores"
EARLY = [
    "+callbacks.early._target_=lightning.pytorch.callbacks.EarlyStopping",
    *("+callbacks.early.monitor=val/loss", "+callbacks.early.patience=1", "+callbacks.early.min_delta=100"),
    "trainer.max_epochs=9",
]


@pytest.fixture(scope="module")
def settings(tiny):
    """Five steps an epoch."""
    given = [item for item in tiny if "case_metrics" not in item]
    return [*given, SHORT_MAIN, "data.batch_size=12", "callbacks.progress=null", "callbacks.case_metrics=null"]


def step(run):
    return torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["global_step"]


def status(run):
    return json.loads((run / "status.json").read_text())


def test_early_stopping_holds_whatever_happens_afterwards(settings, doors, tmp_path):
    run, command = tmp_path / "run", [*settings, *EARLY, "run_dir=run"]
    killed = doors.train(*command, cwd=tmp_path, kill_at=(SCORING, 1))
    assert killed.status == -signal.SIGKILL
    assert "Training ended early in epoch 2, at step 10: EarlyStopping: " in killed.output
    assert step(run) == 10
    assert not (run / "cases.csv").exists()
    done = doors.train(*command, "resume=auto", cwd=tmp_path).check()
    assert "it stays ended" in done.output
    assert step(run) == 10
    assert status(run)["ended"] | {"why": ""} == {"why": "", "epoch": 2, "step": 10}
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for again in (["resume=run"], [*command, "resume=auto"]):
        assert "nothing is left to train" in doors.train(*again, cwd=tmp_path).check().output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before, "no score is overwritten"
    doors.train("resume=run", "score_test=false", cwd=tmp_path).check()
    assert step(run) == 10
    doors.train("resume=run", "score_test=false", "trainer.max_epochs=10", cwd=tmp_path).check()
    assert step(run) == 15, "prolonged on purpose, until it is ended early again"


def test_the_time_limit_is_one_of_all_parts_together(settings, doors, tmp_path):
    """It also ends a training within an epoch."""
    run, command = tmp_path / "run", [*settings, "+trainer.max_time={milliseconds: 1}", "run_dir=run"]
    killed = doors.train(*command, cwd=tmp_path, kill_at=(SCORING, 1, signal.SIGUSR1))
    assert killed.status == 143
    assert step(run) == 1
    doors.train("resume=run", cwd=tmp_path).check()
    assert step(run) == 1
    assert "max_time" in status(run)["ended"]["why"]


def test_averaged_weights_are_what_is_kept_and_scored(settings, doors, tmp_path):
    """Lightning adds an epoch for the statistics of batch norm."""
    average = ["+callbacks.swa._target_=lightning.pytorch.callbacks.StochasticWeightAveraging"]
    command = [*settings, *average, "+callbacks.swa.swa_lrs=0.01", "trainer.max_epochs=2", "run_dir=run"]
    killed = doors.train(*command, cwd=tmp_path, kill_at=(SCORING, 1))
    assert killed.status == -signal.SIGKILL
    doors.train(*command, "resume=auto", cwd=tmp_path).check()
    content = torch.load(tmp_path / "run/checkpoints/last.ckpt", map_location="cpu", weights_only=True)
    average = content["callbacks"]["StochasticWeightAveraging"]["average_model_state"]
    weights = {name for name, _ in average.items() if name.endswith("weight")}
    assert weights
    assert [name for name in weights if not torch.equal(average[name], content["state_dict"][name])] == []


def test_a_rate_that_waits_for_a_plateau_survives_a_kill(settings, doors, tmp_path):
    """Lightning would step it after the checkpoint is written; validation comes every second epoch."""
    torchs = "model.scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"
    plateau = [torchs, "~model.scheduler.gamma", "+model.scheduler.patience=0", "+model.scheduler.threshold=100"]
    length = ["trainer.max_epochs=4", "trainer.check_val_every_n_epoch=2", "score_test=false"]
    doors.train(*settings, *plateau, *length, "run_dir=whole", cwd=tmp_path).check()
    assert doors.train(*settings, *plateau, *length, "run_dir=run", cwd=tmp_path, kill_at=(STEP, 11)).status < 0
    doors.train("resume=run", cwd=tmp_path).check()
    whole, run = (
        torch.load(tmp_path / name / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)
        for name in ("whole", "run")
    )
    assert whole["lr_schedulers"] == run["lr_schedulers"]
    assert whole["lr_schedulers"][0]["_last_lr"] == pytest.approx([0.05 * 0.1**2])
    assert all(torch.equal(run["state_dict"][name], value) for name, value in whole["state_dict"].items())


def test_the_same_batches_again_and_again(settings, doors, tmp_path):
    """``overfit_batches``: what a step sees differs between epochs only by what was learned."""
    still = ["model.optimizer.lr=0", SHORT_MAIN, "trainer.max_epochs=3", "score_test=false", "run_dir=run"]
    doors.train(*settings, *still, "+trainer.overfit_batches=2", "model.optimizer.weight_decay=0", cwd=tmp_path).check()
    rows = (tmp_path / "run/metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("train/loss_step")
    losses = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert len(losses) == 6
    assert losses[2:] == pytest.approx(2 * losses[:2])
    assert losses[0] != pytest.approx(losses[1])


def test_one_process_is_the_first_whatever_its_environment_says(settings, doors, tmp_path):
    leftover = {
        "RANK": "1",
        "LOCAL_RANK": "1",
        "SLURM_PROCID": "1",
        "WORLD_SIZE": "2",
        "PMI_RANK": "1",
        "SLURM_NTASKS": "2",
    }
    command = [*settings, "run_dir=run", "score_test=false"]
    first = doors.start("train", *command, "trainer.max_epochs=200", cwd=tmp_path, env=leftover)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoints/last.ckpt").is_file():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    second = doors.train("resume=run", cwd=tmp_path, env=leftover)
    first.kill()
    first.wait()
    assert second.status == 1
    assert f"another training that writes here at this moment (process {first.pid} " in second.output
    assert len((tmp_path / "run/metrics.csv").read_text().splitlines()) > 5


@pytest.mark.skipif(sys.platform != "linux", reason="a working folder that no one can write to")
def test_nothing_is_written_into_the_working_folder(settings, doors, tmp_path):
    """Not even by root: /proc takes no folder."""
    run, out = tmp_path / "run", tmp_path / "out"
    doors.train(*settings, "trainer.max_epochs=1", "score_test=false", f"run_dir={run}", cwd=Path("/proc")).check()
    doors.train(f"resume={run}", "trainer.max_epochs=2", cwd=Path("/proc")).check()
    doors.evaluate(f"runs=[{run}]", f"out={out}", cwd=Path("/proc")).check()
    refused = doors.train(*settings, f"run_dir={tmp_path / 'no'}", "data.batch_size=0", cwd=Path("/proc"))
    assert refused.status == 1
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}
    for nowhere, setting in (
        (doors.train(*settings, cwd=Path("/proc")), "run_dir"),
        (
            doors.evaluate(f"runs=[{run}]", cwd=Path("/proc")),
            "out",
        ),
    ):
        assert nowhere.status == 1
        assert "Traceback" not in nowhere.output
        assert f"{setting}=FOLDER" in nowhere.output
