"""Validation in two real processes: the numbers of one, none of them left out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

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
        assert logged.pop("val/loss") == pytest.approx(loss, rel=1e-6), rank
        assert logged == one, rank
    assert 0 < one["val/micro_dice"] < 1
    assert one["val/failed_cases"] == 0
