"""Real trainings: what auto is settled as, what a broken loss and a dead worker look like, and that nothing is left."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from tiny_runs import SHORT_MAIN

from strokelab.allocator import cannot_keep


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]


def settled(run):
    settings = yaml.safe_load((run / "config.yaml").read_text())
    return settings["trainer"]["precision"], settings["allocator"]


@pytest.fixture(scope="module")
def short(tiny):
    return [*tiny, SHORT_MAIN, "score_test=false", "callbacks.case_metrics=null"]


def test_auto_is_said_remembered_and_not_asked_again(short, doors, tmp_path):
    done = doors.train(*short, "trainer.precision=auto", "trainer.max_epochs=1", "run_dir=run", cwd=tmp_path).check()
    lines = [line for line in done.output.splitlines() if "trial" in line]
    assert len(lines) == 1
    assert "bf16" in lines[0]
    assert "trainer.precision=" in lines[0]
    precision, allocator = settled(tmp_path / "run")
    assert precision in ("bf16-mixed", "32-true")
    assert precision in lines[0]
    assert allocator == "default"  # its tensors are small
    again = doors.train("resume=run", "trainer.max_epochs=2", cwd=tmp_path).check()
    assert "trial" not in again.output
    assert settled(tmp_path / "run") == (precision, allocator)


@pytest.mark.skipif(cannot_keep() is not None, reason=f"{cannot_keep()}")
def test_the_allocator_changes_no_number(short, doors, tmp_path):
    for allocator in ("default", "resident"):
        doors.train(*short, f"allocator={allocator}", f"run_dir={allocator}", cwd=tmp_path).check()
        assert settled(tmp_path / allocator) == ("32-true", allocator)
    one, other = weights(tmp_path / "default"), weights(tmp_path / "resident")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_float16_without_a_gpu_is_refused_before_anything_is_written(short, doors, tmp_path):
    done = doors.train(*short, "trainer.precision=16", "run_dir=run", cwd=tmp_path)
    assert done.status == 1
    assert "trainer.precision=bf16-mixed" in done.output
    assert not (tmp_path / "run").exists()


def test_a_broken_loss_ends_the_run_and_spares_the_checkpoint(short, doors, tmp_path):
    run = tmp_path / "run"
    wild = ["model.optimizer.lr=1e30", "model.scheduler=null", "callbacks.resume_point.every_n_steps=1"]
    done = doors.train(*short, *wild, "run_dir=run", cwd=tmp_path)
    assert done.status == 1
    assert "RunError" in done.output
    assert "epoch 0, step " in done.output
    assert "lower learning rate" in done.output
    assert "Traceback" not in done.output
    assert '"state": "failed"' in (run / "status.json").read_text()
    if (run / "checkpoints/last.ckpt").exists():
        assert all(value.isfinite().all() for value in weights(run).values())


def descendants(process: int) -> list[int]:
    """All processes below one, by their parents; workers' parent is the fork server, which is the trainer's child."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if words[0] != "Z":
            parents.setdefault(int(words[1]), []).append(int(path.parent.name))
    found, new = [], [process]
    while new:
        new = [child for parent in new for child in parents.get(parent, [])]
        found += new
    return found


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not (answer := condition()):
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)
    return answer


@pytest.fixture
def under_way(short, doors, tmp_path):
    """A long training with two loader workers that has made a step, and its workers."""
    settings = [*short, "data.workers=2", "trainer.max_epochs=100000", "callbacks.resume_point.every_n_steps=1"]
    training = doors.start("train", *settings, "run_dir=run", cwd=tmp_path)
    try:
        wait_for((tmp_path / "run/checkpoints/last.ckpt").exists)
        # The fork server's children: two workers of the training part, two of the validation part once it has begun.
        below = descendants(training.pid)
        workers = [pid for pid in below if any(pid in descendants(other) for other in below)]
        assert len(workers) >= 2
        yield training, workers
    finally:
        if training.pid in descendants(os.getpid()):
            training.kill()


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are found through /proc")


@needs_proc
@pytest.mark.slow
def test_a_dead_worker_ends_the_training_with_its_name(under_way, tmp_path):
    training, workers = under_way
    os.kill(workers[0], signal.SIGKILL)
    done = training.wait()
    assert done.status == 1
    assert f"(pid {workers[0]})" in done.output
    assert "SIGKILL" in done.output
    assert "data.workers" in done.output
    assert "Traceback" not in done.output
    assert '"state": "failed"' in (tmp_path / "run/status.json").read_text()
    assert (tmp_path / "run/checkpoints/last.ckpt").is_file()
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


@needs_proc
@pytest.mark.slow
def test_no_worker_outlives_a_killed_training(under_way):
    training, workers = under_way
    everybody = descendants(training.pid)
    assert set(workers) <= set(everybody)
    training.kill(signal.SIGKILL)
    assert training.wait().status == -signal.SIGKILL
    wait_for(lambda: not any(Path(f"/proc/{process}").exists() for process in everybody))
