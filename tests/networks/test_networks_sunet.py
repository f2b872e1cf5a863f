"""SUNet's network: what its two halves have to agree on, and that every part of it counts."""

from __future__ import annotations

import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.models.segmenter import UShaped
from strokelab.networks.sunet import SUNet


@pytest.mark.parametrize(("dimensions", "size"), [(2, (16, 8)), (3, (8, 4, 12))])
def test_forward_is_decode_of_encode_in_both_dimensions(dimensions, size):
    torch.manual_seed(0)
    network = SUNet(2, 3, base=4, depth=3, dimensions=dimensions).eval()
    assert isinstance(network, UShaped)
    image = torch.randn(2, 2, *size)
    features = network.encode(image)
    assert [tuple(f.shape[1:]) for f in features] == [
        (4 * 2**k, *(length // 2**k for length in size)) for k in range(3)
    ]
    assert torch.equal(network(image), network.decode(features))


def test_every_skip_and_every_parameter_counts():
    torch.manual_seed(0)
    network = SUNet(1, base=4, depth=3, dropout=0.0)
    network(torch.randn(2, 1, 8, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    network.eval()
    features = network.encode(torch.randn(1, 1, 8, 8, 8))
    whole = network.decode(features)
    for level in range(3):
        changed = [f * 0 if k == level else f for k, f in enumerate(features)]
        assert not torch.allclose(network.decode(changed), whole)


def test_dropout_leaves_whole_channels_out_while_training_and_not_in_the_first_stage():
    torch.manual_seed(0)
    network = SUNet(1, base=8, depth=2, dropout=0.5)
    image = torch.randn(1, 1, 8, 8, 8)
    network.eval()
    assert torch.equal(network(image), network(image))
    network.train()
    first, again = network.encode(image), network.encode(image)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[1], again[1])


def test_a_side_that_cannot_be_halved_is_named():
    with pytest.raises(ConfigError, match=r"24, 20, 16.*|.*divisible by 8"):
        SUNet(1, base=2).encode(torch.zeros(1, 1, 24, 20, 16))
