"""The residual trunk of PSPNet and DeepLabv3+: bottlenecks that keep resolution by dilation. Knows images alone.

He 2016, with the deep stem and the dilations of the two networks' released codes. Everything is batch norm (eps 1e-5,
momentum 0.1) behind convolutions without bias.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional

from strokelab.distributed import world_size
from strokelab.errors import ConfigError

Stem = Literal["plain", "deep"]
EXPANSION = 4  # a bottleneck's output is so many times as wide as what is inside it
_STRIDES = {8: (1, 2, 1, 1), 16: (1, 2, 2, 1)}
_DILATIONS = {8: (1, 1, 2, 4), 16: (1, 1, 1, 2)}
_MOST_BLOCKS = 64  # in a layer; more is a slip, or meant to keep a machine busy with building them


class ResNet(nn.Module):
    """(B, C, Y, X) -> the features of its four layers, finest first.

    Args:
        in_channels: C.
        layers: bottlenecks of each of the four layers: [3, 4, 6, 3] is ResNet-50, [3, 4, 23, 3] ResNet-101.
        base: width inside the first layer's bottlenecks; doubled from layer to layer, and four times that come out.
        stem: "plain": a convolution of 7 x 7; "deep": three of 3 x 3, the last twice as wide. Both divide by 4.
        output_stride: what the sides are divided by in the end, 8 or 16; the layers behind dilate instead.
        multi_grid: factors on the dilation of the last layer's bottlenecks; the last is repeated.

    Attributes:
        feature_channels: of the four layers.

    Raises:
        ConfigError: not four layers of 1 to 64 blocks, or another output stride.

    Source: He 2016; Zhao 2017 and Chen 2018, released codes.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        layers: Sequence[int],
        base: int = 64,
        stem: Stem = "plain",
        output_stride: int = 8,
        multi_grid: Sequence[int] = (1,),
    ) -> None:
        super().__init__()
        _check_settings(layers, output_stride)
        self.feature_channels = tuple(EXPANSION * base * 2**level for level in range(4))
        self.stem = _stem(stem, in_channels, base)
        self.layers = nn.ModuleList()
        before = base if stem == "plain" else 2 * base
        for level, blocks in enumerate(layers):
            stride, dilation = _STRIDES[output_stride][level], _DILATIONS[output_stride][level]
            grid = multi_grid if level == 3 else (1,)
            width = base * 2**level
            self.layers.append(
                nn.Sequential(
                    *(
                        Bottleneck(
                            EXPANSION * width if block else before,
                            width,
                            stride=1 if block else stride,
                            dilation=dilation * grid[min(block, len(grid) - 1)],
                        )
                        for block in range(blocks)
                    )
                )
            )
            before = EXPANSION * width

    def forward(self, image: Tensor) -> list[Tensor]:
        """Features of the four layers, (B, 4 base 2**k, Y / s, X / s) with s = 4, 8, then up to the output stride."""
        x = self.stem(image)
        features: list[Tensor] = []
        for layer in self.layers:
            x = layer(x)
            features.append(x)
        return features


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions beside the identity: (B, in_channels, Y, X) -> (B, 4 width, Y / s, X / s).

    Args:
        in_channels: of the input.
        width: of the first two convolutions.
        stride: s, of the second convolution and of the shortcut.
        dilation: of the second convolution.
    """

    def __init__(self, in_channels: int, width: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.first = nn.Sequential(nn.Conv2d(in_channels, width, kernel_size=1, bias=False), nn.BatchNorm2d(width))
        self.second = nn.Sequential(
            nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=dilation, dilation=dilation, bias=False),
            nn.BatchNorm2d(width),
        )
        self.third = nn.Sequential(
            nn.Conv2d(width, out_channels, kernel_size=1, bias=False), nn.BatchNorm2d(out_channels)
        )
        self.relu = nn.ReLU(inplace=True)  # one for all three, as torchstat counted it (the last call of each layer)
        self.shortcut: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False),
                nn.BatchNorm2d(out_channels),
            )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, Y, X) -> (B, 4 width, Y / s, X / s)."""
        inside = self.relu(self.second(self.relu(self.first(x))))
        beside = x if self.shortcut is None else self.shortcut(x)
        return cast(Tensor, self.relu(self.third(inside) + beside))


def cbr(in_channels: int, out_channels: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias that keeps the sides, batch norm, ReLU: (B, C, Y, X) -> (B, C', Y / s, X / s)."""
    return nn.Sequential(
        nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size=kernel,
            stride=stride,
            padding=dilation * (kernel // 2),
            dilation=dilation,
            bias=False,
        ),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear interpolation that keeps the corners (``align_corners``): (B, C, Y, X) -> (B, C, *size)."""
    return functional.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)


def check_samples(image: Tensor, least: int, where: str) -> None:
    """A training batch has as many samples in this process as its batch norms of one value per sample need.

    Raises:
        ConfigError: it has fewer.
    """
    if len(image) < least:
        raise ConfigError(
            f"{where} training",
            found=f"{len(image)} sample in the batch of one process, of {world_size()}",
            expected=f"{least} or more: its image-level branch has one value per sample and channel, and no variance",
            remedy="use a larger data.batch_size, or fewer devices; add ++data.drop_last=true where the last step of "
            "an epoch is not full",
        )


def check_sides(image: Tensor, divisor: int, where: str, *, or_one_more: bool = False) -> None:
    """An image (B, C, Y, X) can be divided as often as a trunk does.

    Args:
        image: that the network is given.
        divisor: of both sides.
        where: the network's name.
        or_one_more: sides of one more than a multiple will do as well.

    Raises:
        ConfigError: another number of axes, or a length that is no multiple.
    """
    size = tuple(image.shape[2:])
    if len(size) != 2 or any(length < divisor or length % divisor > or_one_more for length in size):
        raise ConfigError(
            f"{where} input",
            found=f"{len(size)} axes of sizes {size}",
            expected=f"2 axes, each divisible by {divisor}",
            remedy="change view.preparation.crop; a hemisphere is half the crop's width",
        )


def he_fan_out(network: nn.Module) -> None:
    """Weights of all convolutions: normal of variance 2 / (taps times outputs)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / (layer.weight[0, 0].numel() * layer.out_channels)))


def _stem(kind: Stem, in_channels: int, base: int) -> nn.Sequential:
    pool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
    if kind == "plain":
        return nn.Sequential(*cbr(in_channels, base, 7, stride=2), pool)
    return nn.Sequential(*cbr(in_channels, base, 3, stride=2), *cbr(base, base, 3), *cbr(base, 2 * base, 3), pool)


def _check_settings(layers: Sequence[int], output_stride: int) -> None:
    if len(layers) != 4 or not all(1 <= blocks <= _MOST_BLOCKS for blocks in layers):
        raise ConfigError(
            "model.network.layers",
            found=str(list(layers)),
            expected=f"four numbers of 1 to {_MOST_BLOCKS}",
            remedy="set model.network.layers=[3,4,6,3]",
        )
    if output_stride not in _STRIDES:
        raise ConfigError(
            "model.network.output_stride",
            found=str(output_stride),
            expected="8 or 16",
            remedy="set model.network.output_stride=16",
        )
