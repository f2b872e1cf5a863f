"""Activations that are made again in the backward pass instead of being kept. Knows tensors; knows no network.

A network of convolution, norm and rectifier keeps two tensors per convolution: what the norm was given, and what the
next convolution was given. The second follows from the first in one pass over memory: a step becomes a few per cent
longer and keeps half as much, which on CPUs, where large tensors are dear to get, makes it faster. Same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

_ATTRIBUTE = "made_again"  # a tensor carries its recipe with it


class Recipe:
    """How a tensor is made again.

    Args:
        make: makes it; called without gradients.
    """

    def __init__(self, make: Callable[[], Tensor]) -> None:
        self._make = make
        self._made: Tensor | None = None

    def make(self) -> Tensor:
        """The tensor, without a history of its own."""
        with torch.no_grad():
            return self._make()

    def make_once(self) -> Tensor:
        """As ``make``; handed out again until ``forget``."""
        if self._made is None:
            self._made = self.make()
        return self._made

    def forget(self) -> None:
        """Free what was made."""
        self._made = None


def normalised_and_rectified(x: Tensor, weight: Tensor, bias: Tensor, *, eps: float, slope: float) -> Tensor:
    """Leaky ReLU of the instance norm of x, keeping x alone; the result knows how it is made again.

    Args:
        x: (B, C, *S), on the CPU.
        weight: (C,).
        bias: (C,).
        eps: added to the variance.
        slope: of the rectifier below 0.
    """
    norm = _Norm(weight.detach(), bias.detach(), eps, slope)
    recipe = Recipe(norm.again)
    result = cast(Tensor, _NormalisedAndRectified.apply(x, weight, bias, norm, recipe))  # type: ignore[no-untyped-call]
    setattr(result, _ATTRIBUTE, recipe)
    return result


def joined(first: Tensor, second: Tensor) -> Tensor:
    """Channels of two tensors one after the other: (B, C, *S), (B, C', *S) -> (B, C + C', *S).

    The result knows how it is made again if the second does; the first is kept for it.
    """
    result = torch.cat([first, second], dim=1)
    recipe: Recipe | None = getattr(second, _ATTRIBUTE, None)
    if recipe is not None:
        kept = first.detach()
        setattr(result, _ATTRIBUTE, Recipe(lambda: torch.cat([kept, recipe.make()], dim=1)))
    return result


def not_keeping(x: Tensor) -> AbstractContextManager[Any]:
    """Inside, an operation that would keep x for its backward pass keeps x's recipe, if it has one."""
    recipe: Recipe | None = getattr(x, _ATTRIBUTE, None)
    if recipe is None:
        return nullcontext()
    address, shape = x.data_ptr(), x.shape  # not x itself: the hooks live as long as the graph

    def pack(tensor: Tensor) -> Tensor | Recipe:
        return recipe if tensor.data_ptr() == address and tensor.shape == shape else tensor

    def unpack(kept: Tensor | Recipe) -> Tensor:
        return kept.make_once() if isinstance(kept, Recipe) else kept

    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


class _Norm:
    """Instance norm and rectifier of one tensor: settings, and statistics once it was applied."""

    def __init__(self, weight: Tensor, bias: Tensor, eps: float, slope: float) -> None:
        self.weight, self.bias, self.eps, self.slope = weight, bias, eps, slope
        self.x: Tensor | None = None
        self.mean = self.scale = torch.empty(0)

    def apply(self, x: Tensor) -> Tensor:
        """(B, C, *S) to the same; x and its statistics stay here."""
        self.x = x.detach().contiguous()
        normal, self.mean, self.scale = torch.native_batch_norm(
            _flat(self.x), *self._repeated(self.x), None, None, True, 0.0, self.eps
        )
        return functional.leaky_relu_(normal.view_as(x), self.slope)

    def again(self) -> Tensor:
        """What ``apply`` gave."""
        x, variance = self._given(), self.scale.pow(-2) - self.eps
        normal, _, _ = torch.native_batch_norm(_flat(x), *self._repeated(x), self.mean, variance, False, 0.0, self.eps)
        return functional.leaky_relu_(normal.view_as(x), self.slope)

    def gradients(self, gradient: Tensor, result: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of x, weight and bias, from that of the result; x is let go."""
        x, self.x = self._given(), None  # now, and not when the whole graph goes
        gradient = torch.ops.aten.leaky_relu_backward(gradient.contiguous(), result, self.slope, True)
        weight, statistics = self._repeated(x)[0], (None, None, self.mean, self.scale)
        by_x, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            _flat(gradient), _flat(x), weight, *statistics, True, self.eps, [True, True, True]
        )
        channels = len(self.weight)
        return by_x.view_as(x), by_weight.view(-1, channels).sum(0), by_bias.view(-1, channels).sum(0)

    def _given(self) -> Tensor:
        if self.x is None:
            raise RuntimeError("what the backward pass needs was let go: it runs once (no retain_graph)")
        return self.x

    def _repeated(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight.repeat(len(x)), self.bias.repeat(len(x))


def _flat(x: Tensor) -> Tensor:
    """Every channel of every sample a channel of one sample: its batch norm is the instance norm."""
    return x.view(1, -1, *x.shape[2:])


class _NormalisedAndRectified(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: _Norm, recipe: Recipe) -> Tensor:
        ctx.norm, ctx.recipe = norm, recipe
        return norm.apply(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        result = ctx.recipe.make_once()  # the convolution behind has just made it, for its own gradient
        ctx.recipe.forget()
        return *ctx.norm.gradients(gradient, result), None, None
