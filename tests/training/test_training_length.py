"""How many optimiser steps a training has, told without one; the same number that Lightning comes to."""

from types import SimpleNamespace

import lightning as L
import pytest
from torch.utils.data import DataLoader

from strokelab.training.length import length_of, schedule_facts, steps_per_epoch


def training(scheduler=None, interval="step", callbacks=(), **trainer):
    model = {"scheduler": scheduler or {"total_iters": "???"}, "scheduler_interval": interval}
    nodes = {name: {"_target_": f"lightning.pytorch.callbacks.{name}"} for name in callbacks}
    return {"model": model, "trainer": {"max_epochs": 3, "max_steps": -1, **trainer}, "callbacks": nodes}


def data(samples=11, batch_size=2, drop_last=False):
    loader = DataLoader([0.0] * samples, batch_size=batch_size)
    return SimpleNamespace(train_dataloader=lambda: loader, batch_size=batch_size, drop_last=drop_last)


# Eleven samples in batches of two, the last one alone.
STEPS = [
    ({}, {}, 6),
    ({}, {"drop_last": True}, 5),
    ({"accumulate_grad_batches": 4}, {}, 2),
    ({"accumulate_grad_batches": 3}, {}, 2),
    ({"limit_train_batches": 4}, {}, 4),
    ({"limit_train_batches": 0.5}, {}, 3),
    ({"limit_train_batches": 0.5, "accumulate_grad_batches": 2}, {}, 2),
    ({"limit_train_batches": 90}, {}, 6),
    ({"overfit_batches": 2}, {}, 2),
    ({"devices": 2}, {}, 5),  # the last sample cannot be shared, and joins the step before
    ({"devices": 2, "num_nodes": 2}, {"batch_size": 4}, 2),  # four, and seven
]


@pytest.mark.parametrize(("trainer", "part", "steps"), STEPS)
def test_steps_of_an_epoch(trainer, part, steps):
    assert steps_per_epoch(training(**trainer), data(**part)) == steps


class Still(L.LightningModule):
    def training_step(self, batch, batch_idx):
        return None

    def configure_optimizers(self):
        return None


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("trainer", "steps"), [(case[0], case[2]) for case in STEPS if not case[1] and "devices" not in case[0]]
)
def test_lightning_comes_to_the_same(trainer, steps):
    one = L.Trainer(accelerator="cpu", max_epochs=1, logger=False, enable_checkpointing=False, **trainer)
    one.strategy.connect(Still())
    one.fit_loop._data_source.instance = data().train_dataloader()
    assert one.estimated_stepping_batches == steps


def test_the_length_of_a_training_in_steps_of_its_schedule():
    assert length_of(training(), 6) == 18
    assert length_of(training(max_steps=7), 6) == 7
    assert length_of(training(max_epochs=None, max_steps=7), None) == 7
    assert length_of(training(max_epochs=-1), 6) is None
    assert length_of(training(interval="epoch", max_steps=7), 6) == 3


def test_what_may_be_left_open_in_a_schedule():
    facts = {"total_iters": 18, "total_steps": 18, "T_max": 18, "steps_per_epoch": 6}
    assert schedule_facts(training(), data()) == facts
    assert schedule_facts(training(interval="epoch"), data())["total_iters"] == 3
    assert schedule_facts(training({"total_iters": 5}), data()) == {}
    changing = training(callbacks=["GradientAccumulationScheduler"])
    assert schedule_facts(changing, data())["total_iters"] is None
