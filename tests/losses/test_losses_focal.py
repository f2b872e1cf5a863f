"""Focal loss: hand-computed values are in tests/papers; here its edges, its classes, and partial labels."""

from __future__ import annotations

import math

import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.losses.cross_entropy import softmax_cross_entropy
from strokelab.losses.focal import FocalLoss


def test_with_gamma_0_it_is_half_of_cross_entropy():
    torch.manual_seed(0)
    logits, target = torch.randn(3, 2, 4, 5, 6), (torch.rand(3, 1, 4, 5, 6) > 0.7).float()
    expected = softmax_cross_entropy(logits, target) / 2
    torch.testing.assert_close(FocalLoss(0.5, 0.0)(logits, target), expected)


def test_one_map_is_two_whose_first_is_zero():
    torch.manual_seed(0)
    logits, target = torch.randn(2, 1, 4, 4, 4), (torch.rand(2, 1, 4, 4, 4) > 0.5).float()
    both = torch.cat([torch.zeros_like(logits), logits], dim=1)
    assert torch.equal(FocalLoss()(logits, target), FocalLoss()(both, target))
    swapped = FocalLoss(lesion_channel=0)(both.flip(1), target)
    torch.testing.assert_close(FocalLoss()(logits, target), swapped)


@pytest.mark.parametrize("size", [50.0, 1e4, 1e30])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_it_is_finite_where_probabilities_are_0_and_1(size, dtype):
    logits = torch.tensor([[[size, -size]], [[-size, size]]], dtype=dtype).transpose(0, 1).requires_grad_()
    loss = FocalLoss()(logits, torch.tensor([[[1.0, 0.0]]]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-7) / 2, rel=1e-3)  # 0.25 and 0.75 of it, one voxel each
    assert logits.grad.isfinite().all()


def test_classes_that_a_sample_does_not_know_change_nothing():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    target = torch.softmax(torch.randn(2, 3, 4, 4), dim=1)
    known = torch.tensor([[True, True, False], [True, True, False]])
    target = torch.where(known[..., None, None], target, 0.0)
    loss = FocalLoss(lesion_channel=1)(logits, target, known)
    torch.testing.assert_close(loss, FocalLoss()(logits[:, :2], target[:, :2]))
    loss.backward()
    assert not logits.grad[:, 2].any()
    one = torch.tensor([[True, True, False], [False, True, False]])
    torch.testing.assert_close(FocalLoss()(logits, target, one), FocalLoss()(logits[:1, :2], target[:1, :2]))


@pytest.mark.parametrize("settings", [{"alpha_healthy": 1.5}, {"gamma": -1.0}])
def test_what_it_cannot_be_is_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        FocalLoss(**settings)
