"""What validation measures, by hand: four voxels of SUNet's paper, soft Dice, samples weighed alike."""

import copy

import pytest
import torch
from torchmetrics import MeanMetric

from strokelab.errors import ConfigError
from strokelab.metrics.validation import DEFAULTS, L1ErrorRate, Loss, PooledLesionDice, SoftDice, Validated, measured

P = torch.tensor([0.1, 0.6, 0.3, 0.8])
Y = torch.tensor([0, 0, 1, 1], dtype=torch.uint8)


def validated(p, y, *, classes=1, loss=0.0):
    """Samples of a few voxels: p and y (B, N)."""
    p, y = p[:, None], y[:, None]
    if classes > 1:
        p = torch.cat([(1 - p) / (classes - 1)] * (classes - 1) + [p], dim=1)
    return Validated(torch.tensor(loss), p.logit(), p, y.float(), y, lesion_channel=classes - 1)


def value(metric, *batches):
    for batch in batches:
        metric.update(batch)
    return metric.compute().item()


@pytest.mark.parametrize("classes", [1, 2])
def test_l1_and_error_rate_of_the_four_voxels(classes):
    assert value(L1ErrorRate(), validated(P[None], Y[None], classes=classes)) == pytest.approx(0.4 + 0.5)


def test_of_several_classes_the_largest_is_what_a_voxel_is_called():
    """0.6 is the largest of 0.2, 0.2, 0.6; 0.3 is not below 0.35."""
    batch = validated(torch.tensor([[0.6, 0.3, 0.4]]), torch.tensor([[1, 0, 0]]), classes=3)
    assert value(L1ErrorRate(), batch) == pytest.approx((0.4 + 0.3 + 0.4) / 3 + 1 / 3)


def test_soft_dice_has_squares_in_its_denominator():
    expected = 2 * (0.3 + 0.8) / (0.01 + 0.36 + 0.09 + 0.64 + 2)
    assert value(SoftDice(), validated(P[None], Y[None])) == pytest.approx(expected, abs=1e-5)
    empty = torch.zeros(1, 4, dtype=torch.uint8)
    assert value(SoftDice(), validated(torch.zeros(1, 4), empty)) == 1
    assert value(SoftDice(eps=1.0), validated(P[None], empty)) == pytest.approx(1 / (1.1 + 1))


@pytest.mark.parametrize("kind", [L1ErrorRate, SoftDice])
def test_samples_weigh_alike_in_any_batches_and_processes(kind):
    generator = torch.Generator().manual_seed(0)
    p, y = torch.rand(5, 8, generator=generator), torch.randint(0, 2, (5, 8), generator=generator)
    each = [value(kind(), validated(p[i : i + 1], y[i : i + 1])) for i in range(5)]
    assert value(kind(), validated(p[:3], y[:3]), validated(p[3:], y[3:])) == pytest.approx(sum(each) / 5)
    parts = [kind(), kind()]
    parts[0].update(validated(p[:4], y[:4]))
    parts[1].update(validated(p[4:], y[4:]))
    joined = copy.deepcopy(parts[0])
    for state, reduce in joined._reductions.items():  # what torchmetrics does between processes
        setattr(joined, state, reduce(torch.stack([getattr(part, state) for part in parts])))
    assert joined.compute().item() == pytest.approx(sum(each) / 5)


def test_the_two_defaults_are_the_loss_and_the_pooled_dice():
    batches = [validated(P[None].expand(n, 4), Y[None].expand(n, 4), loss=float(n)) for n in (1, 3)]
    assert value(Loss(), *batches) == pytest.approx((1 * 1 + 3 * 3) / 4)
    assert value(PooledLesionDice(), *batches) == pytest.approx(2 * 1 / (2 + 1 + 1))
    assert list(measured(None)) == list(DEFAULTS) == ["loss", "pooled_dice"]


def test_metrics_are_added_replaced_and_left_out_by_name():
    mine, other = MeanMetric(), SoftDice()
    found = measured({"mine": mine, "pooled_dice": other, "loss": None})
    assert list(found.items()) == [("pooled_dice", other), ("mine", mine)]
    with pytest.raises(ConfigError) as refused:
        measured({"mine": SoftDice})
    assert refused.value.where == "model.validation_metrics.mine"
