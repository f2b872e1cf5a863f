"""Costs against hand counts on small layers; the published columns are in tests/papers."""

from __future__ import annotations

import torch
from torch import nn

from strokelab.networks.cost import Cost, TorchstatReading, cost_of, count_parameters, saved_bytes, torchstat_reading


def test_a_block_by_hand():
    block = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(inplace=True))
    x = torch.zeros(1, 2, 4, 5)
    pixels = 20
    assert cost_of(block, x) == Cost(
        parameters=2 * 3 * 9 + 6, macs=pixels * 3 * 18, activation_bytes=3 * (pixels * 3) * 4
    )
    reading = torchstat_reading(block, x)
    assert reading.memory_bytes == 3 * pixels * 3 * 4
    assert reading.madds == pixels * 3 * (18 + 17) + 4 * pixels * 3 + pixels * 3
    assert reading.flops == pixels * 3 * 18 + 2 * pixels * 3 + pixels * 3


def test_pooling_linear_and_3d_by_hand():
    module = nn.Sequential(nn.Conv3d(1, 2, 1), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(2, 5))
    x = torch.zeros(1, 1, 2, 2, 2)
    assert cost_of(module, x).macs == 8 * 2 + 10
    assert torchstat_reading(module, x) == TorchstatReading(
        memory_bytes=4 * (16 + 2 + 5), madds=16 * 2 + 2 * 7 + 5 * 3, flops=16 * 2 + 16 + 10
    )


def test_costs_add_up_and_nothing_is_left_behind():
    module = nn.Sequential(nn.Conv2d(1, 1, 3), nn.BatchNorm2d(1))
    module[1].eval()
    x = torch.randn(2, 1, 5, 5)
    once = cost_of(module, x)
    assert once + once == Cost(2 * once.parameters, 2 * once.macs, 2 * once.activation_bytes)
    assert module.training
    assert not module[1].training
    assert module[1].num_batches_tracked == 0
    assert not module[0]._forward_hooks
    assert count_parameters(module) == 9 + 1 + 2


def test_layers_of_3d_networks_by_hand():
    module = nn.Sequential(
        nn.ConvTranspose3d(2, 3, 2, stride=2, bias=False), nn.InstanceNorm3d(3, affine=True), nn.LeakyReLU()
    )
    x = torch.zeros(1, 2, 2, 2, 2)
    outputs, macs = 64 * 3, 8 * 2 * 3 * 8
    assert cost_of(module, x) == Cost(parameters=48 + 6, macs=macs, activation_bytes=3 * outputs * 4)
    assert torchstat_reading(module, x) == TorchstatReading(
        memory_bytes=4 * 3 * outputs, madds=2 * macs - 8 * 3, flops=outputs
    )


def test_of_a_layer_that_is_called_twice_the_last_call_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu, self.pool, self.up = nn.ReLU(), nn.AvgPool2d(2), nn.Upsample(scale_factor=2)

        def forward(self, x):
            return self.up(self.pool(self.relu(self.pool(self.relu(x)))))

    reading = torchstat_reading(Twice(), torch.zeros(1, 3, 8, 8))
    assert reading == TorchstatReading(
        memory_bytes=4 * 3 * (16 + 4 + 16), madds=3 * 16 + 3 * 4 * 4, flops=3 * 16 + 3 * 16 + 16
    )


def test_products_outside_layers_are_counted():
    class Product(nn.Module):
        def forward(self, x):
            return x @ x

    assert cost_of(Product(), torch.zeros(5, 5)).macs == 125


def test_what_a_training_step_keeps_by_hand():
    # The convolution keeps its input, the rectifier its output; both convolutions' weights are no activations.
    module = nn.Sequential(nn.Conv2d(1, 3, 1), nn.ReLU(), nn.Conv2d(3, 1, 1))
    x = torch.zeros(1, 1, 4, 4)
    assert saved_bytes(module, x) == (16 + 48) * 4
    with torch.no_grad():
        assert saved_bytes(module, x) == (16 + 48) * 4, "whatever the caller switched off"
