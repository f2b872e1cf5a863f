"""What is looked at must be logged, and in the right direction: said before any data are read."""

import copy

import pytest

from strokelab.configuration import compose, plain
from strokelab.errors import ConfigError
from strokelab.training.logged import check_logged


def early(monitor, mode="min"):
    node = {"_target_": "lightning.pytorch.callbacks.EarlyStopping", "monitor": monitor, "mode": mode}
    return {"callbacks.early": node}


def schedule(target, **more):
    return {"model.scheduler": {"_target_": target, "_partial_": True, **more}}


PLATEAU, TORCH = "strokelab.models.plateau.Plateau", "torch.optim.lr_scheduler.ReduceLROnPlateau"
NO_VALIDATION = {"trainer.max_epochs": 3, "trainer.check_val_every_n_epoch": 4}
# Settings, and the setting that the error names.
REFUSED = {
    "unknown number": (early("val/dise", "max"), "callbacks.early.monitor"),
    "wrong direction of a callback": (early("val/pooled_dice"), "callbacks.early.mode"),
    "wrong direction of a loss": (early("val/loss", "max"), "callbacks.early.mode"),
    "wrong direction of a schedule": (schedule(PLATEAU, monitor="val/dice"), "model.scheduler.mode"),
    "a schedule on nothing": (schedule(PLATEAU, monitor="val/los"), "model.scheduler.monitor"),
    "a schedule without validation": (schedule(TORCH) | NO_VALIDATION, "model.scheduler.monitor"),
    "best without validation": ({"checkpoint": "best"} | NO_VALIDATION, "callbacks.best.monitor"),
    "best without batches": ({"checkpoint": "best", "trainer.limit_val_batches": 0}, "callbacks.best.monitor"),
    "whole volumes too rarely": (early("val/dice", "max") | {"trainer.max_epochs": 9}, "callbacks.early.monitor"),
    "objective without validation": ({"objective": "val/pooled_dice"} | NO_VALIDATION, "objective"),
}
ACCEPTED = {
    "default": {},
    "best asked for by no one": NO_VALIDATION,
    "whole volumes in time": early("val/dice", "max") | {"trainer.max_epochs": 10},
    "a training loss": early("train/loss") | NO_VALIDATION,
    "sites": early("site/loss"),
    "a schedule": schedule(PLATEAU, monitor="val/pooled_dice", mode="max"),
    "PyTorch's own schedule": schedule(TORCH),
    "validation by steps": {"checkpoint": "best", "trainer.check_val_every_n_epoch": None},
    "parts of others, which may log anything": early("mine/number", "max") | {"callbacks.mine": {"_target_": "mine.X"}},
}


@pytest.fixture(scope="module")
def base():
    return plain(compose("train", ["data.root=somewhere", "run_dir=somewhere"]))


def changed(base, settings):
    result = copy.deepcopy(base)
    for key, value in settings.items():
        *section, name = key.split(".")
        (result[section[0]] if section else result)[name] = value
    return result


@pytest.mark.parametrize(("settings", "where"), REFUSED.values(), ids=REFUSED)
def test_what_is_never_logged_or_taken_the_wrong_way_is_refused(settings, where, base):
    with pytest.raises(ConfigError) as refused:
        check_logged(changed(base, settings))
    assert refused.value.where == where


@pytest.mark.parametrize("settings", ACCEPTED.values(), ids=ACCEPTED)
def test_what_is_logged_may_be_looked_at(settings, base):
    check_logged(changed(base, settings))


def test_the_error_names_what_is_logged_and_the_nearest(base):
    with pytest.raises(ConfigError) as refused:
        check_logged(changed(base, early("val/dise", "max")))
    assert "val/dice, " in refused.value.expected
    assert refused.value.remedy == "set ++callbacks.early.monitor=val/dice"


def test_without_a_validation_part_nothing_of_it_is_waited_for(base):
    settings = changed(base, early("val/loss"))
    check_logged(settings)
    with pytest.raises(ConfigError) as refused:
        check_logged(settings, validates=False)
    assert "val/loss" in refused.value.found
