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


def measuring(**metrics):
    nodes = {name: target and {"_target_": target} for name, target in metrics.items()}
    return {"model.validation_metrics": nodes}


INTERVAL = "model.scheduler_interval"
L1, SOFT = (f"strokelab.metrics.validation.{name}" for name in ("L1ErrorRate", "SoftDice"))
OWN = {"callbacks.case_metrics": {"_target_": "strokelab.callbacks.case_metrics.CaseMetrics", "own": {"ratio": {}}}}
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
    "wrong direction of a metric": (measuring(x=L1) | early("val/x", "max"), "callbacks.early.mode"),
    "a default that is left out": (measuring(loss=None) | early("val/loss"), "callbacks.early.monitor"),
    "the best by what is left out": (measuring(pooled_dice=None), "callbacks.best.monitor"),
    "a metric without validation": (measuring(x=L1) | early("val/x") | NO_VALIDATION, "callbacks.early.monitor"),
    "a metric called like one of whole volumes": (measuring(dice=L1), "model.validation_metrics.dice"),
    "steps of a schedule that waits": (schedule(TORCH) | {"model.scheduler_interval": "step"}, INTERVAL),
    "a schedule of batches": ({"model.scheduler_interval": "batch"}, INTERVAL),
}
ACCEPTED = {
    "default": {},
    "best asked for by no one": NO_VALIDATION,
    "whole volumes in time": early("val/dice", "max") | {"trainer.max_epochs": 10},
    "a training loss": early("train/loss") | NO_VALIDATION,
    "sites": early("site/loss"),
    "a schedule": schedule(PLATEAU, monitor="val/pooled_dice", mode="max"),
    "PyTorch's own schedule": schedule(TORCH),
    "a metric": measuring(x=L1) | early("val/x") | {"objective": "val/x"},
    "a metric in place of a default": measuring(pooled_dice=SOFT) | early("val/pooled_dice", "max"),
    "a metric that does not say its direction": measuring(x="torchmetrics.MeanMetric") | early("val/x", "max"),
    "a metric of one's own for whole volumes": OWN | early("val/ratio", "max"),
    "steps of a schedule": {"model.scheduler_interval": "step"},
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
