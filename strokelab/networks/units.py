"""nnU-Net's unit: convolution, instance norm, leaky ReLU. Knows layers; knows no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from strokelab.networks.blocks import CONVOLUTION, INSTANCE_NORM
from strokelab.networks.recompute import normalised_and_rectified, not_keeping

SLOPE = 0.01


class Unit(nn.Module):
    """Convolution with bias, instance norm (eps 1e-5, affine), leaky ReLU (0.01): (B, C, *S) -> (B, C', *S / stride).

    Args:
        in_channels: C.
        out_channels: C'.
        kernel: odd lengths, one per axis; their number makes the unit 2D or 3D.
        stride: one per axis; None: 1.
        bias: whether the convolution has one.
        rectified: whether the unit ends with its leaky ReLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: Sequence[int],
        stride: Sequence[int] | None = None,
        bias: bool = True,
        rectified: bool = True,
    ) -> None:
        super().__init__()
        self.conv = CONVOLUTION[len(kernel)](
            in_channels,
            out_channels,
            kernel_size=tuple(kernel),  # type: ignore[arg-type]
            stride=tuple(stride or (1,) * len(kernel)),  # type: ignore[arg-type]
            padding=tuple(length // 2 for length in kernel),  # type: ignore[arg-type]
            bias=bias,
        )
        self.norm = INSTANCE_NORM[len(kernel)](out_channels, eps=1e-5, affine=True)
        self.rectifier = nn.LeakyReLU(SLOPE, inplace=True) if rectified else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C', *S / stride)."""
        with not_keeping(x):
            x = self.conv(x)
        if self.rectifier is None:
            return cast(Tensor, self.norm(x))
        if x.device.type == "cpu" and x.requires_grad:
            norm = self.norm
            return normalised_and_rectified(x, norm.weight, norm.bias, eps=norm.eps, slope=SLOPE)
        return cast(Tensor, self.rectifier(self.norm(x)))
