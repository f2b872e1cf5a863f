"""Overrides of a run that goes on: Hydra's grammar, against the run's own config."""

import sys

import pytest

from strokelab.configuration import check_choices, command_line, override
from strokelab.errors import ConfigError

SETTINGS = {
    "run_dir": "/somewhere/run",
    "name": "a",
    "seed": 3,
    "trainer": {"_target_": "lightning.pytorch.Trainer", "max_epochs": 3, "precision": "32-true"},
    "model": {"network": {"base": 64, "???": 1}, "adversary": None},
    "callbacks": {"best": {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "x"}},
    "logger": {"wandb": {"_target_": "strokelab.callbacks.weights_and_biases.WeightsAndBiases"}},
    "list": [1, 2],
}


@pytest.mark.parametrize(
    ("item", "value"),
    [
        ("trainer.max_epochs=80", 80),
        ("trainer.precision=bf16-mixed", "bf16-mixed"),
        ("run_dir='a=b'", "a=b"),
        ("list=[3,4]", [3, 4]),
        ("list.1=5", 5),
        ("model.adversary=null", None),
        ("trainer.max_epochs=1e3", 1000.0),
        ("name=no", "no"),
        ("name=012", "012"),
        ("name='it\\'s [/x]'", "it's [/x]"),
        ("+trainer.max_time=00:00:30:00", "00:00:30:00"),
        ("+trainer.max_epochs=4", 4),
        ("++trainer.max_epochs=4", 4),
        ("trainer.gradient_clip_val=1", 1),
        ("logger.wandb.entity=team", "team"),
        ("+new.key=1", 1),
        ("callbacks.best=null", None),
        ("+data.options={above: 0.5}", {"above": 0.5}),
        ("name=${seed}-x", "3-x"),
    ],
)
def test_finished_settings_take_what_hydra_takes(item, value):
    changed = override(SETTINGS, [item])
    node = changed
    for key in item.lstrip("+").partition("=")[0].split("."):
        node = node[int(key) if isinstance(node, list) else key]
    assert node == value
    assert type(node) is type(value)
    assert SETTINGS["trainer"]["max_epochs"] == 3, "a copy is changed"
    assert changed["model"]["network"] == SETTINGS["model"]["network"]


def test_deleting_and_merging():
    assert override(SETTINGS, ["~callbacks.best"])["callbacks"] == {}
    merged = override(SETTINGS, ["callbacks.best={monitor: y}"])["callbacks"]["best"]
    assert merged == {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "y"}
    assert override(SETTINGS, []) == SETTINGS


@pytest.mark.parametrize(
    "item",
    [
        *("trainer=gpu", "model/network=unet", "trainer.epochs=3", "new=1", "trainer.max_epochs.x=1", "name=1,2"),
        *("~trainer.nothing", "~callbacks", "logger=null", "name=a=b", "a b", "name=${nothing}", "model@x=y"),
        *("list.7=1", "trainer.max_epoch=3"),
    ],
)
def test_finished_settings_take_nothing_else(item):
    with pytest.raises(ConfigError) as caught:
        override(SETTINGS, [item])
    assert caught.value.remedy


def test_what_hydra_composes_of_a_command(monkeypatch):
    flags = ["--config-dir", "a=b", "hydra.run.dir=x"]
    held = ["trainer.gradient_clip_val=1", "~callbacks.best", "+new=1"]
    monkeypatch.setattr(command_line, "_words", [])
    monkeypatch.setattr(command_line, "_held", [])
    whole = ["train.py", *flags, "resume=run", *held]
    monkeypatch.setattr(sys, "argv", whole)
    command_line.hold_back()
    assert sys.argv == ["train.py", *flags, "resume=run"]
    assert command_line.typed()[-3:] == held
    assert sys.argv == whole, "whole again for the processes it starts"


@pytest.mark.parametrize("words", [["resume=auto", "seed=1"], ["seed=1"], ["-m", "resume=a,b", "seed=1"]])
def test_new_runs_and_sweeps_are_hydras(words, monkeypatch):
    monkeypatch.setattr(command_line, "_words", [])
    monkeypatch.setattr(command_line, "_held", [])
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    command_line.hold_back()
    assert sys.argv == ["train.py", *words]


def test_rows_of_an_ablation_are_read_in_the_same_grammar():
    with pytest.raises(ConfigError, match="adversary"):
        check_choices(["ablation=da", "++adversary=none"])
