"""The learning rate of a training in stages, from settings and the epochs of its log alone."""

import numpy as np
import pandas as pd
import pytest

from strokelab.evaluation.rates import rates_of

STEPS = 182
COSINE = {
    "_target_": "torch.optim.lr_scheduler.CosineAnnealingWarmRestarts",
    "_partial_": True,
    "T_0": 50 * STEPS,
    "eta_min": 0.0,
}


def model(lr: float, **more: object) -> dict:
    return {"optimizer": {"_target_": "torch.optim.Adam", "_partial_": True, "lr": lr}, "scheduler": None, **more}


def history(*epochs: int, steps: int = STEPS) -> pd.DataFrame:
    """A row per epoch of stages of so many epochs, as ``metrics.csv`` has them; one in between without a stage."""
    stages = np.repeat(np.arange(1, len(epochs) + 1), epochs)
    table = pd.DataFrame({"epoch": np.arange(len(stages)), "stage": stages})
    table["step"] = (table["epoch"] + 1) * steps - 1
    return pd.concat([table, pd.DataFrame({"epoch": [0], "step": [5], "train/loss_step": [0.3]})], ignore_index=True)


def test_two_stages_with_restarts_after_every_step():
    """Tomita 2020: cycles of 50 epochs from 1e-3, then from 1e-4."""
    stepwise = {"scheduler": COSINE, "scheduler_interval": "step"}
    settings = {
        "model": model(1e-4, **stepwise),
        "stages": {"zoom_in": {"model": {"optimizer": {"lr": 1e-3}}}, "zoom_out": {}},
    }
    found = rates_of(settings, history(100, 150))
    assert found["stage"].unique().tolist() == [1, 2]
    restarts = found[found["restart"]]
    assert restarts["epoch"].tolist() == [50, 150, 200]
    assert restarts["rate"].tolist() == pytest.approx([1e-3, 1e-4, 1e-4])
    lowest = (np.pi / (50 * STEPS)) ** 2 / 4
    ends = found[found["epoch"].round(6).isin((np.array([50, 100, 150, 200, 250]) - 1 / STEPS).round(6))]
    assert ends["rate"].tolist() == pytest.approx(np.array([1e-3, 1e-3, 1e-4, 1e-4, 1e-4]) * lowest, rel=1e-3)
    assert found["rate"].max() == 1e-3
    assert len(found) < 4100, "a figure's worth, not every step"


def test_a_schedule_of_epochs_and_a_training_that_is_not_over():
    linear = {"_target_": "torch.optim.lr_scheduler.StepLR", "_partial_": True, "step_size": 2, "gamma": 0.5}
    settings = {"model": model(0.8, scheduler=linear), "stages": {"a": {}, "b": {}}}
    found = rates_of(settings, history(5))
    assert found["epoch"].tolist() == [0, 1, 2, 3, 4]
    assert found["rate"].tolist() == pytest.approx([0.8, 0.8, 0.4, 0.4, 0.2])
    assert not found["restart"].any()


def test_no_schedule_no_log_and_one_that_waits_for_a_plateau_have_no_curve():
    assert rates_of({"model": model(0.1)}, history(3)) is None
    assert rates_of({"model": model(0.1, scheduler=COSINE)}, None) is None
    waits = {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "_partial_": True}
    assert rates_of({"model": model(0.1, scheduler=waits)}, history(3).drop(columns="stage")) is None
