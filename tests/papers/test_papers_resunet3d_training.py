"""3D-ResU-Net (Tomita 2020): shared/methods/resunet3d.md, sections 6 and 7.3, points 5, 7 and 12 of section 11."""

import math
from functools import partial

import pytest
import torch

from strokelab.callbacks.schedule import learning_rates
from strokelab.configuration.building import build

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
