"""Weights and inputs by formula, and what a network makes of them: fingerprints of the comparators' spec, section 6.

In float64: in single precision the weights of some networks cancel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d)


def fingerprinted(network: nn.Module) -> nn.Module:
    """The network itself with the weights of the formula, in double precision and evaluation mode.

    Convolutions, transposed ones and linear layers have ``waves``; biases are 0.1 sin(index); norms are the identity.
    """
    network.double().eval()
    with torch.no_grad():
        for layer in network.modules():
            weight = getattr(layer, "weight", None)
            if isinstance(layer, _NORMS):
                if weight is not None:
                    layer.weight.fill_(1.0)
                    layer.bias.zero_()
            elif isinstance(weight, Tensor) and weight.ndim >= 2:
                by_role = weight.transpose(0, 1) if isinstance(layer, _TRANSPOSED) else weight
                by_role.copy_(waves(by_role.shape))
                if getattr(layer, "bias", None) is not None:
                    layer.bias.copy_(0.1 * torch.arange(len(layer.bias), dtype=torch.float64).sin())
    return network


def waves(shape: Sequence[int]) -> Tensor:
    """Weights (outputs, inputs per group, *kernel): cos(0.37 o + 0.73 i + 0.11 k + 0.05 I) / sqrt(I K)."""
    outputs, inputs, *kernel = shape
    taps = math.prod(kernel)
    o, i, k = (torch.arange(count, dtype=torch.float64) for count in (outputs, inputs, taps))
    phase = 0.37 * o[:, None, None] + 0.73 * i[None, :, None] + 0.11 * k + 0.05 * inputs
    return (phase.cos() / math.sqrt(inputs * taps)).reshape(shape)


def image(*shape: int) -> Tensor:
    """x[b, c, ...] = 0.5 + 0.5 sin(0.31 y + 0.17 x (1 + 0.1 c) + 0.23 z + 0.9 c + 0.5 b), axes (y, x) or (x, y, z)."""
    grids = torch.meshgrid(*(torch.arange(length, dtype=torch.float64) for length in shape), indexing="ij")
    b, c, *axes = grids
    y, x, z = (axes[0], axes[1], torch.zeros_like(b)) if len(axes) == 2 else (axes[1], axes[0], axes[2])
    return 0.5 + 0.5 * (0.31 * y + 0.17 * x * (1 + 0.1 * c) + 0.23 * z + 0.9 * c + 0.5 * b).sin()


def assert_fingerprint(output: Tensor, mean: float, sd: float, values: Sequence[float] = ()) -> None:
    """Mean, population SD and six places of the flattened output, each to 1e-6 of the SD and the printed digits."""
    flat = output.detach().flatten()
    n = len(flat)
    places = (0, n // 7, n // 3, n // 2, 5 * n // 7, n - 1)[: len(values)]
    found = [flat.mean().item(), flat.std(correction=0).item(), *(flat[place].item() for place in places)]
    assert found == pytest.approx([mean, sd, *values], rel=1e-8, abs=1e-6 * sd)
