"""The U-Net with an identity around the second convolution of every stage: "ResUNet" of Yu 2022, Table V."""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.networks.blocks import conv_block
from strokelab.networks.unet import UNet


class ResidualStage(nn.Sequential):
    """ReLU(a + norm(conv(a))) with a = block(x): (B, in_channels, *S) -> (B, out_channels, *S).

    Args:
        in_channels: of the input.
        out_channels: number of filters.
        dimensions: 2 for slices, 3 for volumes.
    """

    def __init__(self, in_channels: int, out_channels: int, *, dimensions: int = 2) -> None:
        super().__init__(
            conv_block(in_channels, out_channels, dimensions=dimensions),
            conv_block(out_channels, out_channels, dimensions=dimensions, relu=False),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, *S) -> (B, out_channels, *S)."""
        first, second, relu = self
        before = first(x)
        return cast(Tensor, relu(before + second(before)))


@buildable("model")
class ResUNet(UNet):
    """``UNet`` whose stages are residual; settings, shapes, parameters and errors are the U-Net's.

    Source: Yu 2022, Table V, whose costs fit identities without parameters (28,947,521 parameters). Where the
    identities attach is not printed, nor whether the ReLU follows the sum: both are ours.
    """

    _stage = ResidualStage
