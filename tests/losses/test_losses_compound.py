"""Cross-entropy and its sum with Dice: hand-computed values, and who counts."""

import math

import pytest
import torch

from strokelab.losses.compound import DiceBCELoss
from strokelab.losses.cross_entropy import binary_cross_entropy
from strokelab.losses.dice import DiceLoss


def logits_of(*probabilities):
    return torch.logit(torch.tensor(probabilities)).reshape(1, 1, -1)


def test_cross_entropy_by_hand():
    target = torch.tensor([1.0, 0.0, 0.5]).reshape(1, 1, -1)
    by_hand = -(math.log(0.8) + math.log(0.9) + math.log(0.5)) / 3
    assert binary_cross_entropy(logits_of(0.8, 0.1, 0.5), target).item() == pytest.approx(by_hand, abs=1e-6)


def test_unknown_channels_count_nowhere():
    logits = torch.randn(2, 2, 5, generator=torch.Generator().manual_seed(0))
    target = torch.zeros(2, 2, 5)
    known = torch.tensor([[True, False], [True, False]])
    alone = binary_cross_entropy(logits[:, :1], target[:, :1])
    assert binary_cross_entropy(logits, target, known).item() == pytest.approx(alone.item(), abs=1e-6)
    assert binary_cross_entropy(logits, target, torch.zeros(2, 2, dtype=torch.bool)).item() == 0.0


@pytest.mark.parametrize("over", ["sample", "batch"])
@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_the_sum_is_the_sum(over, weight):
    logits = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    target = (torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2)) > 0.7).float()
    parts = DiceLoss(over=over)(logits, target) + weight * binary_cross_entropy(logits, target)
    assert DiceBCELoss(over=over, weight=weight)(logits, target).item() == pytest.approx(parts.item(), abs=1e-6)


def test_an_empty_sample_still_has_a_gradient():
    """Where Dice per sample is flat (Yu 2022's plateau), the cross-entropy is not."""
    target = torch.zeros(1, 1, 16, 16)
    gradients = []
    for loss in (DiceLoss(), DiceBCELoss()):
        logits = torch.full((1, 1, 16, 16), 2.0, requires_grad=True)
        loss(logits, target).backward()
        gradients.append(logits.grad.abs().sum().item())
    assert gradients[1] > 100 * gradients[0]


def test_half_precision_logits_are_summed_in_float32():
    logits = torch.randn(1, 1, 200, 200, generator=torch.Generator().manual_seed(3)).bfloat16()
    target = torch.zeros(1, 1, 200, 200)
    exact = DiceBCELoss()(logits.float(), target)
    assert DiceBCELoss()(logits, target).dtype == torch.float32
    assert DiceBCELoss()(logits, target).item() == pytest.approx(exact.item(), abs=1e-6)
