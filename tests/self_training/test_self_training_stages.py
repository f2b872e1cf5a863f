"""A stage is a process of its own: what stops the loop stops it, once, and it says how it ended."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from own_processes import hear_signals, none_left

ROOT = Path(__file__).resolve().parents[2]
LOOP = "import sys; from pathlib import Path; from strokelab.self_training.stages import run_sweep; "
LOOP += "run_sweep(sys.argv[1:], Path('sweep')); print('went on')"
# Stands in for train.py -m: says what it was asked, then ends as asked.
TRAIN = """
import signal, sys, time
from pathlib import Path
def stop(number, frame):
    Path("asked").open("a").write(f"{number} ")
    sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, stop)
Path("told").write_text("|".join(sys.argv[1:]))
if "fails" in sys.argv:
    sys.exit(1)
while "waits" in sys.argv:
    time.sleep(0.02)
"""


@pytest.fixture(autouse=True)
def _none_left(monkeypatch):
    with none_left() as mark:
        for name, value in mark.items():
            monkeypatch.setenv(name, value)
        yield


def start(folder: Path, *overrides: str) -> subprocess.Popen:
    (folder / "train.py").write_text(TRAIN)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", LOOP, *overrides]
    output = {"stdout": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=folder, env=environment, preexec_fn=hear_signals, **output)


def test_a_sweep_with_a_failed_member_is_judged_by_its_run_folders(tmp_path):
    process = start(tmp_path, "seed=3", "fails")
    assert process.communicate(timeout=60)[0] == "went on\n"
    assert (tmp_path / "told").read_text() == "--multirun|seed=3|fails|hydra.sweep.dir='sweep'"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_stops_the_loop_stops_the_sweep_and_nothing_follows(number, tmp_path):
    process = start(tmp_path, "waits")
    end = time.monotonic() + 60
    while not (tmp_path / "told").exists() or not (tmp_path / "told").read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    process.send_signal(number)
    assert process.communicate(timeout=60)[0] == ""
    assert process.returncode == 128 + number
    assert (tmp_path / "asked").read_text() == f"{int(number)} "
