"""Epoch means: weighted by samples, fresh every epoch, the same after an interruption."""

from __future__ import annotations

import io

import pytest
import torch

from strokelab.models.epoch_means import EpochMeans


def add(means: EpochMeans, epoch: int, samples: int, value: float) -> None:
    number = torch.tensor(value, requires_grad=True)
    means.add(epoch, samples, {"loss": number}, {"low": number})


def test_weighted_mean_and_minimum():
    means = EpochMeans()
    add(means, 0, 2, 1.0)
    add(means, 0, 6, 3.0)
    assert means.means() == {"loss": torch.tensor(2.5)}
    assert means.minima() == {"low": torch.tensor(1.0)}
    assert not means.means()["loss"].requires_grad


def test_processes_are_joined_before_anything_is_divided():
    # one process saw 5 samples, the other 4: a mean of means would be 2.0
    first, second = EpochMeans(), EpochMeans()
    add(first, 0, 5, 1.0)
    add(second, 0, 4, 3.0)
    shares = []
    second.means(lambda tensor: shares.append(tensor) or tensor)
    joined = first.means(lambda tensor: tensor + shares[0])
    assert joined["loss"].item() == pytest.approx((5 * 1 + 4 * 3) / 9)
    assert EpochMeans().means() == {}


def test_a_new_epoch_starts_afresh():
    means = EpochMeans()
    add(means, 0, 2, 1.0)
    add(means, 1, 4, 5.0)
    assert means.means()["loss"] == 5
    assert means.minima()["low"] == 5


@pytest.mark.parametrize("broken_after", [1, 2, 3])
def test_an_interruption_changes_nothing(broken_after):
    values = [0.1, 0.7, 0.3, 0.9]
    whole, first, second = EpochMeans(), EpochMeans(), EpochMeans()
    for value in values:
        add(whole, 5, 3, value)
    for value in values[:broken_after]:
        add(first, 5, 3, value)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for value in values[broken_after:]:
        add(second, 5, 3, value)
    assert second.means() == whole.means()
    assert second.minima() == whole.minima()
