"""The same numbers whatever happens: twice, with workers, after a kill at any moment, from another place."""

import csv
import shutil
import signal
import time

import pytest
import torch
from tiny_runs import SHORT_MAIN


def weights(run):
    return torch.load(run / "checkpoints/last.ckpt", map_location="cpu", weights_only=True)["state_dict"]


def assert_same_end(run, other):
    """Bit for bit: weights, every row of the curves, every score of the test cases, and the end."""
    mine, theirs = weights(run), weights(other)
    assert mine.keys() == theirs.keys()
    assert [name for name in mine if not torch.equal(mine[name], theirs[name])] == []
    for name in ("metrics.csv", "cases.csv", "split.csv", "sites.json"):
        assert (run / name).read_text() == (other / name).read_text(), name
    assert '"state": "finished"' in (run / "status.json").read_text()
    assert not list(run.glob("checkpoints/.*")) + list(run.glob(".*"))


@pytest.fixture(scope="module")
def steady(tiny):
    """Settings of a run with checkpoints within epochs."""
    settings = ["callbacks.resume_point.every_n_steps=3", "trainer.max_epochs=3", "data.batch_size=12"]
    return [*tiny, SHORT_MAIN, *settings]


@pytest.fixture(scope="module")
def never_killed(steady, doors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("never-killed") / "run"
    doors.train(*steady, f"run_dir={folder}", cwd=folder.parent).check()
    return folder


def test_one_seed_gives_one_result_with_and_without_workers(never_killed, steady, doors, tmp_path):
    doors.train(*steady, "run_dir=again", "data.workers=2", cwd=tmp_path).check()
    assert_same_end(tmp_path / "again", never_killed)


def test_another_seed_gives_another_result(never_killed, steady, doors, tmp_path):
    doors.train(*steady, "run_dir=other", "seed=1", "score_test=false", cwd=tmp_path).check()
    mine, theirs = weights(tmp_path / "other"), weights(never_killed)
    assert not torch.equal(mine["network.head.weight"], theirs["network.head.weight"])


# Five steps an epoch; a row for each, one for validation, one for the epoch. Checkpoints after steps 3, 5, 6, 9 ...
MOMENTS = {
    "before the first checkpoint": ("strokelab.models.segmenter.Segmenter.training_step", 2),
    "within the first epoch, after a checkpoint": ("strokelab.models.segmenter.Segmenter.training_step", 5),
    "within the second epoch": ("strokelab.models.segmenter.Segmenter.training_step", 10),
    "while validating": ("strokelab.models.segmenter.Segmenter.validation_step", 2),
    "between a step's checkpoint and its row": ("strokelab.callbacks.metrics_file.MetricsFile.log_metrics", 3),
    "between an epoch's checkpoint and its row": ("strokelab.callbacks.metrics_file.MetricsFile.log_metrics", 14),
    "before a checkpoint counts": ("strokelab.callbacks.resume_point.ResumePoint._publish", 5),
    "after training, before scoring": ("strokelab.training.score_test", 1),
}


@pytest.mark.parametrize(("place", "call"), MOMENTS.values(), ids=MOMENTS)
def test_killed_and_resumed_ends_like_one_never_killed(place, call, never_killed, steady, doors, tmp_path):
    killed = doors.train(*steady, "run_dir=run", cwd=tmp_path, kill_at=(place, call))
    assert killed.status == -signal.SIGKILL, killed.output
    assert '"state": "running"' in (tmp_path / "run/status.json").read_text()
    (tmp_path / "run/checkpoints/.last.ckpt.part").write_bytes(b"half a checkpoint")
    (tmp_path / "run/.4f290790-status.json").write_text("{")
    doors.train("resume=run", cwd=tmp_path).check()
    assert_same_end(tmp_path / "run", never_killed)


def test_killed_again_and_again_from_outside(never_killed, steady, doors, tmp_path):
    run = tmp_path / "run"
    rows = 0
    for delay in (0.9, 0.6, 1.1, 0.8):
        resume = (run / "config.yaml").is_file()
        running = doors.start("train", *(["resume=run"] if resume else [*steady, "run_dir=run"]), cwd=tmp_path)
        time.sleep(delay)
        running.kill()
        assert running.wait().status in (-signal.SIGKILL, 0)
        if (run / "metrics.csv").is_file():  # what is on disk only grows, but for rows that will come again
            now = len(list(csv.DictReader((run / "metrics.csv").open())))
            assert now >= min(rows, 1)
            rows = now
    doors.train(
        *(["resume=run"] if (run / "config.yaml").is_file() else [*steady, "run_dir=run"]), cwd=tmp_path
    ).check()
    assert_same_end(run, never_killed)


def test_resumed_elsewhere_after_the_folder_moved(never_killed, steady, t1_cohort, doors, tmp_path):
    """The best score so far is remembered, too, although Lightning remembers it by absolute path."""
    (tmp_path / "data").symlink_to(t1_cohort)
    place, call = MOMENTS["within the second epoch"]
    doors.train(*steady, "data.root=data", "run_dir=run", cwd=tmp_path, kill_at=(place, call))
    moved = tmp_path / "archive" / "of runs" / "old"
    moved.parent.mkdir(parents=True)
    shutil.move(tmp_path / "run", moved)
    (tmp_path / "elsewhere").mkdir()
    doors.train("resume='../archive/of runs/old'", cwd=tmp_path / "elsewhere").check()
    assert_same_end(moved, never_killed)
    assert not (tmp_path / "run").exists()
    best = torch.load(never_killed / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    mine = torch.load(moved / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(best[name], mine[name]) for name in best)


def test_a_finished_run_resumed_changes_nothing_and_may_be_prolonged(trained_run, tiny, doors, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained_run, run)
    doors.train("resume=run", cwd=tmp_path).check()
    assert_same_end(run, trained_run)
    doors.train("resume=run", "trainer.max_epochs=3", cwd=tmp_path).check()
    doors.train(*tiny, SHORT_MAIN, "trainer.max_epochs=3", "run_dir=at-once", cwd=tmp_path).check()
    assert_same_end(run, tmp_path / "at-once")
    assert "max_epochs: 3" in (run / "config.yaml").read_text()


def test_sigterm_ends_with_143_and_can_be_continued(never_killed, steady, doors, tmp_path):
    run = tmp_path / "run"
    running = doors.start("train", *steady, "run_dir=run", "callbacks.progress=null", cwd=tmp_path)
    while not (run / "metrics.csv").is_file():
        time.sleep(0.02)
    running.kill(signal.SIGTERM)
    done = running.wait()
    if done.status != 0:  # it may have been faster than the signal
        assert done.status == 143, done.output
        assert "Continue with: python train.py resume=run" in done.output
        assert "Traceback" not in done.output
        assert '"state": "killed"' in (run / "status.json").read_text()
        doors.train("resume=run", cwd=tmp_path).check()
    shown = set((run / "config.yaml").read_text().splitlines()) ^ set(
        (never_killed / "config.yaml").read_text().splitlines()
    )
    assert all("run" in line or "progress" in line for line in shown)
    assert_same_end(run, never_killed)


def test_a_run_goes_on_with_its_own_data_or_not_at_all(a_run, doors):
    where = a_run.parent
    refused = doors.train("resume=run", "split.fold=1", "trainer.max_epochs=3", cwd=where)
    assert refused.status == 1
    assert "cases in another part than today" in refused.output
    assert '"state": "finished"' in (a_run / "status.json").read_text()
    for item in ("run_dir=other", "seed=3", "model=unet2d", "trainer.max_epoch=3"):
        refused = doors.train("resume=run", item, cwd=where)
        assert refused.status == 1, item
        assert "Traceback" not in refused.output


def test_one_folder_serves_one_training_at_a_time(steady, doors, tmp_path):
    first = doors.start("train", *steady, "run_dir=run", "trainer.max_epochs=60", cwd=tmp_path)
    while not (tmp_path / "run/status.json").is_file():
        time.sleep(0.02)
    second = doors.train(*steady, "run_dir=run", cwd=tmp_path)
    third = doors.train("resume=run", cwd=tmp_path)
    first.kill()
    first.wait()
    for refused in (second, third):
        assert refused.status == 1
        assert "RunError" in refused.output
    assert "another training" in third.output
    # Dead, it may be continued, and by mistake not be lost.
    again = doors.train(*steady, "run_dir=run", cwd=tmp_path)
    assert again.status == 1
    assert "resume=" in again.output


def test_a_finished_run_is_replaced_as_a_whole_by_its_own_settings_alone(a_run, tiny, doors):
    (a_run / "notes.txt").write_text("mine")
    before = {path: path.read_bytes() for path in a_run.rglob("*") if path.is_file()}
    done = doors.train(*tiny, "model=unet2d", "score_test=false", "run_dir=run", cwd=a_run.parent)
    assert done.status == 1
    assert "other settings" in done.output
    assert before == {path: path.read_bytes() for path in a_run.rglob("*") if path.is_file()}
    (a_run / "checkpoints/old.ckpt").write_bytes(b"of a training before")
    with (a_run / "metrics.csv").open("a") as old:
        old.write("a row of a training before\n")
    doors.train(*tiny, SHORT_MAIN, "run_dir=run", cwd=a_run.parent).check()
    assert (a_run / "notes.txt").read_text() == "mine"
    assert not (a_run / "checkpoints/old.ckpt").exists()
    assert (a_run / "metrics.csv").read_bytes() == before[a_run / "metrics.csv"]


def test_a_training_counted_in_steps_may_be_prolonged(never_killed, steady, doors, tmp_path):
    """Only the curves tell: the unfinished epoch has left its row."""
    doors.train(*steady, "run_dir=run", "trainer.max_steps=7", "score_test=false", cwd=tmp_path).check()
    doors.train("resume=run", "trainer.max_steps=-1", "score_test=true", cwd=tmp_path).check()
    mine, theirs = weights(tmp_path / "run"), weights(never_killed)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert (tmp_path / "run/cases.csv").read_text() == (never_killed / "cases.csv").read_text()
    rows, whole = ((run / "metrics.csv").read_text().splitlines() for run in (tmp_path / "run", never_killed))
    assert len(set(rows) - set(whole)) == 1
    assert set(whole) <= set(rows)
