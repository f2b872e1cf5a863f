"""The most memory that a computation holds at one moment, found without computing it. Knows tensors; knows no model.

On a CPU tensors are PyTorch's fake ones and autocast is its own. A GPU is reckoned on ``meta`` tensors, with autocast's
lists of operations followed by hand, for a build without CUDA has neither.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from strokelab.networks.blocks import CONVOLUTION, TRANSPOSED

# CUDA's lists, as far as layers of ours are on them (PyTorch's page on automatic mixed precision).
_HALF = (*CONVOLUTION.values(), *TRANSPOSED.values(), nn.Linear, nn.PReLU)
_FULL = (nn.GroupNorm, nn.LayerNorm)


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, the bytes of all storages that operations make, as long as anything refers to them.

    Attributes:
        held: bytes now.
        peak: the most so far, with the workspace of each operation.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held = self.peak = 0
        self._alive: dict[int, int] = {}
        for tensor in (*module.parameters(), *module.buffers()):
            self._enter(tensor.untyped_storage())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation and note what it made."""
        result = func(*args, **(kwargs or {}))
        made = [tensor for tensor in tree_leaves(result) if isinstance(tensor, Tensor)]
        for tensor in made:
            self._enter(tensor.untyped_storage())
        self.peak = max(self.peak, self.held + _workspace(func.__name__, (*tree_leaves(args), *made)))
        return result

    def _enter(self, storage: UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._alive:
            self._alive[key] = storage.nbytes()
            self.held += storage.nbytes()
            weakref.finalize(storage, self._leave, key)

    def _leave(self, key: int) -> None:
        self.held -= self._alive.pop(key)


def _workspace(operation: str, operands: tuple[Any, ...]) -> int:
    """Bytes that an operation needs besides: a convolution has its operands in a layout of its own."""
    if "convolution" not in operation:
        return 0
    return sum(tensor.numel() * tensor.element_size() for tensor in operands if isinstance(tensor, Tensor))


@contextmanager
def without_numbers(module: nn.Module, device: str, *, half: bool = False) -> Iterator[AbstractContextManager[Any]]:
    """Inside, a module has tensors without numbers, as on a device; it is changed: give a copy.

    Args:
        module: any network.
        device: "cpu", or "cuda", which need not be there.
        half: whether forward passes are in bf16.

    Yields:
        The context of a forward pass.
    """
    fake = device == "cpu"
    with ExitStack() as stack:
        if fake:
            stack.enter_context(FakeTensorMode())
        stack.enter_context(torch.device("cpu" if fake else "meta"))
        for part in module.modules():
            for tensors in (part._parameters, part._buffers):
                tensors.update({name: _blank(tensor) for name, tensor in tensors.items() if tensor is not None})
        if half and not fake:
            _follow_cuda_autocast(module)
        yield torch.autocast("cpu", dtype=torch.bfloat16, enabled=half) if fake else nullcontext()


def _blank(tensor: Tensor) -> Any:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _follow_cuda_autocast(module: nn.Module) -> None:
    """Layers compute as under CUDA's autocast from now on, also where activations are made again."""
    weights: dict[nn.Module, dict[str, Any]] = {}  # of the layers at work

    def in_half(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        weights[layer] = own = dict(layer._parameters)
        cast: Any = {name: weight.bfloat16() for name, weight in own.items() if weight is not None}
        layer._parameters.update(cast)
        return tuple(tensor.bfloat16() for tensor in inputs)

    def as_before(layer: nn.Module, *_: Any) -> None:
        layer._parameters.update(weights.pop(layer))

    def in_full(layer: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(tensor.float() for tensor in inputs)

    for layer in module.modules():
        if isinstance(layer, _HALF):
            layer.register_forward_pre_hook(in_half)
            layer.register_forward_hook(as_before)
        elif isinstance(layer, _FULL):
            layer.register_forward_pre_hook(in_full)
