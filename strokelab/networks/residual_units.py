"""The residual block of nnU-Net's encoder: two units, the second rectified after the sum. Knows layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional

from strokelab.networks.blocks import MEAN_POOL
from strokelab.networks.units import SLOPE, Unit

Shortcut = Literal["strided", "pooled"]


class ResidualBlock(nn.Module):
    """Unit (with the stride), convolution and norm, plus the shortcut, leaky ReLU: (B, C, *S) -> (B, C', *S / stride).

    Args:
        in_channels: C.
        out_channels: C'.
        kernel: odd lengths, one per axis.
        stride: one per axis.
        shortcut: where stride or width change. "strided": a pointwise convolution of that stride without bias, and
            norm (nnU-Net v1); "pooled": the mean over the stride, then the same convolution without stride where the
            width changes (nnU-Net v2, after ResNet-D). Otherwise the identity.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int],
        shortcut: Shortcut = "strided",
    ) -> None:
        super().__init__()
        self.first = Unit(in_channels, out_channels, kernel=kernel, stride=stride)
        self.second = Unit(out_channels, out_channels, kernel=kernel, rectified=False)
        self.shortcut = _shortcut(in_channels, out_channels, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C', *S / stride)."""
        total = self.second(self.first(x)) + self.shortcut(x)
        return functional.leaky_relu(total, SLOPE, inplace=True)


def _shortcut(in_channels: int, out_channels: int, stride: Sequence[int], kind: Shortcut) -> nn.Module:
    point = [1] * len(stride)
    strided, widened = set(stride) != {1}, in_channels != out_channels
    if kind == "strided":
        if not strided and not widened:
            return nn.Identity()
        return Unit(in_channels, out_channels, kernel=point, stride=stride, bias=False, rectified=False)
    steps: list[nn.Module] = []
    if strided:
        over: Any = tuple(stride)  # of 2 or of 3: torch's types tell the two apart
        steps.append(MEAN_POOL[len(stride)](over, over))
    if widened:
        steps.append(Unit(in_channels, out_channels, kernel=point, bias=False, rectified=False))
    return nn.Sequential(*steps)
