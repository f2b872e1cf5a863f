"""What became of a member: read from its folder, settled where it could not say so itself, all without torch."""

import json
import subprocess
import sys

import pytest

from strokelab import runs
from strokelab.runs.folder import LOCK
from strokelab.sweeps.record import SweepMember
from strokelab.sweeps.states import START, first_error, settle, state_of


@pytest.fixture
def member(tmp_path):
    folder = tmp_path / "m0"
    folder.mkdir()
    return SweepMember(0, ("seed=1",), folder, "d" * 32)


def a_run(member, state, digest="d" * 32, **details):
    runs.write_status(member.folder, state, **details)
    (member.folder / runs.ENVIRONMENT).write_text(json.dumps({"digest": digest}))
    (member.folder / runs.CONFIG).write_text(
        "model: {}\nview: {}\npostprocess: {}\ncohort: {}\ntrainer: {max_epochs: 7}\n"
    )


@pytest.mark.parametrize("module", ["strokelab.sweeps.table", "strokelab.sweeps.states", "strokelab.runs"])
def test_asking_how_a_sweep_stands_loads_neither_torch_nor_numpy(module):
    code = f"import sys, {module}; print([name for name in ('torch', 'numpy', 'lightning') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_runs_room_still_gives_what_needs_torch():
    from strokelab.runs.trained import Run, load_run

    assert (runs.Run, runs.load_run) == (Run, load_run)
    with pytest.raises(AttributeError, match="nothing"):
        _ = runs.nothing


def test_states_are_those_of_the_folder(member, tmp_path):
    assert state_of(member).state == state_of(tmp_path / "nowhere").state == "waiting"
    a_run(member, "finished", minutes=2.5)
    (member.folder / runs.CASES).write_text("case,dice\na,0.2\nb,\nc,0.4\n")
    rows = "epoch,step,val/pooled_dice,val/dice\n0,3,0.1,\n4,9,,\n4,9,0.3,\n"
    (member.folder / runs.METRICS).write_text(rows)
    state = state_of(member)
    assert (state.state, state.dice, state.minutes, state.epoch, state.epochs) == (
        "finished",
        pytest.approx(0.3),
        2.5,
        5,
        7,
    )
    assert state.val_dice == 0.3
    (member.folder / runs.METRICS).write_text(rows + "5,11,0.2,0.6\n5,12,,\n")
    assert state_of(member).val_dice == 0.6
    a_run(member, "failed", error="ValueError: boom\nmore")
    assert (state_of(member).state, state_of(member).error) == ("failed", "ValueError: boom")
    assert state_of(member).dice is None
    runs.write_status(member.folder, "requeued")
    assert (state_of(member).state, state_of(member).error) == ("waiting", "requeued")


def test_a_run_with_other_settings_is_not_taken_for_the_member(member):
    a_run(member, "finished", digest="e" * 32)
    assert state_of(member).state == "other settings"
    assert state_of(member.folder).state == "finished"
    assert state_of(SweepMember(0, (), member.folder, "")).state == "finished"  # without a record of what was asked


def test_who_says_running_is_looked_at(member):
    a_run(member, "running")
    assert state_of(member).state == "killed"
    status = runs.read_status(member.folder)
    (member.folder / runs.STATUS).write_text(json.dumps(status | {"host": "another-machine"}))
    assert (state_of(member).state, state_of(member).error) == ("running", "on another-machine")


@pytest.mark.parametrize("content", ["[]", "{", '{"state": "glorious"}', '{"state": 3}', "\0"])
def test_damaged_files_are_a_member_that_waits(member, content):
    for name in (runs.STATUS, runs.METRICS, runs.CASES, runs.CONFIG, runs.ENVIRONMENT):
        (member.folder / name).write_text(content)
    assert state_of(member).state in ("waiting", "other settings")
    assert state_of(member.folder).state == "waiting"


def test_what_a_member_could_not_say_is_settled(member):
    log = member.folder / "log.txt"
    before = runs.read_status(member.folder)
    log.write_text(f"ValueError: yesterday\n{START}today\nConfigError split.fold\n  found:    9\n  expected: 0 to 2\n")
    assert settle(member, 1, before=before, log=log).error == "ConfigError split.fold found: 9"
    a_run(member, "running")
    state = settle(member, -9, before=before, log=log)
    assert (state.state, state.error) == ("killed", "SIGKILL, from outside: often because memory ran out")
    before = runs.read_status(member.folder)
    log.write_text("what happened?\n")
    assert settle(member, 1, before=before, log=log).error == "what happened?"
    assert settle(member, 3, before=runs.read_status(member.folder)).error == "ended with exit status 3"


def test_what_a_member_said_itself_stands(member):
    for state, error in (("finished", ""), ("failed", "OSError: disk full"), ("killed", "SIGTERM")):
        a_run(member, state, error=error)
        assert settle(member, 1, before={"state": "running"}).error == error
        assert runs.read_status(member.folder)["state"] == state
    a_run(member, "finished", digest="e" * 32)
    before = runs.read_status(member.folder)
    assert settle(member, 1, before=before).state == "other settings"  # its finished run is left alone
    assert runs.read_status(member.folder) == before


def test_a_folder_that_another_training_holds_is_left_alone(member):
    a_run(member, "running")
    before = runs.read_status(member.folder)
    code = (
        "import sys; from pathlib import Path; from strokelab import runs\n"
        f"with runs.claimed(Path({str(member.folder)!r})): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        assert (member.folder / LOCK).exists()
        assert settle(member, 1, before=before).state == "running"
        holder.stdin.close()
    assert runs.read_status(member.folder) == before


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Traceback:\n  File x\nValueError: a\n\nDuring\nKeyError: 'b'\n", "ValueError: a"),
        ("torch.OutOfMemoryError: CUDA\n", "torch.OutOfMemoryError: CUDA"),
        ("bla\nRunError /x/y\n  found:    another training   here\n", "RunError /x/y found: another training here"),
        ("Errors are fine: 0\nKilled\n", "Killed"),
        ("", ""),
    ],
)
def test_the_first_error_line_of_a_log(tmp_path, text, error):
    (tmp_path / "log.txt").write_text(text)
    assert first_error(tmp_path / "log.txt") == error
    assert first_error(tmp_path / "none") == ""
