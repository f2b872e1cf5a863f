"""What another length means for whatever counts the epochs."""

import copy

import pytest

from strokelab.errors import ConfigError
from strokelab.training.prolong import changes, check_length

SETTINGS = {
    "trainer": {"max_epochs": 50, "max_steps": -1},
    "model": {
        "adversary": {"_target_": "strokelab.models.adversary.SiteAdversary", "_partial_": True},
        "optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": 0.01},
        "scheduler": {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR", "_partial_": True, "T_max": 50},
    },
    "callbacks": {
        "progress": None,
        "site_adversary": {
            "_target_": "strokelab.callbacks.site_adversary.SiteAdversarySchedule",
            "schedule": "dann",
            "strength": 1.0,
        },
    },
}


def at(epoch, step=0):
    return {"loops": {"fit_loop": {"epoch_progress": {"current": {"processed": epoch}}}}, "global_step": step}


def changed(**settings):
    """The settings with other values, by dotted name with __."""
    new = copy.deepcopy(SETTINGS)
    for name, value in settings.items():
        *path, last = name.split("__")
        node = new
        for part in path:
            node = node[part]
        node[last] = value
    return new


def test_nothing_is_said_where_all_is_as_before():
    assert changes(SETTINGS, changed(trainer__accelerator="gpu"), at(20)) == []


def test_a_schedule_with_an_end_of_its_own_keeps_it_and_says_how_to_move_it():
    lines = changes(SETTINGS, changed(trainer__max_epochs=80), at(50))
    assert lines[0] == "training: now ends at epoch 80; was 50"
    assert lines[1] == (
        "learning rate (CosineAnnealingLR): 0 in epoch 51, 0.00624 in epoch 80; its schedule ends at epoch 50, as "
        "before (model.scheduler.T_max=80 moves its end)"
    )
    assert lines[2] == "site adversary: its ramp now ends at epoch 80; was 50 (after epoch 50: 0.9961, was 0.9999)"


def test_a_schedule_made_longer_says_its_new_end():
    lines = changes(SETTINGS, changed(trainer__max_epochs=80, model__scheduler__T_max=80), at(50))
    assert lines[1] == (
        "learning rate (CosineAnnealingLR): 0.00309 in epoch 51, 3.85e-06 in epoch 80; its schedule ends at epoch 80; "
        "new settings of optimizer or schedule hold from here on"
    )


def test_a_constant_rate_and_a_site_adversary_without_a_ramp():
    plain = changed(model__scheduler=None, callbacks__site_adversary__schedule="constant")
    longer = copy.deepcopy(plain)
    longer["trainer"] = {"max_epochs": None, "max_steps": 900}
    assert changes(plain, longer, at(50)) == [
        "training: now ends at epoch none; was 50",
        "training: now ends at step 900; was -1 (-1: no limit)",
        "learning rate (constant): 0.01 in epoch 51",
    ]


def test_a_schedule_that_looks_at_a_metric():
    plateau = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "_partial_": True}
    lines = changes(SETTINGS, changed(model__scheduler=plateau), at(20))
    assert lines[0].startswith("learning rate (ReduceLROnPlateau): starts afresh")


@pytest.mark.parametrize(("name", "value"), [("max_epochs", 49), ("max_steps", 999)])
def test_a_training_cannot_end_before_it_goes_on(name, value):
    with pytest.raises(ConfigError, match=f"{name}\n.*{value}, and"):
        check_length(changed(**{f"trainer__{name}": value}), at(50, 1000))


def test_a_training_without_an_end_goes_on():
    check_length(changed(trainer__max_epochs=-1), at(50, 1000))
    check_length(changed(trainer__max_epochs=None), at(50, 1000))
    check_length(SETTINGS, at(50, 1000))


def by_step(length, **settings):
    schedule = {"_target_": "torch.optim.lr_scheduler.PolynomialLR", "_partial_": True, "total_iters": length}
    return changed(model__scheduler=schedule, model__scheduler_interval="step", **settings)


def test_a_schedule_of_steps_says_its_steps():
    lines = changes(by_step(500), by_step(500, trainer__max_epochs=80), at(20, 200), steps_per_epoch=10)
    assert lines[1] == (
        "learning rate (PolynomialLR): 0.006 at step 201, 0 at step 800; its schedule ends at step 500, as before "
        "(model.scheduler.total_iters=800 moves its end)"
    )
    lines = changes(by_step(500), by_step(800, trainer__max_epochs=80), at(20, 200), steps_per_epoch=10)
    assert lines[1].startswith("learning rate (PolynomialLR): 0.0075 at step 201, 1.25e-05 at step 800; its schedule")
    assert "ends at step 800; new settings" in lines[1]
    epochs = by_step(500)
    epochs["model"] = {**epochs["model"], "scheduler_interval": "epoch"}
    assert changes(epochs, by_step(500), at(20, 200), steps_per_epoch=10)[0].endswith("hold from here on")
