"""What a network costs: parameters, multiply-adds, activation memory. Knows layers and shapes; runs on ``meta`` too.

Two readings. ``cost_of`` is the honest one: multiply-accumulates that PyTorch itself counts (``torch.utils``), of
convolutions, linear layers and matrix products, functional ones too, and bytes of all layer outputs.
``torchstat_reading`` reproduces what the counter torchstat prints, the columns "memory", "MACC" and
"FLOPs" of Yu 2022, Tables IV and V: memory in MiB of float32 outputs for one sample, "MACC" multiplications *plus*
additions (about twice the MACs), "FLOPs" MACs plus norm plus ReLU. It sees layers, not functional calls: U-Net pools
and interpolates by function, MAIN and the site classifier by layer, and with that the published figures come out.
Layers of volumes and further norms and activations are counted by analogy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch.utils.flop_counter import FlopCounterMode

Observer = Callable[[nn.Module, Tensor, Tensor], None]


@dataclass(frozen=True)
class Cost:
    """Cost of one forward pass; costs of parts add up."""

    parameters: int
    macs: int  # multiply-accumulates
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
    activation_bytes = 0

    def observe(layer: nn.Module, x: Tensor, y: Tensor) -> None:
        nonlocal activation_bytes
        activation_bytes += y.numel() * y.element_size()

    with FlopCounterMode(display=False) as counter:
        _watch(module, inputs, observe)
    return Cost(count_parameters(module), counter.get_total_flops() // 2, activation_bytes)


def saved_bytes(module: nn.Module, *inputs: Tensor) -> int:
    """Bytes of activations that ``module(*inputs)`` keeps for its backward pass, as in training; parameters apart.

    Args:
        module: any network, in the mode it is to be measured in.
        inputs: its positional arguments.
    """
    own = {tensor.untyped_storage()._cdata for tensor in (*module.parameters(), *module.buffers())}
    kept: dict[int, UntypedStorage] = {}  # holding on to them, so that no address comes twice

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module(*inputs)
    return sum(storage.nbytes() for storage in kept.values())


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
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, nn.InstanceNorm2d, nn.InstanceNorm3d, nn.GroupNorm)
_POOLS = (nn.MaxPool2d, nn.MaxPool3d)
_RECTIFIERS = (nn.ReLU, nn.LeakyReLU, nn.PReLU)
_COUNTED = (*_CONVOLUTIONS, *_TRANSPOSED, *_NORMS, *_POOLS, *_RECTIFIERS, nn.Linear, nn.Sigmoid)


def _torchstat_counts(layer: nn.Module, x: Tensor, y: Tensor) -> tuple[int, int]:
    """Multiplications plus additions, and "FLOPs", by torchstat's rules."""
    if isinstance(layer, _CONVOLUTIONS):
        taps, bias = layer.weight[0].numel(), int(layer.bias is not None)
        return y.numel() * (2 * taps - 1 + bias), y.numel() * (taps + bias)
    if isinstance(layer, _TRANSPOSED):
        macs, bias = x.numel() * layer.weight[0].numel(), y.numel() * int(layer.bias is not None)
        return 2 * macs - y.numel() + bias, macs + bias
    if isinstance(layer, nn.Linear):
        return y.numel() * (2 * layer.in_features - 1), y.numel() * layer.in_features
    if isinstance(layer, _NORMS):
        return 4 * x.numel(), 2 * x.numel()
    if isinstance(layer, _POOLS):
        window = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * (x.ndim - 2)
        return y.numel() * (math.prod(window) - 1), x.numel()
    if isinstance(layer, _RECTIFIERS):
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
