"""The plan of a training: asked for once, bound, written down, and the same after every interruption."""

import json

import pytest
import yaml

from strokelab import runs
from strokelab.configuration import compose, plain
from strokelab.errors import ConfigError
from strokelab.training.planning import plan_for, planned, with_open_batch

TINY = [
    *("model=nnunet", "data=atlas_v1", "data.n_sites=3", "data.prepare_workers=1", "split=kfold", "split.folds=3"),
    *("planner.width=4", "planner.widest=8", "augment=none", "trainer.precision=32-true", "allocator=default"),
    *("view.sampler.iterations_per_epoch=2", "view.sampler.validation_iterations=1", "trainer.max_epochs=1"),
    *("score_test=false", "trainer.log_every_n_steps=1"),
]


@pytest.fixture(scope="module")
def tiny_patches(t1_cohort):
    return [*TINY, f"data.root={t1_cohort}"]


def settings_of(items, *more):
    return with_open_batch(plain(compose("train", ["run_dir=x", *items, *more])))


def content(run, name):
    return json.loads((run / name).read_text())


def test_what_is_open_is_planned_and_what_is_given_stands(tiny_patches):
    settings = settings_of(tiny_patches, "view.windows.patch=[16,16,16]", "data.batch_size=3")
    found = plan_for(settings)
    bound = planned(settings, found.plan.facts())
    assert bound["view"]["sampler"]["patch"] == bound["view"]["windows"]["patch"] == [16, 16, 16]
    assert bound["data"]["batch_size"] == 3
    assert bound["model"]["network"]["widths"] == [4, 8, 8]
    assert bound["view"]["preparation"]["spacing"] == [8.0, 8.0, 8.0]
    assert bound["model"]["network"]["in_channels"] == "???", "others fill that in"
    assert found.to_json()["given"] == {"patch": [16, 16, 16], "batch_size": 3}


def test_a_rule_for_each_channel_stands_as_it_is(tiny_patches):
    """Augmentation looks at it as well: in other words it would not know what stays 0."""
    rule = {"T1w": "zscore_nonzero"}
    settings = settings_of(tiny_patches, "augment=standard", "view.preparation.normalize={T1w:zscore_nonzero}")
    view = planned(settings, plan_for(settings).plan.facts())["view"]
    assert view["preparation"]["normalize"] == view["augment"]["normalize"] == rule


def test_every_fold_and_seed_gets_the_same_plan(tiny_patches):
    plans = {
        json.dumps(plan_for(settings_of(tiny_patches, *more)).to_json())
        for more in (["split.fold=0"], ["split.fold=2", "seed=5"], ["split.folds=4"])
    }
    assert len(plans) == 1


def test_models_without_a_planner_are_left_alone():
    settings = settings_of(["model=sgnet"])
    assert plan_for(settings) is None
    assert planned(settings, {}) == settings


def test_a_patch_that_does_not_divide_is_refused_by_name(tiny_patches):
    with pytest.raises(ConfigError, match=r"view\.sampler\.patch[\s\S]*use \[20, 16, 16\]"):
        plan_for(settings_of(tiny_patches, "view.sampler.patch=[18,16,16]"))


@pytest.mark.slow
def test_a_run_keeps_its_plan_through_every_way_of_going_on(doors, tiny_patches, tmp_path):
    folder = tmp_path / "run"
    said = doors.train(*tiny_patches, f"run_dir={folder}", cwd=tmp_path).check().output
    assert "Planned from 9 cases: patches of 28 x 32 x 24 at 8 x 8 x 8 mm" in said
    first = content(folder, runs.PLAN)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert "???" not in json.dumps(config)
    assert config["view"]["sampler"]["patch"] == first["plan"]["patch"] == [28, 32, 24]
    assert config["model"]["network"]["strides"] == first["plan"]["strides"]
    assert first["cohort"]["cases"] == 9
    asked = plain(compose("train", [*tiny_patches, f"run_dir={folder}"]))
    assert content(folder, "environment.json")["digest"] == runs.settings_digest(asked), "as sweeps know it"

    again = doors.train(*tiny_patches, f"run_dir={folder}", "resume=auto", cwd=tmp_path).check().output
    assert "nothing is left to train" in again
    doors.train(f"resume={folder}", "trainer.max_epochs=2", cwd=tmp_path).check()
    assert content(folder, runs.PLAN) == first

    # Killed before its first checkpoint: what was given then is given now, and the plan is made anew, alike.
    for path in (folder / "checkpoints").iterdir():
        path.unlink()
    (folder / "status.json").write_text(json.dumps({"state": "killed"}))
    doors.train(f"resume={folder}", "trainer.max_epochs=1", cwd=tmp_path).check()
    assert content(folder, runs.PLAN)["plan"] == first["plan"]


@pytest.mark.slow
def test_resume_auto_goes_on_with_the_plan_of_the_run(doors, tiny_patches, tmp_path):
    """Even where the data would give another one today: geometry is read once, when a run begins."""
    folder = tmp_path / "run"
    settings = [*tiny_patches, "trainer.max_epochs=2", f"run_dir={folder}", "resume=auto"]
    doors.train(*settings, cwd=tmp_path).check()
    status = content(folder, "status.json")
    (folder / "status.json").write_text(json.dumps(status | {"state": "killed"}))
    plan = (folder / runs.PLAN).read_text()
    doors.train(*settings, cwd=tmp_path).check()
    assert content(folder, "status.json")["state"] == "finished"
    assert (folder / runs.PLAN).read_text() == plan


@pytest.mark.slow
def test_all_processes_train_by_one_plan(doors, tiny_patches, tmp_path):
    folder = tmp_path / "run"
    two = ["trainer=ddp", "trainer.devices=2", "trainer.precision=32-true"]
    done = doors.train(*tiny_patches, *two, f"run_dir={folder}", cwd=tmp_path, env={"GLOO_SOCKET_IFNAME": "lo"})
    assert done.check().output.count("Planned from") == 1
    assert content(folder, runs.PLAN)["plan"]["batch_size"] == 2
    assert content(folder, "status.json")["state"] == "finished"
