"""What a network costs: parameters, multiply-adds, activation memory. Knows layers and shapes; runs on ``meta`` too.

Two readings. ``cost_of`` is the honest one: multiply-accumulates that PyTorch itself counts (``torch.utils``), of
convolutions, linear layers and matrix products, functional ones too, and bytes of all layer outputs.
``torchstat_reading`` reproduces what the counter torchstat prints, the columns "memory", "MACC" and
"FLOPs" of Yu 2022, Tables IV and V: memory in MiB of float32 outputs for one sample, "MACC" multiplications *plus*
additions (about twice the MACs), "FLOPs" MACs plus batch norm plus rectifiers. It sees layers, not functional calls,
and of a layer that is called several times the last call: U-Net pools and interpolates by function, MAIN and the site
classifier by layer, DeepLabv3+ has one ReLU in each bottleneck, and with that the published figures come out. Memory is
that of every layer; transposed convolutions and instance norm have no FLOPs. Layers of volumes are counted as those of
slices, which torchstat itself does not.
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
    """What torchstat prints for ``module(*inputs)``: of every layer that was called, its last call.

    Give one sample, as the paper did, and the U-Net as ``nn.Sequential(unet, nn.Sigmoid())``: the paper's network ends
    with its sigmoid, ours returns logits.
    """
    last: dict[nn.Module, tuple[Tensor, Tensor]] = {}

    def observe(layer: nn.Module, x: Tensor, y: Tensor) -> None:
        last[layer] = (x, y)

    _watch(module, inputs, observe)
    memory = madds = flops = 0
    for layer, (x, y) in last.items():
        if not isinstance(layer, _NOTHING):
            memory += 4 * y.numel()
            madds += _torchstat_madds(layer, x, y)
            flops += _torchstat_flops(layer, x, y)
    return TorchstatReading(memory, madds, flops)


_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)
_NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
_MAX_POOLS, _MEAN_POOLS = (nn.MaxPool2d, nn.MaxPool3d), (nn.AvgPool2d, nn.AvgPool3d)
_RECTIFIERS = (nn.ReLU, nn.LeakyReLU, nn.PReLU)
_NOTHING = (nn.Identity, nn.Flatten)  # SG-Net's memory comes out without them


def _torchstat_madds(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """Multiplications plus additions by torchstat's rules; 0 for what it has no rule for, instance norm among it."""
    if isinstance(layer, _CONVOLUTIONS):
        return y.numel() * (2 * layer.weight[0].numel() - 1 + int(layer.bias is not None))
    if isinstance(layer, _TRANSPOSED):
        taps = layer.weight[:, 0].numel()
        return x[0, 0].numel() * len(x) * layer.out_channels * (2 * taps - 1 + int(layer.bias is not None))
    if isinstance(layer, nn.Linear):
        return y.numel() * (2 * layer.in_features - 1)
    if isinstance(layer, _NORMS):
        return 4 * x.numel()
    if isinstance(layer, _MAX_POOLS):
        return y.numel() * (_window(layer.kernel_size, x) - 1)
    if isinstance(layer, _MEAN_POOLS):
        return y.numel() * _window(layer.kernel_size, x)
    return x.numel() if isinstance(layer, nn.ReLU) else 0


def _torchstat_flops(layer: nn.Module, x: Tensor, y: Tensor) -> int:
    """What torchstat calls FLOPs; 0 for what it has no rule for, transposed convolutions and instance norm among it."""
    if isinstance(layer, _CONVOLUTIONS):
        return y.numel() * (layer.weight[0].numel() + int(layer.bias is not None))
    if isinstance(layer, nn.Linear):
        return y.numel() * layer.in_features
    if isinstance(layer, _NORMS):
        return 2 * x.numel()
    if isinstance(layer, nn.Upsample):
        return y[0, 0].numel()
    return x.numel() if isinstance(layer, (*_MAX_POOLS, *_MEAN_POOLS, *_RECTIFIERS)) else 0


def _window(kernel: int | tuple[int, ...], x: Tensor) -> int:
    return math.prod(kernel) if isinstance(kernel, tuple) else int(kernel ** (x.ndim - 2))


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
