"""A loss that is no number ends the training at once, by name, and no checkpoint holds what came of it."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from strokelab.callbacks.finite_loss import FiniteLoss
from strokelab.errors import DataError, RunError

STEPS = 12


class Scale(L.LightningModule):
    """Learns one number; its loss is the mean of image times weight, so NaN and infinity pass through."""

    def __init__(self, lr: float = 1e-3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.lr = lr
        self.seen = 0

    def training_step(self, batch, batch_idx):
        self.seen += 1
        return {"loss": (batch["image"] * self.weight).square().mean() + batch["wrong"]}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)


def batch_of(step, *, wrong=0.0, image=1.0):
    return {
        "image": torch.full((2, 1, 4, 4), image),
        "brain": torch.ones(2, 1, 4, 4, dtype=torch.uint8),
        "wrong": torch.tensor(wrong),
        "case_id": [f"sub-{step}", f"sub-{step + 1}"],
    }


def fit(tmp_path, batches, callback, *, lr=1e-3, callbacks=(), **settings):
    trainer = L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=bool(callbacks),
        callbacks=[callback, *callbacks],
        default_root_dir=tmp_path,
        **settings,
    )
    model = Scale(lr)
    trainer.fit(model, DataLoader(batches, batch_size=None))
    return model


pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*", "ignore:.*log.*")


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_the_first_wrong_loss_ends_it_and_names_step_cases_precision_and_remedy(tmp_path, wrong):
    batches = [batch_of(step, wrong=wrong if step == 4 else 0.0) for step in range(STEPS)]
    with pytest.raises(RunError) as caught:
        fit(tmp_path, batches, FiniteLoss(), precision="bf16-mixed")
    said = str(caught.value)
    for word in ("epoch 0, step 5", str(wrong), "sub-4, sub-5", "bf16-mixed", "precision=32-true", "gradient_clip_val"):
        assert word in said


def test_finite_losses_pass(tmp_path):
    assert fit(tmp_path, [batch_of(step) for step in range(STEPS)], FiniteLoss()).seen == STEPS


def test_a_broken_image_is_named_as_such(tmp_path):
    batches = [batch_of(step) for step in range(STEPS)]
    batches[3]["image"][1, 0, 2, 2] = float("nan")
    with pytest.raises(DataError, match="sub-4\n") as caught:
        fit(tmp_path, batches, FiniteLoss())
    assert "data.exclude" in str(caught.value)


def test_a_device_that_is_asked_seldom_still_gets_the_very_step_named(tmp_path, monkeypatch):
    asked = []
    callback = FiniteLoss(every_n_steps=8)
    look = callback._look
    # As on a GPU: what makes the CPU cheap to ask is taken away.
    monkeypatch.setattr(L.Trainer, "world_size", 2)
    monkeypatch.setattr(
        callback, "_look", lambda trainer, batch: (asked.append(trainer.global_step), look(trainer, batch))
    )
    batches = [batch_of(step, wrong=float("nan") if step >= 10 else 0.0) for step in range(40)]
    with pytest.raises(RunError, match="step 11\n") as caught:
        fit(tmp_path, batches, callback)
    assert asked == [8, 16]
    assert "sub-10, sub-11" in str(caught.value)


def test_the_end_of_an_epoch_asks_for_what_is_left(tmp_path, monkeypatch):
    monkeypatch.setattr(L.Trainer, "world_size", 2)
    batches = [batch_of(step, wrong=float("nan") if step == 11 else 0.0) for step in range(STEPS)]
    with pytest.raises(RunError, match="step 12\n"):
        fit(tmp_path, batches, FiniteLoss(every_n_steps=100))


@pytest.mark.parametrize(("in_a_row", "ends"), [(3, False), (5, True)])
def test_a_scaler_may_leave_steps_out_but_not_for_ever(tmp_path, monkeypatch, in_a_row, ends):
    monkeypatch.setattr(L.Trainer, "precision", "16-mixed")
    bad = {*range(2, 2 + in_a_row), 11}
    batches = [batch_of(step, wrong=float("inf") if step in bad else 0.0) for step in range(STEPS)]
    callback = FiniteLoss(patience=4)
    if not ends:
        # The weights of this CPU training are not spared by a scaler: only what was looked at counts here.
        assert fit(tmp_path, batches, callback, lr=0.0).seen == STEPS
        return
    with pytest.raises(RunError, match="4th time in a row"):
        fit(tmp_path, batches, callback, lr=0.0)


class SaveAt(L.pytorch.callbacks.Checkpoint):
    def __init__(self, path, step):
        self.path, self.step = path, step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            trainer.save_checkpoint(self.path)


@pytest.mark.parametrize("what", ["loss", "weights"])
def test_no_checkpoint_is_written_of_what_has_gone_wrong(tmp_path, monkeypatch, what):
    monkeypatch.setattr(L.Trainer, "world_size", 2)  # nobody asked before the checkpoint is due
    batches = [batch_of(step, wrong=float("nan") if what == "loss" and step == 4 else 0.0) for step in range(STEPS)]
    if what == "weights":
        batches = [batch_of(step, image=0.0) for step in range(STEPS)]
        batches[4] = batch_of(4, image=1e17)  # a finite loss of 1e34, whose gradient throws the weight to infinity
    with pytest.raises(RunError) as caught:
        fit(
            tmp_path,
            batches,
            FiniteLoss(100),
            lr=1e5 if what == "weights" else 0.0,
            callbacks=[SaveAt(tmp_path / "last.ckpt", 5)],
        )
    assert ("weights" in caught.value.found) == (what == "weights")
    assert not (tmp_path / "last.ckpt").exists()
