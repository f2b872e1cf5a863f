"""The site adversary as a part: its two outputs, unknown sites, and where its gradient goes."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from strokelab.errors import ConfigError
from strokelab.models.adversary import SiteAdversary


def adversary(n_sites: int = 3, **kwargs) -> SiteAdversary:
    torch.manual_seed(0)
    return SiteAdversary(6, n_sites=n_sites, **kwargs).eval()


def test_loss_is_the_mean_cross_entropy_and_confusion_has_truth_in_rows():
    part = adversary()
    features, site = torch.randn(8, 6, 4, 4), torch.tensor([0, 1, 2, 2, 2, 1, 0, 0])
    loss, confusion = part(features, site)
    logits = part.classifier(features)
    assert torch.allclose(loss, F.cross_entropy(logits, site))
    assert confusion.dtype == torch.int64
    expected = torch.zeros(3, 3, dtype=torch.int64)
    for truth, guess in zip(site.tolist(), logits.argmax(1).tolist(), strict=True):
        expected[truth, guess] += 1
    assert torch.equal(confusion, expected)


def test_samples_of_unknown_site_count_nowhere():
    part = adversary()
    features, site = torch.randn(6, 6, 4, 4), torch.tensor([0, -1, 2, -1, 1, -1])
    known = site >= 0
    loss, confusion = part(features, site)
    loss_known, confusion_known = part(features[known], site[known])
    assert loss.item() == pytest.approx(loss_known.item(), abs=1e-6)
    assert torch.equal(confusion, confusion_known)

    features.requires_grad_()
    nothing, empty = part(features, torch.full((6,), -1))
    nothing.backward()
    assert nothing.item() == 0
    assert confusion.sum() == 3
    assert empty.sum() == 0
    assert torch.count_nonzero(features.grad) == 0


def test_strength_touches_the_features_and_not_the_classifier():
    gradients = {}
    for strength in (0.0, 1.0, 3.0):
        part = adversary(strength=strength)
        features = torch.randn(4, 6, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
        part(features, torch.tensor([0, 1, 2, 0]))[0].backward()
        gradients[strength] = (features.grad, [p.grad for p in part.parameters()])
    assert torch.count_nonzero(gradients[0.0][0]) == 0
    assert torch.allclose(gradients[3.0][0], 3 * gradients[1.0][0])
    for a, b in zip(gradients[0.0][1], gradients[3.0][1], strict=True):
        assert torch.equal(a, b)


def test_untrained_it_starts_at_the_logarithm_of_the_sites():
    part = SiteAdversary(32, n_sites=8)
    loss, _ = part(torch.randn(32, 32, 7, 3), torch.arange(32) % 8)
    assert loss.item() == pytest.approx(math.log(8), abs=0.15)


@pytest.mark.parametrize("n_sites", [0, 1])
def test_fewer_than_two_sites_are_refused_with_the_way_out(n_sites):
    with pytest.raises(ConfigError, match="adversary=none"):
        SiteAdversary(6, n_sites=n_sites)


def test_volumes():
    loss, confusion = SiteAdversary(6, 3, n_sites=2)(torch.randn(4, 6, 2, 2, 2), torch.tensor([0, 1, 1, -1]))
    assert loss.isfinite()
    assert confusion.sum() == 3
