"""What a network costs: parameters, multiply-adds, activation memory. Knows layers and shapes; runs on ``meta`` too.

Two readings. ``cost_of`` is the honest one: multiply-accumulates of convolutions and linear layers, and bytes of all
layer outputs. ``torchstat_reading`` reproduces what the counter torchstat prints, the columns "memory", "MACC" and
"FLOPs" of Yu 2022, Tables IV and V: memory in MiB of float32 outputs for one sample, "MACC" multiplications *plus*
additions (about twice the MACs), "FLOPs" MACs plus norm plus ReLU. Both see layers, not functional calls: U-Net pools
and interpolates by function, MAIN and the site classifier by layer, and with that the published figures come out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Observer = Callable[[nn.Module, Tensor, Tensor], None]


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass; costs of parts add up."""

    parameters: int
    macs: int  # multiply-accumulates of convolutions and linear layers
    activation_bytes: int  # outputs of all layers, in their own dtype

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.parameters + other.parameters, self.macs + other.macs, self.activation_bytes + other.activation_bytes
        )


@dataclass(frozen=True)
class TorchstatReading:
    """The columns torchstat prints, before its scaling; readings of parts add up."""

    memory_bytes: int
    madds: int  # printed as "MACC" by the paper
    flops: int

    @property
    def memory_mib(self) -> float:
        """Memory as printed (the paper writes MB)."""
        return self.memory_bytes / 2**20

    def __add__(self, other: TorchstatReading) -> TorchstatReading:
        return TorchstatReading(
            self.memory_bytes + other.memory_bytes, self.madds + other.madds, self.flops + other.flops
        )


def count_parameters(module: nn.Module) -> int:
    """Number of trainable and frozen parameters; buffers are not counted."""
    return sum(parameter.numel() for parameter in module.parameters())


def cost_of(module: nn.Module, *inputs: Tensor) -> Cost:
    """Cost of ``module(*inputs)``, for the whole batch, in evaluation mode.

    Args:
        module: any network; on the ``meta`` device nothing is computed.
        inputs: its positional arguments.
    """
    macs = activation_bytes = 0

    def observe(layer: nn.Module, x: Tensor, y: Tensor) -> None:
        nonlocal macs, activation_bytes
        macs += _macs(layer, y)
        activation_bytes += y.numel() * y.element_size()

    _watch(module, inputs, observe)
    return Cost(count_parameters(module), macs, activation_bytes)


def torchstat_reading(module: nn.Module, *inputs: Tensor) -> TorchstatReading:
    """What torchstat prints for ``module(*inputs)``.

    Give one sample, as the paper did, and the U-Net as ``nn.Sequential(unet, nn.Sigmoid())``: the paper's network ends
    with its sigmoid, ours returns logits.
    """
    memory = madds = flops = 0

    def observe(layer: nn.Module, x: Tensor, y: Tensor) -> None:
        nonlocal memory, madds, flops
        if not isinstance(layer, _COUNTED):
            return
        memory += 4 * y.numel()
        layer_madds, layer_flops = _torchstat_counts(layer, x, y)
        madds += layer_madds
        flops += layer_flops

    _watch(module, inputs, observe)
    return TorchstatReading(memory, madds, flops)


_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_POOLS = (nn.MaxPool2d, nn.MaxPool3d)
_COUNTED = (*_CONVOLUTIONS, *_NORMS, *_POOLS, nn.ReLU, nn.Linear, nn.Sigmoid)


def _macs(layer: nn.Module, y: Tensor) -> int:
    if isinstance(layer, _CONVOLUTIONS):
        return y.numel() * layer.weight[0].numel()
    if isinstance(layer, nn.Linear):
        return y.numel() * layer.in_features
    return 0


def _torchstat_counts(layer: nn.Module, x: Tensor, y: Tensor) -> tuple[int, int]:
    """Multiplications plus additions, and "FLOPs", by torchstat's rules."""
    if isinstance(layer, _CONVOLUTIONS):
        taps, bias = layer.weight[0].numel(), int(layer.bias is not None)
        return y.numel() * (2 * taps - 1 + bias), y.numel() * (taps + bias)
    if isinstance(layer, nn.Linear):
        return y.numel() * (2 * layer.in_features - 1), y.numel() * layer.in_features
    if isinstance(layer, _NORMS):
        return 4 * x.numel(), 2 * x.numel()
    if isinstance(layer, _POOLS):
        window = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * (x.ndim - 2)
        return y.numel() * (math.prod(window) - 1), x.numel()
    if isinstance(layer, nn.ReLU):
        return x.numel(), x.numel()
    return 0, 0  # sigmoid: its output is counted, its arithmetic is not


def _watch(module: nn.Module, inputs: tuple[Tensor, ...], observe: Observer) -> None:
    def hook(layer: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        observe(layer, args[0], output)

    leaves = [layer for layer in module.modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(hook) for layer in leaves]
    training = [part for part in module.modules() if part.training]
    module.eval()
    try:
        with torch.no_grad():
            module(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for part in training:
            part.training = True
