"""Real trainings on two processes: the numbers of one, none of them left out."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_runs import SHORT_MAIN

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("validate_processes.py")
ROOT = Path(__file__).resolve().parents[2]


def validate(run, devices, folder):
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, PROGRAM, run, str(devices), folder]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(devices)]


def test_the_same_weights_validated_by_one_and_by_two_processes(trained_run, tmp_path):
    (one,) = validate(trained_run, 1, tmp_path / "one")
    two = validate(trained_run, 2, tmp_path / "two")
    assert one["val/cases"] == 3, "an odd number: one process scores one case more than the other"
    loss = one.pop("val/loss")
    for rank, logged in enumerate(two):
        # The loss of a batch depends on what else is in it; here a batch of two processes is half as large.
        assert logged.pop("val/loss") == pytest.approx(loss, rel=0.01), rank
        assert logged == one, rank
    assert 0 < one["val/micro_dice"] < 1
    assert one["val/failed_cases"] == 0


def test_a_training_on_two_processes_logs_what_a_training_on_one_does(trained_run, tiny, doors, tmp_path):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    # Shared statistics need GPUs (torch.nn.SyncBatchNorm).
    settings = [*tiny, SHORT_MAIN, *two, "trainer.sync_batchnorm=false", "score_test=false"]
    done = doors.train(*settings, "run_dir=run", cwd=tmp_path).check()
    assert "sync_dist" not in done.output
    curves, expected = (list(csv.DictReader((run / "metrics.csv").open())) for run in (tmp_path / "run", trained_run))
    assert set(curves[0]) == set(expected[0])
    last = {name: value for row in curves for name, value in row.items() if value}
    assert float(last["val/cases"]) == 3
    assert float(last["val/dice"]) > 0
