"""Unlearning through the doors: killed and resumed to the same bits, by two processes as by one, and the probe."""

import csv
import signal

import pytest
import torch
from tiny_runs import unlearning_settings

from strokelab.configuration import build, compose, plain

STEP = "strokelab.models.segmenter.Segmenter.training_step"
WITHOUT = ["callbacks.early_stopping=null", "callbacks.best=null"]
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"}


def last(run):
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)


def curve(run):
    with (run / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def settings(tiny):
    more = ["trainer.max_epochs=3", "callbacks.resume_point.every_n_steps=1", "data.batch_size=24"]
    given = [item for item in unlearning_settings(tiny) if not item.startswith("data.val_fraction")]
    ours = ["data.val_fraction=0", *WITHOUT, "model=unlearning"]  # three subjects of each site, to be asked about
    return [*given, *ours, *more]


@pytest.fixture(scope="module")
def whole(doors, settings, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    doors.train(*settings, "run_dir=run", cwd=folder).check()
    return folder / "run"


def test_a_run_stopped_in_stage_2_and_resumed_ends_with_the_same_bits(whole, doors, settings, tmp_path):
    """Dropout, the Adams of the epoch under way and the schedule of the sites go on where they were."""
    content = last(whole)
    steps = content["global_step"]
    assert steps == 1 + max(row["step"] for row in curve(whole) if "train/loss_step" in row), "one step a batch"
    assert len(content["optimizer_states"]) == 4
    doors.train(
        *settings, "run_dir=run", f"trainer.max_steps={steps // 2 + 1}", "score_test=false", cwd=tmp_path
    ).check()
    doors.train("resume=run", "trainer.max_steps=-1", "score_test=true", cwd=tmp_path).check()
    mine, theirs = last(tmp_path / "run")["state_dict"], content["state_dict"]
    assert [name for name in theirs if not torch.equal(mine[name], theirs[name])] == []
    assert (tmp_path / "run/cases.csv").read_text() == (whole / "cases.csv").read_text()
    assert curve(tmp_path / "run")[-1] == curve(whole)[-1]


def test_a_run_killed_in_stage_2_stops_where_an_unbroken_one_stops(doors, settings, tmp_path):
    """The epochs without a gain are counted on, and the weights of the best epoch of stage 2 are evaluated."""
    never = ["callbacks.early_stopping.patience=2", "+callbacks.early_stopping.min_delta=100", "trainer.max_epochs=9"]
    command = [item for item in settings if item not in ("checkpoint=last", "trainer.max_epochs=3", *WITHOUT)]
    command = [*(item for item in command if "val_fraction" not in item), "data.val_fraction=0.3", *never]
    doors.train(*command, "run_dir=whole", cwd=tmp_path).check()
    unbroken = last(tmp_path / "whole")
    assert unbroken["epoch"] == 3, "of stage 2 the first epoch is a gain, and the two after it are none"
    killed = doors.train(*command, "run_dir=run", cwd=tmp_path, kill_at=(STEP, unbroken["global_step"] * 5 // 8))
    assert killed.status == -signal.SIGKILL
    doors.train("resume=run", cwd=tmp_path).check()
    for name in ("last", "best"):
        mine, theirs = (
            torch.load(tmp_path / run / f"checkpoints/{name}.ckpt", weights_only=True) for run in ("run", "whole")
        )
        assert mine["epoch"] == theirs["epoch"]
        assert [
            key for key, value in theirs["state_dict"].items() if not torch.equal(mine["state_dict"][key], value)
        ] == []
    assert theirs["epoch"] >= 1, "no epoch of stage 1"
    assert (tmp_path / "run/cases.csv").read_text() == (tmp_path / "whole/cases.csv").read_text()


def test_a_fresh_classifier_is_asked_once_training_has_ended(whole):
    probed = [row for row in curve(whole) if "site/probe_accuracy" in row]
    assert [row["step"] for row in probed] == [last(whole)["global_step"]]
    assert 0 <= probed[0]["site/probe_accuracy"] <= 1
    assert 0 <= probed[0]["site/probe_balanced_accuracy"] <= 1


def test_every_batch_holds_every_training_site_and_never_the_held_out_one(settings, tmp_path):
    chosen = plain(compose("train", [*settings, "split.fold=Site2", f"run_dir={tmp_path}"]))
    view, split = build(chosen["view"]), build(chosen["split"])
    datamodule = build(chosen["data"], view=view, split=split, seed=0, progress=False)
    datamodule.setup("fit")
    assert set(datamodule.sites) == {"Site1", "Site3"}
    site_of = {case.case_id: case.site for case in datamodule.cases}
    for batch in datamodule.train_dataloader():
        assert {site_of[case_id] for case_id in batch["case_id"]} == {"Site1", "Site3"}
        assert batch["site"].bincount().tolist() == [len(batch["site"]) // 2] * 2 or len(batch["site"]) < 24


@pytest.mark.slow
def test_two_processes_train_as_one_does_with_the_whole_batch(doors, settings, tmp_path):
    """In double precision; without dropout, of which every process has its own."""
    still = ["trainer.precision=64-true", "trainer.max_epochs=2", "model.adversary.where=bottleneck"]
    doors.train(*settings, *still, "run_dir=one", cwd=tmp_path).check()
    doors.train(
        *settings, *still, "trainer=ddp", "trainer.devices=2", still[0], "run_dir=two", cwd=tmp_path, env=LOOPBACK
    ).check()
    ours, expected = last(tmp_path / "two")["state_dict"], last(tmp_path / "one")["state_dict"]
    for name, value in expected.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-6, atol=1e-9)


def test_any_u_shaped_model_unlearns(doors, tiny, tmp_path):
    """SG-Net with all its parts, at the bottleneck of each hemisphere, with its own optimizer in stage 1."""
    more = [
        "model=sgnet",
        "adversary=unlearning",
        "model.adversary.stage1_epochs=1",
        "model.standardizer.bn_momentum=null",
    ]
    doors.train(*tiny, *more, "run_dir=run", cwd=tmp_path).check()
    rows = curve(tmp_path / "run")
    assert any("train/confusion_loss" in row for row in rows)
    assert any("site/balanced_accuracy" in row for row in rows)
