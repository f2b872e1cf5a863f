"""The Segmenter in a trainer: what it logs, what validation measures, and what its checkpoint holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from small_segmenter import PLANE, SITES, Batches, batch_of, build, trainer_with
from torchmetrics import Metric

from strokelab.errors import ConfigError
from strokelab.losses.dice import DiceLoss
from strokelab.metrics.validation import Validated
from strokelab.models.adversary import SiteAdversary
from strokelab.models.segmenter import Segmenter
from strokelab.networks.hemispheres import Hemispheres
from strokelab.networks.masked_adain import MaskedAdaIN
from strokelab.networks.unet import UNet


def test_volumes_train_and_predict():
    torch.manual_seed(0)
    model = Segmenter(
        UNet(2, base=4, depth=2, dimensions=3),
        DiceLoss(over="batch"),
        partial(torch.optim.SGD, lr=0.1),
        hemispheres=Hemispheres(),
        adversary=partial(SiteAdversary, n_sites=SITES),
    )
    batch = batch_of(3, channels=2, plane=(8, 12, 6))
    model.training_step(batch, 0)["loss"].backward()
    assert model.predict_scores(batch["image"], batch["brain"]).shape == (3, 1, 8, 12, 6)


def test_half_precision_trains():
    model = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model.training_step(batch_of(), 0)
    assert outputs["loss"].dtype == torch.float32
    outputs["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_fit_logs_the_agreed_names_and_values(tmp_path):
    trainer, memory = trainer_with(tmp_path, 2)
    model = build()
    trainer.fit(model, Batches(3), Batches(2))
    epochs = memory.by_epoch()
    assert list(epochs) == [0, 1]
    for row in epochs.values():
        assert set(row) == {
            *("train/loss", "train/segmentation_loss", "val/loss", "val/pooled_dice"),
            *("main/gamma_mean", "main/gamma_min", "main/beta_mean", "main/beta_min"),
            *("site/loss", "site/accuracy", "site/balanced_accuracy", "site/strength", "site/chance", "site/majority"),
        }
        assert row["train/loss"] == pytest.approx(row["train/segmentation_loss"] + row["site/loss"], abs=1e-5)
        assert 0 <= row["main/gamma_min"] <= row["main/gamma_mean"]
    assert model.optimizers().param_groups[0]["lr"] == pytest.approx(0.05 * 0.96**2)


def test_validation_pools_the_dice_of_its_masks(tmp_path):
    trainer, _ = trainer_with(tmp_path, 1)
    model = build()
    (result,) = trainer.validate(model, Batches(2), verbose=False)
    hits = sizes = 0
    for i in range(2):
        batch = batch_of(seed=i)
        found, lesion = model.predict_scores(batch["image"], batch["brain"]) >= 0.5, batch["lesion"] != 0
        hits, sizes = hits + (found & lesion).sum().item(), sizes + found.sum().item() + lesion.sum().item()
    assert result["val/pooled_dice"] == pytest.approx(2 * hits / sizes, abs=1e-6)


def test_validation_weighs_batches_by_their_samples(tmp_path):
    trainer, _ = trainer_with(tmp_path, 1)
    model = build()

    def loss(*sizes):
        batches = torch.utils.data.DataLoader([batch_of(size, seed=size) for size in sizes], batch_size=None)
        return trainer.validate(model, batches, verbose=False)[0]["val/loss"]

    assert loss(5) != pytest.approx(loss(2), abs=1e-4)
    assert loss(5, 2) == pytest.approx((5 * loss(5) + 2 * loss(2)) / 7)


class SaveAfter(L.Callback):
    """Saves once, in the middle of an epoch."""

    def __init__(self, path: Path, epoch: int, batch: int) -> None:
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.path)


def test_checkpoint_holds_plain_data_and_an_interrupted_run_ends_and_logs_like_a_whole_one(tmp_path):
    path = tmp_path / "middle.ckpt"
    trainer, memory = trainer_with(tmp_path, 3, callbacks=[SaveAfter(path, epoch=1, batch=1)])
    whole = build()
    trainer.fit(whole, Batches(4), Batches(1))

    content = torch.load(path, weights_only=True)
    assert not content.get("hyper_parameters")
    assert all(torch.is_tensor(value) for value in content["state_dict"].values())

    resumed = build(seed=9)
    trainer, memory_resumed = trainer_with(tmp_path, 3)
    trainer.fit(resumed, Batches(4, skip=2), Batches(1), ckpt_path=path, weights_only=True)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    expected, found = memory.by_epoch(), memory_resumed.by_epoch()
    assert list(found) == [1, 2]
    for epoch, row in found.items():
        assert row == expected[epoch]


def test_two_fits_are_the_same_to_the_last_bit(tmp_path):
    states = []
    for _ in range(2):
        model = build()
        trainer_with(tmp_path, 1)[0].fit(model, Batches(3))
        states.append(model.state_dict())
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


def test_a_constant_rate_needs_no_scheduler():
    model = Segmenter(UNet(1, base=2, depth=1), DiceLoss(), partial(torch.optim.SGD, lr=0.1))
    assert isinstance(model.configure_optimizers(), torch.optim.SGD)


def test_short_runs_with_the_usual_statistics_are_warned_of(tmp_path):
    model = build(adversary=False)
    model.standardizer = MaskedAdaIN(1, PLANE, patch=8)
    with pytest.warns(UserWarning, match="bn_momentum=null"):
        trainer_with(tmp_path, 1)[0].fit(model, Batches(1))


class LesionShare(Metric):
    """Of whole samples, whatever a network looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("shares", default=[], dist_reduce_fx="cat")

    def update(self, batch: Validated) -> None:
        assert batch.probability.shape == batch.logits.shape == batch.lesion.shape == (6, 1, *PLANE)
        assert torch.equal(batch.probability, batch.logits.sigmoid())
        self.shares.append(batch.lesion_probability.flatten(1).mean(dim=1))

    def compute(self):
        return torch.cat(self.shares).mean()


def test_validation_logs_every_metric_of_whole_samples(tmp_path):
    model = build(validation_metrics={"share": LesionShare(), "loss": None})
    model.curves = "curves_only"
    trainer, _ = trainer_with(tmp_path, 1)
    (result,) = trainer.validate(model, Batches(2), verbose=False)
    assert list(result) == ["curves_only/pooled_dice", "curves_only/share"]
    scores = torch.cat([model.predict_scores(b["image"], b["brain"]) for b in Batches(2)])
    assert result["curves_only/share"] == pytest.approx(scores.mean().item(), abs=1e-6)
    assert not [name for name in model.state_dict() if "metric" in name], "a checkpoint holds weights alone"


@pytest.mark.parametrize(
    ("scheduler", "interval"),
    [(torch.optim.lr_scheduler.ReduceLROnPlateau, "step"), (torch.optim.lr_scheduler.ConstantLR, "batch")],
)
def test_a_schedule_is_stepped_by_epochs_or_steps_and_waits_for_epochs_alone(scheduler, interval):
    network = UNet(1, base=2, depth=1)
    model = Segmenter(network, DiceLoss(), partial(torch.optim.SGD, lr=0.1), scheduler, scheduler_interval=interval)
    with pytest.raises(ConfigError) as refused:
        model.configure_optimizers()
    assert refused.value.where == "model.scheduler_interval"
