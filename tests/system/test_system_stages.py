"""A training of several stages: one run folder, fresh optimizer in each, and the same numbers wherever a kill falls."""

import csv
import json
import math
import os
import signal

import pytest
import torch
from test_system_repeatable import assert_same_end, weights

from strokelab.runs import load_run

LARGE = "view.preparation.crop=[24,28,null]"
STAGES = [
    "+stages.zoom_in.view.preparation.crop=[16,20,null]",
    "+stages.zoom_in.data.batch_size=8",
    "+stages.zoom_in.trainer.max_epochs=2",
    "+stages.zoom_out.model.optimizer.lr=0.01",
    "+stages.zoom_out.model.scheduler={_target_: strokelab.models.warm_restarts.cosine_restarts, _partial_: true, "
    "cycle_epochs: 1, steps_per_epoch: '???'}",
    "+stages.zoom_out.model.scheduler_interval=step",
    "+stages.zoom_out.callbacks.snapshots.every_n_epochs=null",  # those of the schedule
]
KEPT = [
    "+callbacks.snapshots._target_=strokelab.callbacks.snapshots.Snapshots",
    "+callbacks.snapshots.folder=${run_dir}/checkpoints",
    "+callbacks.snapshots.every_n_epochs=1",
    "+callbacks.ema={_target_: strokelab.callbacks.averaged_weights.AveragedWeights, decay: 0.5}",
]


def read(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def rows(run):
    with (run / "metrics.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def base(tiny):
    return [*tiny, "model=unet2d", "callbacks.resume_point.every_n_steps=3", "callbacks.case_metrics=null", *KEPT]


@pytest.fixture(scope="module")
def staged(base, doors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("staged") / "run"
    doors.train(*base, *STAGES, f"run_dir={folder}", cwd=folder.parent).check()
    return folder


def test_stages_are_trainings_one_after_the_other(staged, base, doors, tmp_path):
    alone = ["view.preparation.crop=[16,20,null]", "data.batch_size=8", "score_test=false", "run_dir=alone"]
    doors.train(*base, *alone, cwd=tmp_path).check()
    first, second = read(staged / "checkpoints/zoom_in.ckpt"), read(staged / "checkpoints/last.ckpt")
    assert all(torch.equal(mine, first["state_dict"][name]) for name, mine in weights(tmp_path / "alone").items())
    steps = first["global_step"]
    table = rows(staged)
    assert [row for row in rows(tmp_path / "alone") if row["train/loss_step"]] == [
        {key: row[key] for key in row if key != "stage"}
        for row in table
        if row["train/loss_step"] and int(row["step"]) < steps
    ]
    assert [(row["epoch"], row["stage"]) for row in table if row["train/loss"]] == [
        ("0", "1.0"),
        ("1", "1.0"),
        ("2", "2.0"),
        ("3", "2.0"),
    ]
    assert (first["epoch"], second["epoch"]) == (1, 3)
    (optimizer,), (schedule,) = second["optimizer_states"], second["lr_schedulers"]
    assert optimizer["param_groups"][0]["initial_lr"] == 0.01
    assert optimizer["param_groups"][0]["lr"] == 0.01, "restarted"
    per_epoch = (second["global_step"] - steps) // 2
    assert (schedule["T_0"], schedule["cycle_epochs"]) == (per_epoch, 1)
    assert json.loads((staged / "status.json").read_text())["steps"] == second["global_step"] > steps


def test_weights_are_kept_by_the_epochs_of_each_stage(staged):
    names = sorted(path.stem for path in (staged / "checkpoints").glob("*.ckpt"))
    snapshots = [name for name in names if name.startswith("snapshot")]
    assert snapshots == [f"snapshot-{stage}-{epoch:04d}" for stage in ("zoom_in", "zoom_out") for epoch in (1, 2)]
    assert {"ema", "zoom_in-ema"} <= set(names)
    files = {name: read(staged / f"checkpoints/{name}.ckpt") for name in (*snapshots, "zoom_in", "last", "ema")}
    for name, end in (("snapshot-zoom_in-0002", "zoom_in"), ("snapshot-zoom_out-0002", "last")):
        assert all(
            torch.equal(value, files[end]["state_dict"][key]) for key, value in files[name]["state_dict"].items()
        )
        assert not all(
            torch.equal(value, files["ema"]["state_dict"][key]) for key, value in files[name]["state_dict"].items()
        )
    length = (files["last"]["global_step"] - files["zoom_in"]["global_step"]) // 2
    lowest = 0.01 * (1 + math.cos(math.pi * (length - 1) / length)) / 2
    assert files["snapshot-zoom_out-0001"]["snapshot"] == {"epoch": 1, "rate": pytest.approx(lowest)}
    marked = [(row["epoch"], row["stage"]) for row in rows(staged) if row["snapshot/rate"]]
    assert marked == [("0", "1.0"), ("1", "1.0"), ("2", "2.0"), ("3", "2.0")]
    assert load_run(staged, checkpoint="ema").epoch == load_run(staged).epoch == 4


MOMENTS = {
    "within the first stage": ("strokelab.models.segmenter.Segmenter.training_step", 9),
    "before the first stage is kept": ("strokelab.training.keep_ended", 1),
    "between the stages": ("strokelab.training.begin_next", 1),
    "in the second stage, before its first checkpoint counts": (
        "strokelab.models.segmenter.Segmenter.training_step",
        19,
    ),
    "within the second stage": ("strokelab.models.segmenter.Segmenter.training_step", 22),
}


@pytest.mark.parametrize(("place", "call"), MOMENTS.values(), ids=MOMENTS)
def test_killed_and_resumed_ends_like_one_never_killed(place, call, staged, base, doors, tmp_path):
    killed = doors.train(*base, *STAGES, "run_dir=run", cwd=tmp_path, kill_at=(place, call))
    assert killed.status == -signal.SIGKILL, killed.output
    doors.train("resume=run", cwd=tmp_path).check()
    assert_same_files(tmp_path / "run", staged)


@pytest.mark.parametrize("place", ["keep_ended", "begin_next"])
def test_slurm_starts_a_job_between_its_stages_again(place, staged, base, doors, tmp_path):
    """Only the command is a stand-in."""
    tool = tmp_path / "bin/scontrol"
    tool.parent.mkdir()
    tool.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked.txt\n')
    tool.chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "PATH": f"{tool.parent}:{os.environ['PATH']}"}
    asked = [*base, *STAGES, "run_dir=run", "resume=auto"]
    stopped = doors.train(*asked, cwd=tmp_path, env=job, kill_at=(f"strokelab.training.{place}", 1, signal.SIGUSR1))
    assert stopped.status == 143, stopped.output
    assert (tmp_path / "asked.txt").read_text() == "requeue 77\n"
    assert json.loads((tmp_path / "run/status.json").read_text())["state"] == "requeued"
    doors.train(*asked, cwd=tmp_path, env=job).check()
    assert_same_files(tmp_path / "run", staged)


def assert_same_files(run, staged):
    """As one that was never cut; snapshots, averages and what the stages ended with as well."""
    assert_same_end(run, staged)
    kept = [sorted(path.name for path in (one / "checkpoints").glob("*.ckpt")) for one in (run, staged)]
    assert kept[0] == kept[1]
    for name in set(kept[0]) - {"last.ckpt", "previous.ckpt"}:
        mine, theirs = (read(folder / "checkpoints" / name) for folder in (run, staged))
        assert mine.get("snapshot") == theirs.get("snapshot")
        assert mine["global_step"] == theirs["global_step"]
        assert all(torch.equal(mine["state_dict"][key], value) for key, value in theirs["state_dict"].items())


def test_stages_that_end_early_or_by_steps_and_start_from_the_best(base, doors, tmp_path):
    """One ends early, the next within an epoch, the last starts from its best."""
    early = "_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, patience: 1, min_delta: 100"
    stages = [
        *(f"+stages.a.callbacks.early={{{early}}}", "+stages.a.trainer.max_epochs=9", "+stages.b.data.batch_size=8"),
        *("+stages.b.trainer.max_epochs=-1", "+stages.b.trainer.max_steps=10"),
        *("+stages.c.init_weights=best", "+stages.c.model.optimizer.lr=0.0", "score_test=false"),
    ]
    place, call = "strokelab.training.begin_next", 2
    doors.train(*base, *stages, "run_dir=run", cwd=tmp_path).check()
    killed = doors.train(*base, *stages, "run_dir=killed", cwd=tmp_path, kill_at=(place, call))
    assert killed.status == -signal.SIGKILL, killed.output
    doors.train("resume=killed", cwd=tmp_path).check()
    assert (tmp_path / "run/metrics.csv").read_text() == (tmp_path / "killed/metrics.csv").read_text()
    mine, theirs = weights(tmp_path / "run"), weights(tmp_path / "killed")
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    a, b, best = (read(tmp_path / f"run/checkpoints/{name}.ckpt") for name in ("a", "b", "b-best"))
    assert (a["epoch"], b["global_step"] - a["global_step"]) == (1, 10)
    whole = [read(path)["global_step"] - a["global_step"] for path in (tmp_path / "run").rglob("snapshot-b-*.ckpt")]
    assert whole == [7], "the second epoch of the stage was cut short"
    trained = [name for name, _ in torch_parameters(mine)]
    assert all(torch.equal(mine[name], best["state_dict"][name]) for name in trained)  # at a rate of 0
    ends = [(row["epoch"], row["stage"]) for row in rows(tmp_path / "run") if row["stage"]]
    assert [stage for _, stage in ends] == sorted(stage for _, stage in ends)
    assert {"1.0", "3.0"} <= {stage for _, stage in ends}


def torch_parameters(state):
    """Weights without the statistics of batch norm, which move at a rate of 0, too."""
    return [(name, value) for name, value in state.items() if not name.endswith(("_mean", "_var", "_tracked"))]


@pytest.mark.slow
def test_two_processes_go_through_the_stages_together(base, doors, tmp_path):
    two = ["trainer=ddp", "trainer.devices=2", "trainer.precision=64-true", "score_test=false", "run_dir=run"]
    env = {"GLOO_SOCKET_IFNAME": "lo"}
    given = [item for item in base if "prepare_workers" not in item]
    doors.train(*given, *STAGES, *two, cwd=tmp_path, env=env).check()
    one = ["trainer.precision=64-true", "score_test=false", "run_dir=one", "trainer.sync_batchnorm=true"]
    doors.train(*given, *STAGES, *one, cwd=tmp_path).check()
    mine, theirs = weights(tmp_path / "run"), weights(tmp_path / "one")
    assert all(torch.allclose(mine[name], value, rtol=1e-6, atol=1e-9) for name, value in theirs.items())
    assert [row["stage"] for row in rows(tmp_path / "run") if row["stage"]] == ["1.0", "1.0", "2.0", "2.0"]
    for name in ("snapshot-zoom_in-0001", "snapshot-zoom_out-0002", "zoom_in-ema", "ema"):
        mine, theirs = (read(tmp_path / f"{run}/checkpoints/{name}.ckpt")["state_dict"] for run in ("run", "one"))
        assert all(torch.allclose(mine[key], value, rtol=1e-6, atol=1e-9) for key, value in theirs.items()), name
