"""The copy that predicts: the same function up to rounding, with norms folded where they follow a convolution alone."""

import pytest
import torch
from torch import nn

from strokelab.networks.folding import for_prediction
from strokelab.networks.sunet import SUNet
from strokelab.networks.unet import UNet


def unsettled(network):
    """A network whose batch norms are far from the identity."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            for values in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(values)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    return network.train()


@pytest.mark.parametrize(
    ("network", "left"),
    [
        (SUNet(2, base=4, depth=3), 3 + 2 + 2),  # the first of each block and downsampling step; the second is folded
        (UNet(2, base=4, depth=3, dimensions=3), 0),
        (nn.Sequential(nn.ConvTranspose3d(2, 3, 2, stride=2), nn.BatchNorm3d(3)), 0),
        (nn.Sequential(nn.Conv3d(2, 3, 1), nn.ReLU(), nn.BatchNorm3d(3)), 1),
        (nn.Sequential(nn.Conv3d(2, 3, 1), nn.BatchNorm3d(3), nn.BatchNorm3d(3)), 1),
        (nn.Sequential(nn.Conv3d(2, 3, 1), nn.BatchNorm3d(3, track_running_stats=False)), 1),
    ],
)
def test_same_numbers_from_fewer_norms(network, left):
    network, image = unsettled_or_plain(network), torch.randn(3, 2, 8, 8, 8)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copy = for_prediction(network)
    assert sum(isinstance(layer, nn.BatchNorm3d) for layer in copy.modules()) == left
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    with torch.no_grad():
        expected = network.eval()(image)
        torch.testing.assert_close(copy(image), expected, atol=1e-4, rtol=1e-5)


def unsettled_or_plain(network):
    tracked = all(
        layer.running_mean is not None
        for layer in network.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm)
    )
    return unsettled(network) if tracked else network.train()
