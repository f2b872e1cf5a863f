"""Gradient reversal: identity forward, minus the strength times the gradient backward. Knows nothing else.

Ganin and Lempitsky 2015; in SG-Net with strength 1 (Yu 2022, section II-D).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)  # a new tensor object: autograd would otherwise skip this node

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """``x`` itself; whatever gradient comes back is multiplied by ``-strength`` before it passes on.

    Args:
        x: features of any shape.
        strength: lambda of the papers, 0 or more; 0 cuts the path.
    """
    return cast(Tensor, _Reverse.apply(x, strength))  # type: ignore[no-untyped-call]
