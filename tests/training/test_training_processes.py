"""What the processes of a training may share, and what happens when one of them is gone and the first one hangs."""

import json
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from rich.console import Console
from two_processes import SERVER

from strokelab import runs
from strokelab.errors import ConfigError, ProcessError, RunError
from strokelab.training import processes
from strokelab.training.processes import check_shares, watched


def trainer_with(*commands):
    """As Lightning's launcher leaves it: the further processes under way."""
    started = [subprocess.Popen([sys.executable, "-c", command]) for command in commands]
    launcher = SimpleNamespace(procs=started)
    return SimpleNamespace(world_size=1 + len(started), strategy=SimpleNamespace(launcher=launcher))


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch):
    monkeypatch.setattr(processes.STOP, "others", [])


def hang(folder):
    trainer = trainer_with("import os; os.kill(os.getpid(), 9)", "import time; time.sleep(600)")
    (folder / "survivor").write_text(str(trainer.strategy.launcher.procs[1].pid))
    processes._NOTICE = 0.3
    with (folder / "output").open("w") as output, watched(trainer, folder, console=Console(file=output, width=200)):
        time.sleep(600)  # as in a collective operation whose partner is gone


@pytest.mark.slow
def test_the_first_process_hangs_and_is_ended_with_a_word(tmp_path):
    runs.write_status(tmp_path, "running")
    process = SERVER.Process(target=hang, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == 1
    status = json.loads((tmp_path / runs.STATUS).read_text())
    assert status["state"] == "failed"
    assert "process 1 of 3 (counted from 0): killed by SIGKILL" in status["error"]
    survivor = int((tmp_path / "survivor").read_text())
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{survivor}/fd") and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not os.path.exists(f"/proc/{survivor}/exe"), "the other process was left behind"


def test_a_lost_connection_names_the_process_that_is_gone(tmp_path):
    trainer = trainer_with("raise SystemExit(3)")
    with (
        pytest.raises(ProcessError, match=r"process 1 of 2 .*\n.*ended with status 3"),
        watched(trainer, tmp_path, console=Console()),
    ):
        raise RuntimeError("[gloo/transport/tcp/pair.cc] Connection closed by peer")


def test_other_errors_stay_what_they_are(tmp_path):
    trainer = trainer_with("")
    with pytest.raises(RuntimeError, match="shapes"), watched(trainer, tmp_path, console=Console()):
        raise RuntimeError("shapes do not fit")


@pytest.mark.parametrize(("batch", "number", "remedy"), [(16, 3, "15 or 18"), (3, 4, "=4,"), (10, 4, "8 or 12")])
def test_batches_are_shared_equally(batch, number, remedy):
    check_shares(12, 4)
    with pytest.raises(ConfigError, match=remedy):
        check_shares(batch, number)


def test_processes_change_only_between_epochs():
    check_shares(16, 4, {"epoch": 3, "batch": 0, "processes": 2})
    check_shares(16, 2, {"epoch": 3, "batch": 5, "processes": 2})
    check_shares(16, 1, {"epoch": 3, "batch": 5})  # of an earlier version
    with pytest.raises(RunError, match=r"epoch 4 of a training of 2 process.*and 4 process"):
        check_shares(16, 4, {"epoch": 3, "batch": 5, "processes": 2})
