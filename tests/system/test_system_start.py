"""Trainings that step their schedule within epochs, measure more than loss and Dice, and start from another run."""

import csv
import json
import shutil
import signal

import pytest
import torch
from tiny_runs import patch_settings

from strokelab import runs
from strokelab.runs.checkpoints import state_digest

STEP = "strokelab.models.segmenter.Segmenter.training_step"
METRIC = "strokelab.metrics.validation"
SCHEDULE = [
    *("+model.scheduler_interval=step", "model.scheduler._target_=torch.optim.lr_scheduler.PolynomialLR"),
    *("~model.scheduler.gamma", "+model.scheduler.total_iters='???'", "+model.scheduler.power=0.9"),
]
# Five batches an epoch, two of them to an optimiser step: three steps an epoch.
BY_STEP = [
    *SCHEDULE,
    *("model=unet2d", "data.batch_size=12", "callbacks.progress=null", "score_test=false"),
    *("+trainer.accumulate_grad_batches=2", "callbacks.resume_point.every_n_steps=1"),
    *(f"+model.validation_metrics.soft_dice._target_={METRIC}.SoftDice", "objective=val/soft_dice"),
    *("callbacks.best.monitor=val/soft_dice", "callbacks.best.mode=max", "checkpoint=best"),
]


def checkpoint(run, name="last"):
    return torch.load(run / f"checkpoints/{name}.ckpt", map_location="cpu", weights_only=True)


def rows(run, name):
    with (run / "metrics.csv").open() as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


@pytest.fixture(scope="module")
def by_step(tiny, doors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("by step")
    doors.train(*tiny, *BY_STEP, "run_dir=run", cwd=folder).check()
    return folder / "run"


def test_a_schedule_of_steps_ends_with_the_training_and_goes_on_within_an_epoch(by_step, tiny, doors, tmp_path):
    settings, end = runs.read_settings(by_step), checkpoint(by_step)
    assert (end["global_step"], settings["model"]["scheduler"]["total_iters"]) == (6, 6)
    assert end["lr_schedulers"][0]["last_epoch"] == 6
    assert end["lr_schedulers"][0]["_last_lr"] == [0.0]
    values = rows(by_step, "val/soft_dice")
    assert len(values) == 2
    assert runs.read_objective(by_step) == max(values)
    run = tmp_path / "run"
    killed = doors.train(*tiny, *BY_STEP, "run_dir=run", cwd=tmp_path, kill_at=(STEP, 8, signal.SIGKILL))
    assert killed.status == -signal.SIGKILL
    assert checkpoint(run)["global_step"] == 4  # the seventh batch ended the fourth step, within the second epoch
    assert checkpoint(run)["lr_schedulers"][0]["_last_lr"] == pytest.approx([0.05 * (1 / 3) ** 0.9])
    doors.train(*tiny, *BY_STEP, "run_dir=run", "resume=auto", cwd=tmp_path).check()
    assert runs.read_settings(run)["model"] == settings["model"]
    for name, weight in checkpoint(run)["state_dict"].items():
        assert torch.equal(weight, end["state_dict"][name]), name
    assert (run / "metrics.csv").read_text() == (by_step / "metrics.csv").read_text()


def test_a_longer_training_keeps_the_end_of_its_schedule_or_moves_it(by_step, doors, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(by_step, run)
    done = doors.train("resume=run", "trainer.max_epochs=3", cwd=tmp_path).check()
    assert "its schedule ends at step 6, as before (model.scheduler.total_iters=9 moves its end)" in done.output
    assert checkpoint(run)["lr_schedulers"][0]["_last_lr"] == [0.0]
    done = doors.train("resume=run", "trainer.max_epochs=4", "model.scheduler.total_iters=12", cwd=tmp_path).check()
    assert "its schedule ends at step 12; new settings of optimizer or schedule hold from here on" in done.output
    assert f"{0.05 * 0.25**0.9:.3g} at step 10, {0.05 * (1 / 12) ** 0.9:.3g} at step 12" in done.output
    assert checkpoint(run)["lr_schedulers"][0]["_last_lr"] == pytest.approx([0.0])


def start(run):
    """Where the other run's weights must be after a training that changes none."""
    return {name: value for name, value in checkpoint(run)["state_dict"].items() if not name.endswith("_tracked")}


@pytest.fixture(scope="module")
def still(tiny):
    """A training whose weights stay what they were; batch norm's statistics move."""
    return [*tiny, "model=unet2d", "trainer.max_epochs=1", "model.optimizer.lr=0", "score_test=false"]


def test_a_training_starts_from_the_weights_of_another_run(trained_run, still, doors, tmp_path):
    """SG-Net's weights into its plain U-Net: the parts that it lacks are left out."""
    source = tmp_path / "a:b"
    shutil.copytree(trained_run, source)
    asked = [*still, f"init_weights='{source}'", "run_dir=run"]
    done = doors.train(*asked, cwd=tmp_path).check()
    assert "Starts from a:b (last.ckpt): " in done.output
    assert "there but not here (standardizer." in done.output
    wanted, found = start(source), start(tmp_path / "run")
    names = [name for name in found if "running" not in name]
    assert names
    assert all(torch.equal(found[name], wanted[name]) for name in names)
    record = json.loads((tmp_path / "run/init_weights.json").read_text())
    assert record["weights"] == state_digest(checkpoint(source)["state_dict"])
    assert (record["run"], record["checkpoint"], record["file"]) == (str(source), None, "last.ckpt")
    here, there = checkpoint(tmp_path / "run")["state_dict"], checkpoint(source)["state_dict"]
    assert record["left_out"] == {
        "missing": [],
        "other_shape": [],
        "unused": [name for name in there if name not in here],
    }
    assert record["trained_on_test"] == []  # the same split
    shutil.rmtree(source)
    again = doors.train(*asked, "resume=auto", cwd=tmp_path).check()
    assert "finished before" in again.output
    longer = doors.train("resume=run", "trainer.max_epochs=2", cwd=tmp_path).check()
    assert "Starts from" not in longer.output


def test_a_killed_start_goes_on_without_the_other_run(trained_unet, tiny, doors, tmp_path):
    whole, run, source = tmp_path / "whole", tmp_path / "run", tmp_path / "source"
    shutil.copytree(trained_unet, source)
    asked = [*tiny, "model=unet2d", "init_weights=source:best", "score_test=false"]
    doors.train(*asked, f"run_dir={whole}", cwd=tmp_path).check()
    doors.train(*asked, f"run_dir={run}", "resume=auto", cwd=tmp_path, kill_at=(STEP, 7, signal.SIGKILL))
    assert (run / "checkpoints/last.ckpt").is_file()
    shutil.rmtree(source)
    doors.train(*asked, f"run_dir={run}", "resume=auto", cwd=tmp_path).check()
    assert (run / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


def test_other_channels_and_another_family(trained_unet, isles_cohort, tiny, doors, tmp_path):
    three = [*tiny[4:], "data=isles2022", f"data.root={isles_cohort}", "model=unet2d", "split=kfold", "split.folds=3"]
    three += ["view.preparation.crop=[16,16,null]", "trainer.max_epochs=1", "score_test=false", "data.val_fraction=0"]
    done = doors.train(*three, f"init_weights={trained_unet}", "run_dir=run", cwd=tmp_path).check()
    left_out = json.loads((tmp_path / "run/init_weights.json").read_text())["left_out"]
    assert [name.rpartition(".")[2] for name in left_out["other_shape"]] == ["weight"]
    assert f"1 of another shape ({left_out['other_shape'][0]})" in done.output
    patches = [item for item in patch_settings(tiny) if not item.startswith("callbacks.")]
    patches += ["model=nnunet", f"init_weights={trained_unet}", "run_dir=other"]
    refused = doors.train(*patches, cwd=tmp_path)
    assert refused.status == 1
    assert "found:    no parameter of this model" in refused.output
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_two_processes_start_equal_and_measure_what_one_does(trained_unet, still, doors, tmp_path):
    metric = f"+model.validation_metrics.l1._target_={METRIC}.L1ErrorRate"
    asked = [*still, *SCHEDULE, f"init_weights={trained_unet}", metric, "trainer.precision=32-true"]
    doors.train(*asked, "run_dir=one", cwd=tmp_path).check()
    two = ["trainer=ddp", "trainer.devices=2", "trainer.precision=32-true", "trainer.max_epochs=1"]
    doors.train(*asked, *two, "run_dir=two", cwd=tmp_path, env={"GLOO_SOCKET_IFNAME": "lo"}).check()
    for run in ("one", "two"):
        schedule, steps = checkpoint(tmp_path / run)["lr_schedulers"][0], checkpoint(tmp_path / run)["global_step"]
        assert (schedule["last_epoch"], schedule["total_iters"]) == (steps, steps), run
    one, both = start(tmp_path / "one"), start(tmp_path / "two")
    for name in one:
        assert torch.allclose(one[name], both[name], rtol=1e-3 if "running" in name else 0, atol=0), name
    assert rows(tmp_path / "two", "val/l1") == pytest.approx(rows(tmp_path / "one", "val/l1"), rel=1e-5)
    assert rows(tmp_path / "two", "val/loss") == pytest.approx(rows(tmp_path / "one", "val/loss"), rel=1e-5)
