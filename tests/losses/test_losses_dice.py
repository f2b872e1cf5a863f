"""Soft Dice: the worked values of the specification, and what holds for any masks."""

from __future__ import annotations

import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.losses.dice import DiceLoss, soft_dice_loss


def maps(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, -1)


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (maps(1, 1, 0, 0), maps(0.8, 0.4, 0.2, 0), 0.154929),
        (maps(0, 0, 0, 0), maps(0, 0, 0, 0), 0.0),
        (maps(1, 0, 1, 1), maps(1, 0, 1, 1), 0.0),
        (torch.zeros(1, 1, 224, 96), torch.full((1, 1, 224, 96), 0.01), 0.9999953),
        (torch.zeros(1, 1, 224, 96), torch.full((1, 1, 224, 96), 1e-5), 0.176982),
        (torch.ones(1, 1, 224, 96), torch.full((1, 1, 224, 96), 0.5), 0.2),
    ],
)
def test_worked_values(truth, prediction, expected):
    assert soft_dice_loss(prediction, truth).item() == pytest.approx(expected, abs=1e-6)
    assert soft_dice_loss(prediction, truth, over="batch").item() == pytest.approx(expected, abs=1e-6)


def test_mean_over_samples_differs_from_sums_over_the_batch():
    truth = torch.cat([maps(1, 1, 0, 0), maps(0, 0, 0, 0)])
    prediction = torch.cat([maps(0.8, 0.4, 0.2, 0), maps(0.1, 0, 0, 0)])
    # Sample 2: 1 - 1e-5 / (0.01 + 1e-5) = 0.999001; sums: 1 - 2.4 / (2 + 0.84 + 0.01) = 0.157894.
    assert soft_dice_loss(prediction, truth).item() == pytest.approx((0.154929 + 0.999001) / 2, abs=1e-6)
    assert soft_dice_loss(prediction, truth, over="batch").item() == pytest.approx(1 - 2.40001 / 2.85001, abs=1e-6)


def test_logits_pass_the_sigmoid():
    logits = torch.randn(3, 1, 5, 7, generator=torch.Generator().manual_seed(0))
    truth = (logits.roll(1, dims=3) > 0).float()
    assert torch.equal(DiceLoss()(logits, truth), soft_dice_loss(logits.sigmoid(), truth))


def test_a_channel_a_sample_does_not_know_changes_nothing():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(2, 2, 6, generator=generator)
    truth = (torch.rand(2, 2, 6, generator=generator) > 0.5).float()
    known = torch.tensor([[True, False], [True, True]])
    for over in ("sample", "batch"):
        loss = DiceLoss(over=over)
        changed = logits.clone()
        changed[0, 1] = 7.0
        assert torch.equal(loss(logits, truth, known), loss(changed, truth, known))
        assert not torch.equal(loss(logits, truth), loss(changed, truth))
    alone = torch.stack(
        [DiceLoss()(logits[i : i + 1, k : k + 1], truth[i : i + 1, k : k + 1]) for i, k in ((0, 0), (1, 0), (1, 1))]
    )
    assert DiceLoss()(logits, truth, known).item() == pytest.approx(alone.mean().item(), abs=1e-6)
    assert DiceLoss()(logits, truth, torch.zeros(2, 2, dtype=torch.bool)).item() == 0


def test_half_precision_logits_are_summed_in_float32():
    # 21,504 squares of 0.01 cannot be summed in half precision.
    logits = torch.full((1, 1, 224, 96), -4.59375, dtype=torch.bfloat16)
    loss = DiceLoss()(logits, torch.zeros(1, 1, 224, 96))
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(DiceLoss()(logits.float(), torch.zeros(1, 1, 224, 96)).item(), abs=1e-7)


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="'sample' or 'batch'"):
        DiceLoss(over="volume")  # type: ignore[arg-type]
