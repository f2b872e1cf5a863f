"""Gradients that a processor computes wrongly in bf16. Knows networks and shapes; knows no settings.

Seen with PyTorch 2.13 on processors with AVX512-BF16: the weight gradient of a 3x3x3 convolution is what lay in memory
where a volume has one or two slices along its first axis (1e30, or not a number). In float32 it is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor, nn

FEW = 2
_WRONG = 0.1  # share of the largest value; rounding to bf16 is ten times smaller


@cache
def computed_wrongly() -> bool:
    """Whether this processor does so: one small convolution, three times, in a few milliseconds."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        layer, image = nn.Conv3d(16, 16, kernel_size=3, padding=1), torch.randn(1, 16, FEW, FEW, FEW)
        right = _gradient(layer, image, half=False)
        for _ in range(3):
            waste = torch.full((1 << 20,), 1e30)  # what is not written is then seen
            del waste
            if not (_gradient(layer, image, half=True) - right).abs().max() <= _WRONG * right.abs().max():
                return True
    return False


def few_slices(network: nn.Module, in_channels: int, shape: Sequence[int]) -> bool:
    """Whether a convolution of a network meets a volume of one or two slices along its first axis.

    Args:
        network: of volumes or slices, on the meta device, where nothing is computed; it keeps what looks at it.
        in_channels: C.
        shape: S of a sample.

    Returns:
        False, too, where the network cannot be followed without numbers.
    """
    met = False

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal met
        met |= isinstance(layer, nn.Conv3d) and layer.kernel_size[0] > 1 and inputs[0].shape[2] <= FEW

    handles = [layer.register_forward_pre_hook(look) for layer in network.modules() if isinstance(layer, nn.Conv3d)]
    if handles:
        try:
            with torch.no_grad():
                network(torch.empty(2, in_channels, *shape, device="meta"))
        except (RuntimeError, ValueError):
            return False
    return met


def _gradient(layer: nn.Conv3d, image: Tensor, *, half: bool) -> Tensor:
    layer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        y = layer(image)
    y.float().square().sum().backward()
    assert layer.weight.grad is not None
    return layer.weight.grad.float().clone()
