"""The plain U-Net: its published size, its shapes, and what its two halves have to agree on."""

from __future__ import annotations

import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.networks.cost import count_parameters
from strokelab.networks.unet import UNet


@pytest.fixture(scope="module")
def full() -> UNet:
    with torch.device("meta"):
        return UNet(1)


def test_parameters_of_every_layer(full):
    assert [count_parameters(stage) for stage in full.encoder] == [37_696, 221_696, 885_760, 3_540_992, 14_159_872]
    assert [count_parameters(stage) for stage in full.projections] == [524_800, 131_328, 32_896, 8_256]
    assert [count_parameters(stage) for stage in full.decoder] == [7_079_936, 1_770_496, 442_880, 110_848]
    assert count_parameters(full.head) == 65
    assert count_parameters(full) == 28_947_521


@pytest.mark.parametrize("width", [96, 192])
def test_shapes(full, width):
    features = full.encode(torch.empty(2, 1, 224, width, device="meta"))
    assert [tuple(f.shape) for f in features] == [
        (2, 64 * 2**level, 224 // 2**level, width // 2**level) for level in range(5)
    ]
    assert tuple(full.feature_channels) == (64, 128, 256, 512, 1024)
    assert full.decode(features).shape == (2, 1, 224, width)


@pytest.mark.parametrize(("dimensions", "size"), [(2, (16, 8)), (3, (8, 4, 12))])
def test_forward_is_decode_of_encode_in_both_dimensions(dimensions, size):
    torch.manual_seed(0)
    network = UNet(2, 3, base=4, depth=3, dimensions=dimensions).eval()
    image = torch.randn(2, 2, *size)
    logits = network(image)
    assert logits.shape == (2, 3, *size)
    assert torch.equal(logits, network.decode(network.encode(image)))


def test_every_skip_and_every_parameter_counts():
    torch.manual_seed(0)
    network = UNet(1, base=4, depth=3)
    network(torch.randn(2, 1, 16, 16)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())
    network.eval()
    features = network.encode(torch.randn(1, 1, 16, 16))
    whole = network.decode(features)
    for level in range(3):
        changed = [f * 0 if k == level else f for k, f in enumerate(features)]
        assert not torch.allclose(network.decode(changed), whole)


def test_upsampled_map_is_concatenated_before_the_skip():
    network = UNet(1, base=4, depth=2).eval()
    features = network.encode(torch.randn(1, 1, 8, 8))
    with torch.no_grad():
        network.decoder[0][0][0].weight[:, 4:] = 0  # the second half reads the skip connection
    silent = [features[0] * 0, features[1]]
    assert torch.equal(network.decode(features), network.decode(silent))


def test_sizes_that_cannot_be_halved_are_refused_with_a_remedy():
    with pytest.raises(ConfigError, match="divisible by 16"):
        UNet(1, base=2)(torch.zeros(1, 1, 224, 100))
    with pytest.raises(ConfigError, match="2 axes"):
        UNet(1, base=2)(torch.zeros(1, 1, 16, 16, 16))
    with pytest.raises(ConfigError, match="slices"):
        UNet(1, dimensions=4)
    with pytest.raises(ConfigError, match="depth"):
        UNet(1, depth=0)
