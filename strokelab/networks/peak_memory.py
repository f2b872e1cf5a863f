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
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

# CUDA's lists, as far as networks of ours call them (PyTorch's page on automatic mixed precision).
_HALF = frozenset(
    f"conv{kind}{axes}d" for kind in ("", "_transpose") for axes in (1, 2, 3)
) | {"linear", "matmul", "bmm", "addmm", "prelu"}  # fmt: skip
_FULL = frozenset({"group_norm", "layer_norm", "softmax", "log_softmax", "cross_entropy", "softplus"})


class Ledger(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Inside, the bytes of all storages that operations make, as long as somebody holds them.

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
        if half and not fake:  # in the backward pass, too, which sees it where it makes activations again
            stack.enter_context(_CudaAutocast())
        yield torch.autocast("cpu", dtype=torch.bfloat16, enabled=half) if fake else nullcontext()


def _blank(tensor: Tensor) -> Any:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


class _CudaAutocast(TorchFunctionMode):
    """bf16 as CUDA's autocast has it; weights are cast once."""

    def __init__(self) -> None:
        super().__init__()
        self._cast: dict[int, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, kwargs = getattr(func, "__name__", ""), kwargs or {}
        dtype = torch.bfloat16 if name in _HALF else torch.float32 if name in _FULL else None
        if dtype is not None:
            args, kwargs = tree_map(lambda value: self._as(value, dtype), (args, kwargs))
        return func(*args, **kwargs)

    def _as(self, value: Any, dtype: torch.dtype) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == dtype:
            return value
        if not isinstance(value, nn.Parameter):
            return value.to(dtype)
        return self._cast.setdefault(id(value), value.to(dtype))
