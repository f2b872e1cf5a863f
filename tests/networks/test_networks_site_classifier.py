"""The site classifier: published size, shapes down to one voxel, both dimensions."""

from __future__ import annotations

import pytest
import torch

from strokelab.networks.cost import count_parameters
from strokelab.networks.site_classifier import SiteClassifier


@pytest.mark.parametrize(("n_sites", "parameters"), [(8, 18_886_664), (7, 18_885_639)])
def test_parameters(n_sites, parameters):
    with torch.device("meta"):
        classifier = SiteClassifier(1024, n_sites)
        features = torch.empty(32, 1024, 14, 6)
    assert count_parameters(classifier) == parameters
    assert classifier.blocks(features).shape == (32, 1024, 7, 3)
    assert classifier(features).shape == (32, n_sites)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (4, 3), (2, 2, 1)])
def test_small_features_pass(size):
    classifier = SiteClassifier(8, 3, dimensions=len(size))
    assert classifier(torch.randn(4, 8, *size)).shape == (4, 3)
