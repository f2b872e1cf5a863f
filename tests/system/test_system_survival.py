"""Whatever ends a training: how it says so, what it leaves, and that it goes on to the numbers of one never ended."""

import os
import platform
import resource
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress

import psutil
import pytest
import torch
from tiny_runs import SHORT_MAIN

STEP = "strokelab.models.segmenter.Segmenter.training_step"
VALIDATION = "strokelab.models.segmenter.Segmenter.validation_step"
SCORING = "strokelab.training.test_part.write_scores"


def checkpoint(run, name="last"):
    return torch.load(run / f"checkpoints/{name}.ckpt", map_location="cpu", weights_only=True)


def status(run):
    return (run / "status.json").read_text()


def assert_same_end(run, other):
    """Bit for bit: weights, every row of the curves, every score of the test cases; nothing half done lies about."""
    mine, theirs = checkpoint(run)["state_dict"], checkpoint(other)["state_dict"]
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    for name in ("metrics.csv", "cases.csv", "probabilities.csv"):
        assert (run / name).read_text() == (other / name).read_text(), name
    assert '"state": "finished"' in status(run)
    assert not list(run.glob("checkpoints/.*")) + list(run.glob(".*"))


def until(condition, seconds=60.0):
    """Poll; what came true, or None."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    return None


@pytest.fixture(scope="module")
def settings(tiny):
    """Five steps an epoch, no checkpoints within epochs unless a signal asks for one."""
    return [*tiny, SHORT_MAIN, "data.batch_size=12", "callbacks.progress=null"]


@pytest.fixture(scope="module")
def undisturbed(settings, doors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    doors.train(*settings, f"run_dir={folder}", cwd=folder.parent).check()
    return folder


# Where the signal comes, the step of the checkpoint that it leaves (None: none), and what resuming then does.
MOMENTS = {
    "first epoch": ((STEP, 3), 3),
    "validating": ((VALIDATION, 1), None),
    "whole volumes of the last epoch": (("strokelab.callbacks.case_metrics.CaseMetrics._score", 1), 5),
    "scoring": ((SCORING, 1), 10),
}


@pytest.mark.parametrize(("place", "saved"), MOMENTS.values(), ids=MOMENTS)
def test_a_signal_saves_the_step_that_heard_it(place, saved, undisturbed, settings, doors, tmp_path):
    run = tmp_path / "run"
    stopped = doors.train(*settings, "run_dir=run", cwd=tmp_path, kill_at=(*place, signal.SIGUSR1))
    assert stopped.status == 143, stopped.output
    assert "Traceback" not in stopped.output
    assert "Stopped by SIGUSR1." in stopped.output
    assert "Continue with: python train.py resume=run" in stopped.output
    assert '"state": "killed"' in status(run)
    last = run / "checkpoints/last.ckpt"
    assert (checkpoint(run)["global_step"] if last.is_file() else None) == saved
    again = doors.train("resume=run", cwd=tmp_path).check()
    assert ("(10 steps, 0.0 min)" in again.output) or saved != 10
    assert_same_end(run, undisturbed)


def test_the_keyboard_has_an_exit_status_of_its_own(settings, doors, tmp_path):
    done = doors.train(*settings, "run_dir=run", cwd=tmp_path, kill_at=(STEP, 2, signal.SIGINT))
    assert done.status == 130
    assert '"error": "SIGINT"' in status(tmp_path / "run")


def test_before_there_is_a_run_nothing_is_left(settings, doors, tmp_path):
    place = ("strokelab.data.datamodule.CohortDataModule.setup", 1, signal.SIGTERM)
    done = doors.train(*settings, "run_dir=run", cwd=tmp_path, kill_at=place)
    assert done.status == 143
    assert "Stopped by SIGTERM before training began." in done.output
    assert "Traceback" not in done.output
    assert list(tmp_path.iterdir()) == []


def test_slurm_starts_the_job_again_and_the_run_goes_on(undisturbed, settings, doors, tmp_path):
    """Only the command is a stand-in; ``test_system_slurm`` has the real one."""
    tool = tmp_path / "bin" / "scontrol"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" $(grep -o requeued {tmp_path}/run/status.json) > {tmp_path}/asked.txt\n')
    tool.chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    asked = [*settings, "run_dir=run", "resume=auto"]
    stopped = doors.train(*asked, cwd=tmp_path, env=job, kill_at=(STEP, 8, signal.SIGUSR1))
    assert stopped.status == 143
    assert "SLURM starts this job again" in stopped.output
    assert (tmp_path / "asked.txt").read_text() == "requeue 77 requeued\n", "the status was there before"
    assert '"state": "requeued"' in status(tmp_path / "run")
    doors.train(*asked, cwd=tmp_path, env=job).check()
    assert_same_end(tmp_path / "run", undisturbed)


def test_an_unreadable_checkpoint_falls_back_to_the_one_before(undisturbed, settings, doors, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    content = (run / "checkpoints/last.ckpt").read_bytes()
    (run / "checkpoints/last.ckpt").write_bytes(content[: len(content) // 2])
    done = doors.train("resume=run", cwd=tmp_path).check()
    assert "last.ckpt cannot be read: going on from the one before it (step 5, previous.ckpt)" in done.output
    assert_same_end(run, undisturbed)
    (run / "checkpoints/last.ckpt").write_bytes(b"")
    (run / "checkpoints/previous.ckpt").write_bytes(b"")
    done = doors.train("resume=run", cwd=tmp_path)
    assert done.status == 1
    assert "cannot be read safely" in done.output


def test_what_cannot_go_on_changes_nothing(undisturbed, doors, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    doors.train("resume=run", "score_test=false", cwd=tmp_path).check()  # it knows its new place
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for item, words in {
        "trainer.max_epochs=1": "1, and 2 are trained already",
        "trainer.max_steps=4": "4, and 10 are trained already",
        "model.network.base=8": "weights of another model",
    }.items():
        done = doors.train("resume=run", item, cwd=tmp_path)
        assert done.status == 1, item
        assert words in done.output
        assert "Traceback" not in done.output
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_longer_training_says_what_it_means(undisturbed, doors, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run)
    longer = ["trainer.max_epochs=3", "score_test=false"]
    done = doors.train("resume=run", *longer, "callbacks.site_adversary.schedule=dann", cwd=tmp_path).check()
    assert "training: now ends at epoch 3; was 2" in done.output
    assert "learning rate (ExponentialLR): 0.0461 in epoch 3; the schedule goes on" in done.output
    assert "site adversary: its ramp now ends at epoch 3; was 2 (after epoch 2: 0.9975, was 0.9999)" in done.output
    other = ["trainer.max_epochs=4", "model.scheduler.gamma=0.5"]
    done = doors.train("resume=run", *other, cwd=tmp_path).check()
    assert "learning rate (ExponentialLR): 0.00625 in epoch 4; the schedule goes on" in done.output
    assert "new settings of optimizer or schedule hold from here on" in done.output
    assert checkpoint(run)["lr_schedulers"][0]["_last_lr"] == pytest.approx([0.05 * 0.5**4])
    assert "max_epochs: 4" in (run / "config.yaml").read_text()


def test_a_live_run_is_named_and_a_dead_one_no_obstacle(settings, doors, tmp_path):
    first = doors.start("train", *settings, "run_dir=run", "trainer.max_epochs=60", cwd=tmp_path)
    assert until((tmp_path / "run/checkpoints/last.ckpt").is_file)
    second = doors.train("resume=run", cwd=tmp_path)
    third = doors.train(*settings, "run_dir=run", cwd=tmp_path)
    first.kill()
    first.wait()
    for refused in (second, third):
        assert refused.status == 1
        assert f"another training that writes here at this moment (process {first.pid} on {platform.node()}" in (
            refused.output
        )
    assert (tmp_path / "run/.holder.json").is_file(), "what a killed one leaves"
    assert "are trained already" in doors.train("resume=run", "trainer.max_steps=1", cwd=tmp_path).output
    assert not (tmp_path / "run/.holder.json").exists()


def full_and_free_again(doors, settings, run, *, fill, free, reference):
    """A training whose disk fills up under it, then has room again."""
    first = doors.start("train", *settings, f"run_dir={run}", "trainer.max_epochs=200", cwd=run.parent)
    assert until((run / "checkpoints/previous.ckpt").is_file)
    fill(first.pid)
    done = first.wait()
    assert done.status == 1, done.output
    assert "DiskFullError" in done.output
    assert "MiB free for" in done.output
    assert "free disk space" in done.output
    assert '"state": "failed"' in status(run)
    assert "DiskFullError" in status(run)
    assert not list(run.glob("checkpoints/.*")) + [path for path in run.glob(".*") if path.name != ".lock"]
    epochs = checkpoint(run)["global_step"] // 5
    free()
    length = f"trainer.max_epochs={epochs + 2}"
    doors.train("resume=" + str(run), length, cwd=run.parent).check()
    doors.train(*settings, f"run_dir={reference}", length, cwd=reference.parent).check()
    assert_same_end(run, reference)


def test_a_full_disk_is_named_and_the_earlier_checkpoint_stands(settings, doors, tmp_path):
    """By the limit of a file's size, which any machine has."""

    def fill(pid):
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (20_000, 20_000))

    run = tmp_path / "run"
    full_and_free_again(doors, settings, run, fill=fill, free=lambda: None, reference=tmp_path / "reference")


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 4 MB in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=4M", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no disk can be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"no disk may be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.slow
def test_a_really_full_disk(small_disk, settings, doors, tmp_path):
    """Not even the status finds room for another file."""
    ballast = small_disk / "ballast"

    def fill(_):
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    full_and_free_again(
        doors, settings, small_disk / "run", fill=fill, free=ballast.unlink, reference=tmp_path / "reference"
    )


def family(pid):
    """A process and all below it."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def command(process):
    with suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def alive(processes):
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_loader_workers_end_with_their_training(name, settings, doors, tmp_path):
    workers = ["data.workers=2", "trainer.max_epochs=500", "callbacks.resume_point.every_n_steps=1"]
    training = doors.start("train", *settings, *workers, "run_dir=run", cwd=tmp_path)
    assert until((tmp_path / "run/checkpoints/last.ckpt").is_file)
    processes = family(training.pid)
    assert len(processes) >= 4, "the training, the server that workers are forked from, the workers"
    for process in processes[1:]:  # as SLURM does, to every process of the job
        if name == "SIGTERM":
            process.send_signal(signal.SIGUSR1)
    training.kill(getattr(signal, name))
    assert training.wait().status == (143 if name == "SIGTERM" else -signal.SIGKILL)
    assert until(lambda: not alive(processes)), alive(processes)


def pair(doors, *arguments, cwd, kill_at=None):
    """Two processes as torchrun starts them, which costs no imports here; signals come to the first."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "TORCHELASTIC_RUN_ID": "one"}
    counts = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "GLOO_SOCKET_IFNAME": "lo"}
    started = [
        doors.start(
            "train",
            *arguments,
            cwd=cwd,
            kill_at=kill_at if number == "0" else None,
            env={**place, **counts, "RANK": number, "LOCAL_RANK": number},
        )
        for number in ("0", "1")
    ]
    return [process.wait() for process in started]


@pytest.mark.slow
def test_two_processes_stop_and_go_on_as_one(settings, doors, tmp_path):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "trainer.precision=32-true"]
    # The first process starts the second, as for everybody without a launcher.
    killed = doors.start("train", *settings, *two, "run_dir=run", cwd=tmp_path, kill_at=(STEP, 7))
    second = until(lambda: [child for child in family(killed.pid)[1:] if "train.py" in command(child)])
    assert second
    whole = pair(doors, *settings, *two, "run_dir=whole", cwd=tmp_path)
    assert [done.status for done in whole] == [0, 0], whole
    assert killed.wait().status == -signal.SIGKILL
    assert until(lambda: not alive(second)), "it outlived the first"
    stopped = pair(doors, "resume=run", cwd=tmp_path, kill_at=(STEP, 3, signal.SIGUSR1))
    assert [done.status for done in stopped] == [143, 143], stopped
    assert ["Continue with" in done.output for done in stopped] == [True, False]
    assert not any("Traceback" in done.output for done in stopped)
    assert checkpoint(tmp_path / "run")["global_step"] == 8
    assert [done.status for done in pair(doors, "resume=run", cwd=tmp_path)] == [0, 0]
    assert_same_end(tmp_path / "run", tmp_path / "whole")
