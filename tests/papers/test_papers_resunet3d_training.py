"""3D-ResU-Net (Tomita 2020): shared/methods/resunet3d.md, sections 6 and 7.3, points 5, 7 and 12 of section 11."""

import math
import shutil
from functools import partial

import lightning as L
import numpy as np
import pytest
import torch
from sibling_runs import sibling
from torch.utils.data import DataLoader

from strokelab.callbacks.resume_point import ResumePoint
from strokelab.callbacks.schedule import afresh, learning_rates
from strokelab.callbacks.snapshots import Snapshots
from strokelab.callbacks.stage import Stage, first_checkpoint, next_stage
from strokelab.configuration.building import build
from strokelab.data import read_cases
from strokelab.errors import RunError
from strokelab.models.warm_restarts import cosine_restarts
from strokelab.runs import load_ensemble, load_run

ADAM = partial(torch.optim.Adam, lr=1e-4, weight_decay=1e-4)


@pytest.mark.parametrize("steps", [182, 3])
def test_the_points_of_the_schedule(steps):
    schedule = build(
        {
            "_target_": "strokelab.models.warm_restarts.cosine_restarts",
            "_partial_": True,
            "cycle_epochs": 50,
            "steps_per_epoch": steps,
        }
    )
    rates = learning_rates(ADAM, schedule, 151 * steps)
    length = 50 * steps
    assert [rates[epoch * steps] for epoch in (0, 50, 100, 150)] == [1e-4] * 4
    assert [rates[epoch * steps] for epoch in (25, 75, 125)] == pytest.approx([0.5e-4] * 3)
    for epoch in (49, 99, 149):
        last = rates[(epoch + 1) * steps - 1]
        assert last == pytest.approx(1e-4 * (1 + math.cos(math.pi * (length - 1) / length)) / 2, rel=1e-6)
        assert last == pytest.approx(1e-4 * (math.pi / length) ** 2 / 4, rel=1e-4)
        assert last == min(rates)
    if steps == 182:
        assert last == pytest.approx(3e-8 * 1e-4, rel=0.01)
    lowest = min(rates)
    assert sum(rate <= lowest * 1.001 for rate in rates) == 3


class Small(L.LightningModule):
    """Adam and restarts of one stage, three steps an epoch; what a stage begins with is noted."""

    def __init__(self, rate, cycle):
        super().__init__()
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(2, 1)
        self.rate, self.cycle = rate, cycle
        self.rates = []

    def on_train_start(self):
        (optimizer,) = self.trainer.optimizers
        self.begun = {name: value.clone() for name, value in self.state_dict().items()}
        self.memory = len(optimizer.state)

    def on_before_optimizer_step(self, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def training_step(self, batch, batch_idx):
        return (self.layer(batch) - 1).square().mean()

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.rate, weight_decay=1e-4)
        schedule = cosine_restarts(optimizer, cycle_epochs=self.cycle, steps_per_epoch=3)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(folder, model, stage, epochs, *, start=None):
    point = ResumePoint(folder)
    point.stage = stage
    trainer = L.Trainer(
        max_epochs=stage.first_epoch + epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[point, Snapshots(folder)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(torch.ones(3, 2)), ckpt_path=start, weights_only=True)


@pytest.mark.filterwarnings("ignore")
def test_zoom_out_starts_afresh_and_leaves_three_snapshots(tmp_path):
    """Lengths of a fifth; an interrupted stage goes on along the same curve."""
    inner = Small(1e-3, cycle=10)
    fit(tmp_path, inner, Stage("zoom_in"), 10)
    former = torch.load(tmp_path / "last.ckpt", weights_only=True)
    stage, outer = next_stage(former, "zoom_out"), Small(1e-4, cycle=10)
    begun = first_checkpoint(former, former["state_dict"], stage, afresh=afresh(outer), data="none")
    torch.save(begun, tmp_path / "first.ckpt")
    fit(tmp_path, outer, stage, 15, start=tmp_path / "first.ckpt")
    again = Small(1e-4, cycle=10)
    fit(tmp_path, again, stage, 30, start=tmp_path / "last.ckpt")
    assert outer.memory == 0
    assert again.memory == 2
    assert all(torch.equal(value, former["state_dict"][name]) for name, value in outer.begun.items())
    assert not all(torch.equal(value, outer.begun[name]) for name, value in again.begun.items())
    curve = learning_rates(ADAM, partial(cosine_restarts, cycle_epochs=10, steps_per_epoch=3), 90)
    assert outer.rates + again.rates == pytest.approx(curve)
    kept = {path.stem: torch.load(path, weights_only=True) for path in sorted(tmp_path.glob("snapshot-*.ckpt"))}
    assert list(kept) == ["snapshot-zoom_in-0010", *(f"snapshot-zoom_out-00{epoch}" for epoch in (10, 20, 30))]
    rates = [content["snapshot"]["rate"] for name, content in kept.items() if "zoom_out" in name]
    assert rates == pytest.approx([min(curve)] * 3)
    assert min(curve) == pytest.approx((math.pi / 30) ** 2 / 4 * 1e-4, rel=1e-2)


def test_three_equal_snapshots_are_the_single_model(trained_unet, t1_cohort, tmp_path):
    case = read_cases("atlas_v1", t1_cohort)[0]
    folder = sibling(trained_unet, tmp_path / "run", nudge=3)
    for epoch in (50, 100, 150):
        shutil.copy(folder / "checkpoints/last.ckpt", folder / f"checkpoints/snapshot-{epoch:04d}.ckpt")
    run, ensemble = load_run(folder), load_ensemble([folder], checkpoint="snapshots")
    assert len(ensemble.members) == 3
    mine, theirs = ensemble.predict(case), run.predict(case)
    np.testing.assert_array_equal(mine.probability, theirs.probability)
    np.testing.assert_array_equal(mine.mask, theirs.mask)
    chosen = load_ensemble([folder], checkpoint=["snapshot-0050", "snapshot-0100"])
    assert len(chosen.members) == 2
    with pytest.raises(RunError):  # named twice
        load_ensemble([folder], checkpoint=["snapshots", "snapshot-0100"])
