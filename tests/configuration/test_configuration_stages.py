"""Stages of a training as settings: one form for yaml, command line and run folder; what a stage may change."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strokelab.configuration import check_buildable, compose, plain
from strokelab.configuration.allowlist import own_targets
from strokelab.configuration.stages import (
    check_heeded,
    check_stages,
    difference,
    joined,
    of_stage,
    of_stages,
    overlaid,
)
from strokelab.configuration.untrusted_paths import check_places
from strokelab.errors import ConfigError

BASE = ["model=nnunet", "data=folder", "data.root=x", "data.modalities=[T1w]", "run_dir=run"]

leaves = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.text(max_size=3), st.lists(st.integers(0, 3)))
names = st.sampled_from(["a", "b", "c"])


def nodes(content):
    plain_nodes = st.dictionaries(names, content, max_size=3)
    built = st.tuples(plain_nodes, st.sampled_from(["x", "y"])).map(lambda pair: {**pair[0], "_target_": pair[1]})
    return plain_nodes | built


trees = st.dictionaries(names, st.recursive(leaves, nodes, max_leaves=8), max_size=3)


@given(trees, trees)
def test_a_difference_makes_one_of_the_other(settings, others):
    assert overlaid(settings, difference(settings, others)) == others
    assert difference(settings, settings) == {}


@given(trees, trees, trees)
def test_joined_stages_are_the_stages(first, second, third):
    settings = joined({"stages": {"one": None, "two": {"init_weights": "best"}, "three": {}}}, [first, second, third])
    assert of_stages(settings) == [first, second, third]
    assert settings["stages"]["two"]["init_weights"] == "best"
    assert settings["stages"]["three"] == {}
    assert joined(settings, of_stages(settings)) == settings


def test_a_training_without_stages_is_as_it_was():
    settings = plain(compose("train", BASE))
    assert settings["stages"] == {}
    (only,) = of_stages(settings)
    assert only == {key: value for key, value in settings.items() if key != "stages"}
    assert joined(settings, [only]) == settings


def test_the_run_is_its_last_stage_and_each_sees_its_own_length():
    """The schedule of nnU-Net is as long as ``trainer.max_epochs`` says: of the stage, not of the run."""
    given_stages = [
        "+stages.a.trainer.max_epochs=30",
        "+stages.a.view.windows.step=0.25",
        "+stages.b.trainer.max_epochs=7",
    ]
    settings = plain(compose("train", [*BASE, *given_stages]))
    a, b = of_stages(settings)
    assert (settings["trainer"]["max_epochs"], settings["model"]["scheduler"]["total_iters"]) == (7, 7)
    assert (a["trainer"]["max_epochs"], a["model"]["scheduler"]["total_iters"]) == (30, 30)
    assert (a["view"]["windows"]["step"], b["view"]["windows"]["step"]) == (0.25, 0.5)
    assert settings["stages"] == {
        "a": {
            "trainer": {"max_epochs": 30},
            "model": {"scheduler": {"total_iters": 30}},
            "view": {"windows": {"step": 0.25}},
        },
        "b": {},
    }
    assert of_stage(settings, "b") == b


def test_another_class_takes_none_of_the_former_arguments():
    adam = "+stages.a.model.optimizer={_target_: torch.optim.Adam, _partial_: true, lr: 0.001}"
    a, b = of_stages(plain(compose("train", [*BASE, adam, "+stages.b={}"])))
    assert a["model"]["optimizer"] == {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.001}
    assert b["model"]["optimizer"]["nesterov"] is True


@pytest.mark.parametrize(
    "stages",
    [
        {"a": {"trainer": {"devices": 2}}},
        {"a": {"model": {"network": {"depth": 3}}}},
        {"a": {"data": {"root": "elsewhere"}}},
        {"a": {"split": {"fold": 1}}},
        {"a": {"trainer": 3}},
        {"a": {"init_weights": "last"}},
        {"a": {}, "b": {"init_weights": "/else/where"}},
        {"last": {}},
        {"../a": {}},
        {"a": 3},
        ["a"],
    ],
)
def test_what_is_no_stage(stages):
    with pytest.raises(ConfigError):
        check_stages({"stages": stages})


def test_what_is_typed_holds_somewhere():
    stages = {"stages": {"a": {"trainer": {"max_epochs": 3}}, "b": {"trainer": {"max_epochs": 4, "max_steps": 5}}}}
    check_heeded(stages, ["trainer.max_steps", "+stages.a.trainer.max_epochs", "seed"])
    with pytest.raises(ConfigError, match=r"^trainer\.max_epochs"):
        check_heeded(stages, ["trainer.max_epochs"])
    # A group or a section that is typed holds where a stage changes something else of it.
    several = {"stages": {"a": {"model": {"optimizer": {"lr": 1}}}, "b": {"model": {"optimizer": {"lr": 2}}}}}
    check_heeded(several, ["model", "model.optimizer", "model.optimizer.momentum"])
    with pytest.raises(ConfigError, match=r"^model\.optimizer\.lr"):
        check_heeded(several, ["model.optimizer.lr"])


def test_what_a_stage_builds_and_writes_is_held_against_the_same_lists(tmp_path):
    """Also the part of a node that a stage changes: its target stands in the run's settings alone."""
    safe = plain(compose("train", [*BASE, f"run_dir={tmp_path}", "+stages.a.trainer.max_epochs=2", "+stages.b={}"]))
    check_buildable(safe, training=True)
    check_places(safe, tmp_path.resolve())
    assert own_targets(safe) == []
    many = {**safe, "stages": {"a": {"view": {"sampler": {"iterations_per_epoch": 10**12}}}, "b": {}}}
    with pytest.raises(ConfigError, match="iterations_per_epoch"):
        check_buildable(many, training=True)
    assert own_targets(many) == ["strokelab.sampling.foreground.ForegroundPatches"]
    outside = {**safe, "stages": {"a": {"callbacks": {"best": {"dirpath": "/else/where"}}}, "b": {}}}
    with pytest.raises(ConfigError, match=r"stages\.a\.callbacks\.best\.dirpath"):
        check_places(outside, tmp_path.resolve())
    for typed in ("stages.a.callbacks.best.dirpath", "callbacks.best.dirpath"):
        check_places(outside, tmp_path.resolve(), typed=[typed])
