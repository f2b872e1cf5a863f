"""Suggestions: the full path of a setting, and never one that does not compose."""

import shlex

import pytest

from strokelab.configuration import compose
from strokelab.configuration.suggestions import suggestions

SLIPS = {
    "optimizer.lr=0.01": "model.optimizer.lr=0.01",
    "lr=0.1": "model.optimizer.lr=0.1",
    "epochs=3": "trainer.max_epochs=3",
    "max_epochs=3": "trainer.max_epochs=3",
    "batch_size=4": "data.batch_size=4",
    "fold=1": "split.fold=1",
    "devices=2": "trainer.devices=2",
    "data.dir=x": "data.root=x",
    "model=sg_net": "model=sgnet",
    "model=sgnet_small": "experiment=sgnet_small",
    "experiment=sgnet_smal": "experiment=sgnet_small",
    "+trainer.max_epochs=3": "trainer.max_epochs=3",
    "model.optimizer.lrr=0.1": "model.optimizer.lr=0.1",
    "model.network.bse=2": "model.network.base=2",
    "view.preparation.corp=null": "view.preparation.crop=null",
    "trainer.gradient_clip_val=1": "+trainer.gradient_clip_val=1",
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_and_what_was_meant(slip):
    (line,) = suggestions("train", [slip, "seed=1"])
    meant = shlex.split(line.rpartition("did you mean ")[2].rstrip("?"))
    assert meant == [SLIPS[slip]]
    compose("train", meant)


@pytest.mark.parametrize(
    "right",
    [
        *("+trainer.max_time=00:00:10:00", "+callbacks.early._target_=x", "~callbacks.best", "data=atlas_v1"),
        *("data=[atlas_v1,isles2022]", "logger=[tensorboard,wandb]"),
        "model.monitor=val/loss",  # alike is model.network, a section, which no word replaces
    ],
)
def test_what_is_right_or_like_nothing_gets_none(right):
    assert suggestions("train", [right]) == []
    assert suggestions("train", [right, "xyzzyx=1"]) == []


def test_files_of_the_users_own_are_known(tmp_path):
    for name, text in {
        "model/tiny3d.yaml": "# @package _global_\ndefaults:\n  - unet2d\n",
        "loss/sharp.yaml": "# @package model.loss\n_target_: mine.Sharp\ngamma: 1.0\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)

    def meant(*overrides, folder=tmp_path):
        return [shlex.split(line)[-1].rstrip("?") for line in suggestions("train", overrides, folder)]

    assert meant("model=tiny3D") == ["model=tiny3d"]
    assert meant("model=tiny3d", "loss=sharp", "model.loss.gamma=0.9", "data.batch_size=4") == []
    assert meant("model=tiny3d", "loss=sharp", "loss.gamma=0.9") == ["model.loss.gamma=0.9"]
    assert meant("model=unet2d", "loss=none", "model.loss._target_=mine.X") == ["+model.loss._target_=mine.X"]
    assert meant("model=tiny3D", folder=tmp_path / "absent") == []
    (tmp_path / "model" / "broken.yaml").write_text("a: [")
    assert meant("model=brokn") == []
    (line,) = suggestions("train", ["loss=sharpest"])
    assert line.endswith("--config-dir DIR, as DIR/loss/sharpest.yaml")


def test_a_run_that_goes_on_has_settings_of_its_own():
    assert suggestions("train", ["resume=run", "trainer.gradient_clip_val=1"]) == []
    assert suggestions("evaluate", ["+metrics=mine"]) == []  # a file of the user's own, or none
    assert suggestions("evaluate", ["rnus=[a]"]) == ["rnus=[a]: did you mean 'runs=[a]'?"]


def test_a_class_in_the_place_of_another_replaces_the_section():
    """Hydra merges it with the settings that stand there, and has no place for its own."""
    own = "view.sampler={_target_:my_parts.Boxes,per_case:4}"
    (line,) = suggestions("train", ["model=nnunet", own])
    words = shlex.split(line.partition(": to replace the whole section: ")[2])
    assert words == ["~view.sampler", f"+{own}"]
    assert compose("train", ["model=nnunet", *words]).view.sampler == {"_target_": "my_parts.Boxes", "per_case": 4}
    assert suggestions("train", ["view.sampler={_target_:strokelab.sampling.slices.Slices}"]) == []
