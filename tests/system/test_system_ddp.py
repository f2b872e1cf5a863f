"""Trainings of two real processes on the CPU: the numbers of one, nothing twice, and nobody left behind.

In double precision, where rounding cannot hide a missing term: SG-Net's short trainings amplify the last bit.
"""

import csv
import json
import os
import shutil
import signal
import socket
import time

import pytest
import torch
from tiny_runs import SHORT_MAIN

from strokelab import runs

pytestmark = pytest.mark.slow
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"}
TWO = ["trainer=ddp", "trainer.devices=2"]
MEMBER = "a=member, of a sweep"
SINGLE = "trainer.precision=32-true"  # Lightning resumes a double training from single precision
DOUBLE = "trainer.precision=64-true"


def last(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def curve(run):
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def started_outside(doors, *arguments, cwd, rank, **settings):
    """One of two processes as SLURM and torchrun start them: all at the same moment, knowing of each other."""
    environment = {
        **LOOPBACK,
        **{name: str(rank) for name in ("RANK", "LOCAL_RANK")},
        **{"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "a-test"},
        **{"MASTER_ADDR": "127.0.0.1", **settings.pop("env", {})},
    }
    return doors.start("train", *arguments, cwd=cwd, env=environment, **settings)


def both_outside(doors, *arguments, cwd, kill_first_at=None, env=({}, {})):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = {"MASTER_PORT": str(free.getsockname()[1])}
    both = [
        started_outside(doors, *arguments, cwd=cwd, rank=rank, kill_at=None if rank else kill_first_at, env=port | own)
        for rank, own in enumerate(env)
    ]
    return [process.wait() for process in both]


@pytest.fixture(scope="module")
def settings(tiny):
    return [*tiny, SHORT_MAIN, DOUBLE]


@pytest.fixture(scope="module")
def one(doors, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    doors.train(*settings, "run_dir=run", cwd=folder).check()
    return folder / "run"


@pytest.fixture(scope="module")
def two(doors, settings, tmp_path_factory):
    """As a launcher starts a member of a sweep; Lightning starts the second process with the same command."""
    folder = tmp_path_factory.mktemp("two")
    place = f"hydra.run.dir='{folder / MEMBER}'"
    done = doors.train(
        *settings, *TWO, DOUBLE, "hydra.mode=RUN", place, "resume=auto", cwd=folder, env=LOOPBACK
    ).check()
    return folder / MEMBER, done


def test_two_processes_train_as_one_does_with_the_whole_batch(one, two):
    run, _ = two
    ours, expected = curve(run), curve(one)
    assert [row.keys() for row in ours] == [row.keys() for row in expected]
    for row, other in zip(ours, expected, strict=True):
        for name, value in row.items():
            rel = 1e-12 if name == "train/loss_step" else 1e-6  # means over epochs are kept in single precision
            assert value == pytest.approx(other[name], rel=rel), (name, row["step"])
    weights, others = last(run)["state_dict"], last(one)["state_dict"]
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-9, atol=1e-12)


def test_cases_are_shared_without_loss_or_repetition(doors, one, two, tmp_path):
    assert [row["val/cases"] for row in curve(two[0]) if "val/cases" in row] == [3], "an odd number"
    copy = shutil.copytree(one, tmp_path / "copy")
    for table in (runs.CASES, runs.PROBABILITIES):
        (copy / table).unlink()
    # Nothing is left to train: two processes score the weights of one, whose epoch is over.
    done = both_outside(doors, "resume=copy", "trainer.strategy=ddp", "trainer.devices=2", cwd=tmp_path)
    assert [process.status for process in done] == [0, 0], done[0].output
    for table in (runs.CASES, runs.PROBABILITIES):
        assert (copy / table).read_bytes() == (one / table).read_bytes()


def test_synthetic_and_real_steps_in_turn_are_those_of_one_process(doors, tiny, tmp_path):
    own = ["model=unet2d", *tiny, "synthesis=synthstroke", "data.mixing.steps=4", "data.batch_size=4"]
    own += ["score_test=false", DOUBLE]
    for name, further in (("one", []), ("two", [*TWO, DOUBLE])):
        doors.train(*own, *further, f"run_dir={name}", cwd=tmp_path, env=LOOPBACK).check()
    ours, expected = curve(tmp_path / "two"), curve(tmp_path / "one")
    losses = [row["train/loss_step"] for row in ours if "train/loss_step" in row]
    assert len(losses) == 8  # two epochs
    assert losses == pytest.approx([row["train/loss_step"] for row in expected if "train/loss_step" in row], rel=1e-9)
    weights, others = last(tmp_path / "two")["state_dict"], last(tmp_path / "one")["state_dict"]
    for name, value in weights.items():
        torch.testing.assert_close(value, others[name], rtol=1e-9, atol=1e-12)


def test_one_voice_and_no_stray_files(one, two):
    run, done = two
    assert {path.name for path in run.iterdir()} == {path.name for path in one.iterdir()}
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert done.output.count("Run folder:") == 2, "at the start and at the end"
    assert "Initializing" not in done.output
    assert "Warning" not in done.output
    assert runs.read_status(run)["state"] == "finished"


def test_killed_within_an_epoch_resumed_by_two_ends_with_the_same_bits(doors, settings, tmp_path):
    anew = ({"STROKELAB_STORE": str(tmp_path / "store")},) * 2  # both prepare the cases, at the same moment
    start = [*settings, *TWO, SINGLE, "callbacks.resume_point.every_n_steps=3"]
    step_seven = ("strokelab.models.segmenter.Segmenter.training_step", 7)
    first, second = both_outside(doors, *start, "run_dir=run", cwd=tmp_path, kill_first_at=step_seven, env=anew)
    assert first.status == -signal.SIGKILL
    assert second.status == 1, second.output
    assert "Traceback" not in second.output
    assert len(list((tmp_path / "store").glob("??/*"))) == 9, "every case once"

    run = tmp_path / "run"
    assert last(run)["global_step"] == 6, "within the second epoch of four steps"
    alone = doors.train("resume=run", "trainer.devices=1", cwd=tmp_path, env=LOOPBACK)
    assert alone.status == 1
    assert "within epoch 2 of a training of 2 process(es), and 1 process(es)" in alone.output

    first, second = both_outside(doors, "resume=run", cwd=tmp_path)
    assert (first.status, second.status) == (0, 0), first.output + second.output
    assert "Run folder" not in second.output
    unbroken = tmp_path / "unbroken"
    both_outside(doors, *start, f"run_dir={unbroken}", cwd=tmp_path)
    assert curve(run) == curve(unbroken)
    found, expected = last(run), last(unbroken)
    assert found["optimizer_states"][0]["state"].keys() == expected["optimizer_states"][0]["state"].keys()
    for name, value in expected["state_dict"].items():
        assert torch.equal(found["state_dict"][name], value), name
    assert (run / runs.CASES).read_bytes() == (unbroken / runs.CASES).read_bytes()


def test_what_one_process_finds_wrong_all_end_with_once(doors, settings, tmp_path):
    (tmp_path / "no-folder").write_text("")
    wrong = ({}, {"STROKELAB_STORE": str(tmp_path / "no-folder")})  # as where a disk is missing on one machine
    first, second = both_outside(doors, *settings, *TWO, "run_dir=run", cwd=tmp_path, env=wrong)
    assert (first.status, second.status) == (1, 1)
    assert "no-folder" in first.output
    assert "remedy" in first.output
    assert not second.output
    assert not (tmp_path / "run").exists()


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_written(doors, settings, tmp_path):
    done = doors.train(*settings, *TWO, "data.batch_size=15", "run_dir=run", cwd=tmp_path, env=LOOPBACK)
    assert done.status == 1
    assert "set data.batch_size=14 or 16" in done.output
    assert not (tmp_path / "run").exists()


def test_a_killed_process_ends_the_training_and_is_named(doors, settings, tmp_path):
    endless = ["trainer.max_epochs=100000", "callbacks.case_metrics.every_n_epochs=null", "run_dir=run"]
    running = doors.start("train", *settings, *TWO, DOUBLE, *endless, cwd=tmp_path, env=LOOPBACK)
    status, metrics = tmp_path / "run" / runs.STATUS, tmp_path / "run" / runs.METRICS
    deadline = time.monotonic() + 60
    while not metrics.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    with open(f"/proc/{running.pid}/task/{running.pid}/children") as file:
        children = [int(number) for number in file.read().split()]
    (child,) = [number for number in children if "train.py" in command_of(number)]
    os.kill(child, signal.SIGKILL)
    done = running.wait()
    assert done.status == 1, done.output
    assert json.loads(status.read_text())["state"] == "failed"
    assert "process 1 of 2" in json.loads(status.read_text())["error"]
    assert "killed by SIGKILL" in done.output
    assert "Traceback" not in done.output
    assert not os.path.exists(f"/proc/{child}")


def command_of(pid):
    with open(f"/proc/{pid}/cmdline") as file:
        return file.read()
