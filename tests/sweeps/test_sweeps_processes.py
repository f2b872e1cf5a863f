"""Members as processes: how many at a time, what ends them, that nothing is left behind. Stand-ins train nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from own_processes import hear_signals, none_left

from strokelab import runs
from strokelab.sweeps.record import read_record
from strokelab.sweeps.states import state_of

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _none_left(monkeypatch):
    with none_left() as mark:
        for name, value in mark.items():
            monkeypatch.setenv(name, value)
        yield


def start(folder, at_once, *members):
    folder.mkdir(exist_ok=True)
    command = [sys.executable, str(HERE / "stand_in_sweep.py"), str(folder), str(at_once), *members]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "COLUMNS": "300"}
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, env=environment, preexec_fn=hear_signals, **output)


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


def ready(folder, *numbers):
    until(lambda: all((folder / f"m{number}" / "ready").exists() for number in numbers))


def finish(sweep):
    output, _ = sweep.communicate(timeout=60)
    return sweep.returncode, output


def states(folder):
    return [state_of(member).state for member in read_record(folder).members]


def alive(folder):
    """Processes that were started for a sweep and are still there."""
    children = [int(path.read_text()) for path in folder.glob("*/child")]
    found = []
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        told = " ".join(process.info["cmdline"] or [])
        mine = process.info["pid"] in children or ("stand_in_training" in told and str(folder) in told)
        if mine and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(told)
    return found


def test_a_failed_member_ends_nobody_else_and_its_error_is_kept(tmp_path):
    folder = tmp_path / "a sweep's folder, [odd] ${name}"
    status, output = finish(start(folder, 1, "dice=0.25", "fail=1", "silent=1", "dice=0.75 child=1"))
    assert status == 0, output
    assert states(folder) == ["finished", "failed", "killed", "finished"]
    told = [state_of(member) for member in read_record(folder).members]
    assert [state.dice for state in told] == [0.25, None, None, 0.75]
    assert told[1].error == "ValueError: no lesion left"
    assert told[2].error.startswith("SIGKILL, from outside")
    assert "[2/4] m1: failed" in output
    assert (folder / "order").read_text().split() == ["m0", "m1", "m2", "m3"]
    assert "second line" in (folder / "m1/log.txt").read_text()
    assert alive(folder) == []  # what member 3 left behind is gone, too


def test_so_many_run_at_a_time_each_with_its_share(tmp_path):
    # Each of the first two waits for a file that only the other one, running beside it, makes.
    status, output = finish(start(tmp_path / "s", 2, "wait_for=m1/ready", "wait_for=m0/ready", "dice=0.1"))
    assert status == 0, output
    shares = [(tmp_path / f"s/m{number}/environment.txt").read_text() for number in range(3)]
    assert sorted(shares[:2]) == ["3 0,10", "3 1,11"]
    assert shares[2] in shares[:2]


def test_started_anew_only_what_is_left_is_trained(tmp_path):
    folder = tmp_path / "s"
    finish(start(folder, 2, "dice=0.1", "fail=1", "dice=0.2"))
    first = runs.read_status(folder / "m0")
    (folder / "order").unlink()
    (folder / "order").touch()
    status, output = finish(start(folder, 2, "dice=0.1", "fail=1", "dice=0.2"))
    assert status == 0
    assert "2 finished before" in output
    assert (folder / "order").read_text().split() == ["m1"]
    assert runs.read_status(folder / "m0") == first
    assert (folder / "m1/log.txt").read_text().count("ValueError") == 2  # appended


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_asked_to_stop_members_are_asked_once_and_waited_for(tmp_path, number, status):
    folder = tmp_path / "s"
    sweep = start(folder, 2, "hang=1", "hang=1", "dice=0.1")
    ready(folder, 0, 1)
    sweep.send_signal(number)
    code, output = finish(sweep)
    assert code == status, output
    assert states(folder) == ["killed", "killed", "waiting"]
    assert [(folder / f"m{number}/asked").read_text() for number in (0, 1)] == ["stop\n", "stop\n"]
    assert "0 of 3 members finished" in output
    assert f"strokelab sweep {folder} --resume --at-once 2\n" in output
    assert alive(folder) == []


def test_asked_twice_members_are_killed(tmp_path):
    folder = tmp_path / "s"
    sweep = start(folder, 2, "deaf=1 child=1", "hang=1")
    ready(folder, 0, 1)
    sweep.send_signal(signal.SIGINT)
    until(lambda: (folder / "m0/asked").exists())
    sweep.send_signal(signal.SIGINT)
    code, output = finish(sweep)
    assert code == 130, output
    assert states(folder) == ["killed", "killed"]
    assert state_of(folder / "m0").error == "SIGKILL, the sweep was asked twice to stop"
    assert alive(folder) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell a process that its parent died")
def test_members_of_a_killed_sweep_are_asked_to_stop(tmp_path):
    folder = tmp_path / "s"
    sweep = start(folder, 2, "hang=1", "hang=1", "dice=0.1")
    ready(folder, 0, 1)
    sweep.kill()
    sweep.communicate(timeout=60)
    until(lambda: alive(folder) == [])
    assert states(folder) == ["killed", "killed", "waiting"]
    assert state_of(folder / "m0").error == "SIGTERM"
    status, output = finish(start(folder, 2, "dice=0.3", "dice=0.3", "dice=0.1"))
    assert status == 0, output
    assert states(folder) == ["finished"] * 3


def test_a_member_that_another_process_trains_is_waited_for(tmp_path):
    folder = tmp_path / "s"
    (folder / "m0").mkdir(parents=True)
    code = (
        "import sys; from pathlib import Path; from strokelab import runs\n"
        f"with runs.claimed(Path({str(folder / 'm0')!r})): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        sweep = start(folder, 1, "dice=0.1", "dice=0.2")
        until(lambda: (folder / "m1/cases.csv").exists())  # the turn of the other one comes first
        assert not (folder / "m0/ready").exists()
        holder.stdin.close()
    status, output = finish(sweep)
    assert status == 0, output
    assert (folder / "order").read_text().split() == ["m1", "m0"]
    assert states(folder) == ["finished", "finished"]


def test_a_script_that_is_gone_is_a_failed_member(tmp_path):
    from rich.console import Console

    from strokelab.sweeps.members import Door, SweepMember
    from strokelab.sweeps.processes import train_members
    from strokelab.sweeps.sharing import Shares

    member = SweepMember(0, ("seed=1",), tmp_path / "m0", "")
    for door in (Door(tmp_path / "gone.py", tmp_path, sys.executable), Door(HERE, tmp_path / "gone", sys.executable)):
        found = train_members([member], door, Shares(1), folder=tmp_path, console=Console())
        assert found[member].state == "failed"
        assert "gone" in found[member].error
