"""The probe of the site: a fresh classifier on features, asked about subjects that it has not seen."""

import pytest
import torch

from strokelab.callbacks.site_adversary import site_scores
from strokelab.metrics.site_probe import pooled, probe

SITES, SUBJECTS, EACH = 3, 6, 8
SITE = torch.arange(SITES).repeat_interleave(SUBJECTS * EACH)
SUBJECT = [f"{row // EACH:02}" for row in range(len(SITE))]


def noise(width=12, seed=0):
    return torch.randn(len(SITE), width, generator=torch.Generator().manual_seed(seed))


def accuracy(features, site=SITE, subject=SUBJECT):
    return float(site_scores(probe(features, site, subject))["accuracy"])


def test_a_site_that_is_left_is_found_and_one_that_is_not_is_not():
    there = noise()
    there[:, :SITES] += 4 * torch.nn.functional.one_hot(SITE, SITES)
    assert accuracy(there) > 0.95
    assert accuracy(noise()) == pytest.approx(1 / SITES, abs=0.12)
    assert torch.equal(probe(there, SITE, SUBJECT), probe(there.clone(), SITE, SUBJECT))
    assert probe(there, SITE, SUBJECT).sum() == len(SITE), "every sample is asked about once"


def test_a_subject_is_never_asked_about_by_a_classifier_that_knows_it():
    """What marks each subject and not its site would be learnt by heart."""
    marks = noise(200, seed=1)[::EACH].repeat_interleave(EACH, dim=0)
    assert accuracy(100 * marks + noise(200)) < 0.6


def test_sites_with_one_subject_and_unknown_ones_are_left_out():
    site = SITE.clone()
    site[site == 2] = -1
    assert probe(noise(), site, SUBJECT).shape == (2, 2)
    assert probe(noise(), SITE, [str(one) for one in SITE.tolist()]) is None
    assert probe(noise(), torch.full_like(SITE, 1), SUBJECT) is None
    assert probe(torch.zeros(len(SITE), 4), SITE, SUBJECT).sum() == len(SITE), "features that are all alike"


def test_features_are_pooled_by_hand():
    volume = torch.tensor([[[[1.0, 3.0]], [[2.0, 2.0]]]])
    assert pooled([volume, volume[..., None]]).tolist() == [[2, 2, 1, 0, 2, 2, 1, 0]]
