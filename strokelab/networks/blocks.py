"""Units that at least two networks share, in 2D and 3D. Knows layers; knows no network.

A "block" is a 3x3 convolution with stride 1, padding 1 and *no bias*, batch norm (eps 1e-5), then ReLU
(Yu 2022, section II-E; that the bias is absent follows from the published costs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypedDict

import torch
from torch import Tensor, nn

from strokelab.errors import ConfigError

CONVOLUTION: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH_NORM: dict[int, type[nn.BatchNorm2d] | type[nn.BatchNorm3d]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
INSTANCE_NORM: dict[int, type[nn.InstanceNorm2d] | type[nn.InstanceNorm3d]] = {
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}
TRANSPOSED: dict[int, type[nn.ConvTranspose2d] | type[nn.ConvTranspose3d]] = {
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
MEAN_POOL: dict[int, type[nn.AvgPool2d] | type[nn.AvgPool3d]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
MAX_POOL: dict[int, type[nn.MaxPool2d] | type[nn.MaxPool3d]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}


class BatchNorms(TypedDict):
    """Settings of a batch norm and of the convolution before it, as ``conv_block`` takes them."""

    bias: bool
    bn_eps: float
    bn_momentum: float


KERAS: Final[BatchNorms] = {"bias": True, "bn_eps": 1e-3, "bn_momentum": 0.01}
"""Keras' defaults (its momentum of 0.99 is the weight of the old statistics)."""
KERAS_WITHOUT_BIAS: Final[BatchNorms] = {**KERAS, "bias": False}


def conv_block(
    in_channels: int,
    out_channels: int,
    *,
    dimensions: int = 2,
    kernel: int = 3,
    bias: bool = False,
    bn_eps: float = 1e-5,
    bn_momentum: float | None = 0.1,
    relu: bool = True,
) -> nn.Sequential:
    """Convolution, batch norm, ReLU: (B, in_channels, *S) -> (B, out_channels, *S).

    Args:
        in_channels: channels of the input.
        out_channels: number of filters.
        dimensions: 2 for slices, 3 for volumes.
        kernel: side of the filters, odd; the padding keeps S.
        bias: whether the convolution has one, in spite of the norm after it.
        bn_eps: of the norm.
        bn_momentum: weight of the newest batch in the running statistics; None: the plain mean over all batches.
        relu: whether the block ends with its ReLU.
    """
    layers: list[nn.Module] = [
        CONVOLUTION[dimensions](in_channels, out_channels, kernel_size=kernel, padding=kernel // 2, bias=bias),
        BATCH_NORM[dimensions](out_channels, eps=bn_eps, momentum=bn_momentum),
    ]
    if relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def double_block(
    in_channels: int,
    out_channels: int,
    *,
    dimensions: int = 2,
    bias: bool = False,
    bn_eps: float = 1e-5,
    bn_momentum: float | None = 0.1,
) -> nn.Sequential:
    """Two blocks in a row, the unit of every U-Net stage: (B, in_channels, *S) -> (B, out_channels, *S)."""
    return nn.Sequential(
        *(
            conv_block(channels, out_channels, dimensions=dimensions, bias=bias, bn_eps=bn_eps, bn_momentum=bn_momentum)
            for channels in (in_channels, out_channels)
        )
    )


def he_normal_(network: nn.Module, *, truncated: bool = False) -> None:
    """Weights of every convolution from a normal distribution of variance 2 / fan-in, every bias 0: Keras' He normal.

    Args:
        network: changed in place.
        truncated: cut the distribution at two of its standard deviations, and widen it so that the variance stays.
    """
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
            sd = math.sqrt(2 / layer.weight[0].numel())
            with torch.no_grad():
                if truncated:
                    sd /= 0.87962566103423978  # the standard deviation of a normal distribution that is cut at two
                    nn.init.trunc_normal_(layer.weight, std=sd, a=-2 * sd, b=2 * sd)
                else:
                    nn.init.normal_(layer.weight, std=sd)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)


def check_halvings(image: Tensor, divisors: Sequence[int], where: str, remedy: str) -> None:
    """Every axis of an image (B, C, *S) can be halved as often as a network does.

    Args:
        image: that the network is given.
        divisors: of the network, the same power of 2 for each axis.
        where: the network's name.
        remedy: what to change.

    Raises:
        ConfigError: another number of axes, or a length that is no multiple.
    """
    size, factor = tuple(image.shape[2:]), divisors[0]
    if len(size) != len(divisors) or any(length % factor for length in size):
        raise ConfigError(
            f"{where} input",
            found=f"{len(size)} axes of sizes {size}",
            expected=f"{len(divisors)} axes, each divisible by {factor} (depth {factor.bit_length()})",
            remedy=remedy,
        )


def check_dimensions(dimensions: int, where: str) -> None:
    """Networks are built for slices or volumes.

    Raises:
        ConfigError: anything but 2 or 3.
    """
    if dimensions not in CONVOLUTION:
        raise ConfigError(
            where,
            found=f"dimensions={dimensions}",
            expected="2 (slices) or 3 (volumes)",
            remedy="set dimensions to 2 or 3",
        )
