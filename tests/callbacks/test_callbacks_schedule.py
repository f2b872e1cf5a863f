"""Other settings of optimizer and schedule hold at a resume, as if the new schedule had held from the start."""

from functools import partial

import lightning as L
import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, PolynomialLR, ReduceLROnPlateau
from torch.utils.data import DataLoader

from strokelab.callbacks.resume_point import ResumePoint
from strokelab.callbacks.schedule import begun_with, learning_rates, schedule_steps
from strokelab.callbacks.stage import Stage

pytestmark = pytest.mark.filterwarnings("ignore")
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)


class Small(L.LightningModule):
    def __init__(self, optimizer=SGD, scheduler=None, interval="epoch"):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
        self.optimizer, self.scheduler, self.interval = optimizer, scheduler, interval
        self.rates = []

    def training_step(self, batch, batch_idx):
        if batch_idx == 0 or self.interval == "step":
            self.rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return self.layer(batch).square().mean()

    def configure_optimizers(self):
        optimizer = self.optimizer(self.parameters())
        if self.interval == "step":
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": "step"},
            }
        return optimizer if self.scheduler is None else ([optimizer], [self.scheduler(optimizer)])


def fit(folder, epochs, module, resume=False, samples=4, **settings):
    trainer = L.Trainer(
        **settings,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[ResumePoint(folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(torch.ones(samples, 2), batch_size=2)
    trainer.fit(module, loader, ckpt_path=folder / "last.ckpt" if resume else None, weights_only=True)
    return trainer


def prolonged(folder, first, then):
    """The rates of two epochs with some settings, then of three more with others."""
    fit(folder, 2, first)
    fit(folder, 5, then, resume=True)
    return first.rates + then.rates


def test_equal_settings_go_on_as_they_were(tmp_path):
    schedule = partial(CosineAnnealingLR, T_max=5)
    rates = prolonged(tmp_path, Small(scheduler=schedule), Small(scheduler=schedule))
    assert rates == learning_rates(SGD, schedule, 5)


def test_a_longer_schedule_is_followed_as_if_from_the_start(tmp_path):
    """Left to itself, PyTorch's cosine would stay at 0 for ever."""
    short, long = partial(CosineAnnealingLR, T_max=2), partial(CosineAnnealingLR, T_max=5)
    rates = prolonged(tmp_path, Small(scheduler=short), Small(scheduler=long))
    assert rates[:2] == learning_rates(SGD, short, 2)
    assert rates[2:] == learning_rates(SGD, long, 5)[2:]
    assert rates[2] > 0.01


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (Small(), Small(partial(torch.optim.SGD, lr=0.03, momentum=0.9))),
        (Small(), Small(scheduler=partial(ExponentialLR, gamma=0.5))),
        (Small(scheduler=partial(ExponentialLR, gamma=0.5)), Small()),
        (Small(), Small(partial(torch.optim.Adam, lr=0.02))),
    ],
    ids=["another rate", "a schedule", "none any more", "another optimizer"],
)
def test_new_settings_hold(first, then, tmp_path):
    rates = prolonged(tmp_path, first, then)
    assert rates[2:] == pytest.approx(learning_rates(then.optimizer, then.scheduler, 5)[2:])


def test_momentum_stays_where_only_the_rate_is_new(tmp_path):
    fit(tmp_path, 2, Small())
    before = torch.load(tmp_path / "last.ckpt", weights_only=True)["optimizer_states"][0]["state"][0]["momentum_buffer"]
    still = partial(torch.optim.SGD, lr=0.0, momentum=0.9)
    seen = {}

    class Look(Small):
        def on_train_start(self):
            seen["momentum"] = self.trainer.optimizers[0].state_dict()["state"][0]["momentum_buffer"].clone()

    fit(tmp_path, 3, Look(still), resume=True)
    assert torch.equal(seen["momentum"], before)


def test_a_schedule_that_looks_at_a_metric_has_no_rates_of_its_own():
    assert learning_rates(SGD, ReduceLROnPlateau, 3) == []
    assert begun_with(Small(scheduler=ReduceLROnPlateau)) == begun_with(Small(scheduler=ReduceLROnPlateau))


def test_what_a_training_began_with_is_plain(tmp_path):
    made = begun_with(Small(partial(torch.optim.AdamW, lr=torch.tensor(0.5)), partial(ExponentialLR, gamma=0.5)))
    torch.save(made, tmp_path / "made")
    assert torch.load(tmp_path / "made", weights_only=True) == made
    assert made["optimizer"] == "AdamW"
    assert made["groups"][0]["lr"] == 0.5


def test_a_schedule_of_steps_is_stepped_after_each_step_of_the_optimizer(tmp_path):
    """Five batches, two to a step: the last one of an epoch steps alone."""
    schedule = partial(PolynomialLR, total_iters=6)
    module = Small(scheduler=schedule, interval="step")
    trainer = fit(tmp_path, 2, module, samples=10, accumulate_grad_batches=2)
    assert trainer.global_step == 6
    one, two, three, four, five, six = learning_rates(SGD, schedule, 6)
    assert module.rates == [one, one, two, two, three, four, four, five, five, six]
    checkpoint = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert checkpoint["lr_schedulers"][0]["last_epoch"] == 6
    assert (schedule_steps(checkpoint, "step"), schedule_steps(checkpoint, "epoch")) == (6, 2)
    checkpoint["stage"] = Stage("second", 1, first_epoch=1, first_step=4).to_checkpoint()
    assert (schedule_steps(checkpoint, "step"), schedule_steps(checkpoint, "epoch")) == (2, 1)


def test_new_schedules_of_steps_are_followed_as_if_from_the_first_step(tmp_path):
    short, long = partial(PolynomialLR, total_iters=4), partial(PolynomialLR, total_iters=10)
    rates = prolonged(tmp_path, Small(scheduler=short, interval="step"), Small(scheduler=long, interval="step"))
    assert rates[:4] == learning_rates(SGD, short, 4)
    assert rates[4:] == learning_rates(SGD, long, 10)[4:]


def test_the_same_schedule_may_come_to_count_steps(tmp_path):
    schedule = partial(PolynomialLR, total_iters=10)
    rates = prolonged(tmp_path, Small(scheduler=schedule), Small(scheduler=schedule, interval="step"))
    assert rates[2:] == learning_rates(SGD, schedule, 10)[4:]
    assert begun_with(Small(scheduler=schedule)).keys() == {"optimizer", "groups", "scheduler"}, (
        "as checkpoints know it"
    )
