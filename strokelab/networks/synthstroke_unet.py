"""SynthStroke's residual 3D U-Net, MONAI's ``UNet`` layer by layer. Knows volumes; knows no classes and no contrasts.

Chalcroft 2024, section 7 of docs/methods/synthstroke.md. A "unit" is a convolution 3^3 with bias, instance norm (eps
1e-5, without weights), element-wise dropout, and a leaky rectifier whose one slope is learned.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import check_halvings


@buildable("model")
class SynthStrokeUNet(nn.Module):
    """Residual U-Net with ``forward(image) == decode(encode(image))``: (B, C, X, Y, Z) -> logits (B, K, X, Y, Z).

    There is no skip connection at full resolution, since the first block strides already.

    Args:
        in_channels: C.
        out_channels: K, softmax over them; 6: background, four tissues, lesion; 2: background and lesion.
        channels: of the encoder blocks and, last, of the block at the bottom, which does not stride.
        strides: of the encoder blocks, one for each.
        dropout: probability that a value is set to 0 while training.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first; the last two have one resolution.
        dimensions: 3.
        divisors: what each side of the image must be divisible by.
        shortest: the shortest side: two voxels are left of it at the bottom, whose mean and SD are taken.

    Raises:
        ConfigError: fewer than two blocks, a number of strides that does not fit, or a dropout of 1 or more.

    Source: Chalcroft 2024, released code; 18,623,079 parameters with 6 maps, 18,615,295 with 2 (1 channel).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 6,
        *,
        channels: Sequence[int] = (32, 64, 128, 256, 320, 320),
        strides: Sequence[int] = (2, 2, 2, 2, 2),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        _check_settings(channels, strides, dropout)
        self.dimensions = 3
        self.feature_channels = widths = tuple(channels)
        self.divisors = (math.prod(strides),) * 3
        self.shortest = tuple(2 * by for by in self.divisors)
        inputs = (in_channels, *widths[:-1])
        self.encoder = nn.ModuleList(
            DownBlock(before, after, stride, dropout)
            for before, after, stride in zip(inputs, widths, (*strides, 1), strict=True)
        )
        outputs = (out_channels, *widths[:-2])  # of the decoder blocks, finest first
        joined = (*(2 * width for width in widths[:-2]), widths[-2] + widths[-1])
        self.decoder = nn.ModuleList(
            UpBlock(before, after, stride, dropout, head=level == 0)
            for level, (before, after, stride) in reversed(list(enumerate(zip(joined, outputs, strides, strict=True))))
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of an image (B, C, X, Y, Z)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every block, finest first: the k-th is (B, channels[k], *S / the first k + 1 strides).

        Raises:
            ConfigError: a side is not divisible by ``divisors``, or below ``shortest``.
        """
        self._check_size(image)
        features: list[Tensor] = []
        for block in self.encoder:
            features.append(block(features[-1] if features else image))
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, X, Y, Z) from what ``encode`` returned."""
        *skips, x = features
        for block, skip in zip(self.decoder, reversed(skips), strict=True):
            x = block(torch.cat([skip, x], dim=1))
        return x

    def _check_size(self, image: Tensor) -> None:
        remedy = "change view.sampler.size and the windows' patch, or model.network.strides"
        check_halvings(image, self.divisors, "SynthStrokeUNet", remedy)
        if min(image.shape[2:]) < self.shortest[0]:
            raise ConfigError(
                "SynthStrokeUNet input",
                found=f"sizes {tuple(image.shape[2:])}",
                expected=f"sides of at least {self.shortest[0]}, so that more than one voxel is left at the bottom",
                remedy=remedy,
            )


class Unit(nn.Module):
    """Convolution (or its transpose) 3^3, instance norm, dropout, rectifier: (B, C, *S) -> (B, C', *(S / stride)).

    Args:
        convolution: with bias; its stride decides on the size.
        dropout: as the network's.
    """

    def __init__(self, convolution: nn.Conv3d | nn.ConvTranspose3d, dropout: float) -> None:
        super().__init__()
        self.conv = convolution
        self.norm = nn.InstanceNorm3d(convolution.out_channels, eps=1e-5)
        self.dropout = nn.Dropout(dropout)
        self.rectifier = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C', *S / stride), or times it for a transposed convolution."""
        rectified: Tensor = self.rectifier(self.dropout(self.norm(self.conv(x))))
        return rectified


class DownBlock(nn.Module):
    """A unit beside its shortcut: (B, C, *S) -> (B, C', *S / stride).

    The shortcut is a convolution 3^3 of the same stride; without stride a pointwise one, or nothing where C = C'.

    Args:
        in_channels: C.
        out_channels: C'.
        stride: of unit and shortcut.
        dropout: as the network's.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.unit = Unit(nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1), dropout)
        if stride > 1:
            self.shortcut: nn.Module = nn.Conv3d(in_channels, out_channels, 3, stride=stride, padding=1)
        elif in_channels != out_channels:
            self.shortcut = nn.Conv3d(in_channels, out_channels, 1)
        else:
            self.shortcut = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C', *S / stride)."""
        total: Tensor = self.unit(x) + self.shortcut(x)
        return total


class UpBlock(nn.Module):
    """A transposed unit, then a unit beside the identity: (B, C, *S) -> (B, C', *S * stride).

    Args:
        in_channels: C.
        out_channels: C'.
        stride: what multiplies the size.
        dropout: as the network's.
        head: the second unit is its convolution alone, so that logits have any sign.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, dropout: float, *, head: bool) -> None:
        super().__init__()
        up = nn.ConvTranspose3d(in_channels, out_channels, 3, stride=stride, padding=1, output_padding=stride - 1)
        self.up = Unit(up, dropout)
        convolution = nn.Conv3d(out_channels, out_channels, 3, padding=1)
        self.unit = convolution if head else Unit(convolution, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, *S) -> (B, C', *S * stride)."""
        x = self.up(x)
        total: Tensor = self.unit(x) + x
        return total


def _check_settings(channels: Sequence[int], strides: Sequence[int], dropout: float) -> None:
    numbers = [*channels, *strides]
    whole = all(isinstance(number, int) and number > 0 for number in numbers)
    if len(channels) < 2 or len(strides) != len(channels) - 1 or not whole or not 0 <= dropout < 1:
        raise ConfigError(
            "SynthStrokeUNet",
            found=f"channels {list(channels)}, strides {list(strides)}, dropout {dropout}",
            expected="two blocks or more, a stride for each but the last, a dropout from 0 to below 1",
            remedy="leave them as conf/model/synthstroke.yaml has them",
        )
