"""Multi-path 2.5D CNN: a network of slices for one path, and the network of volumes that combines nine. Knows images.

Xue 2020 ("A multi-path 2.5 dimensional convolutional neural network system for segmenting stroke lesions in brain MRI
images"), as the authors' public code has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import check_halvings

_UNITS = (1, 3, 3, 3, 2)  # of each stage of an encoder


@buildable("model")
class MultiPath25D(nn.Module):
    """One path, ``forward(image) == decode(encode(image))``: slices (B, C, Y, X) -> logits (B, K, Y, X).

    The image and a second channel have an encoder each, whose features are fused at every stage, by the same weights.

    Args:
        in_channels: C; 2: image and second channel, 1: the second one is the slice mirrored from left to right.
        mirrored: False: with one channel, the second one is the slice itself, as of sagittal slices.
        out_channels: K; 2: background and lesion.
        base: channels of every stage.
        depth: number of stages, 2 to 5; Y and X must be divisible by 2 ** (depth - 1).
        dropout: share of channels that training leaves out after each decoder stage.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: 2.
        divisors: what Y and X must be a multiple of.

    Raises:
        ConfigError: another number of channels or stages.

    Source: Xue 2020, released code (base 32, depth 5: 316,224 parameters).
    """

    dimensions = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 2,
        *,
        mirrored: bool = True,
        base: int = 32,
        depth: int = 5,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if in_channels not in (1, 2) or not 2 <= depth <= len(_UNITS):
            raise ConfigError(
                "MultiPath25D",
                found=f"{in_channels} channels, depth={depth}",
                expected=f"one channel, or an image and a second one; 2 to {len(_UNITS)} stages",
                remedy="choose one or two modalities, e.g. data.modalities=[T1w], and model.network.depth=5",
            )
        self.in_channels, self.mirrored = in_channels, mirrored
        self.divisors = (2 ** (depth - 1),) * 2
        self.feature_channels = (base,) * depth
        self.encoders = nn.ModuleList(_encoder(base, depth) for _ in range(2))
        self.fusion = nn.Conv3d(base, base, kernel_size=(2, 1, 1), bias=False)
        self.fusion_norm = nn.BatchNorm2d(base)
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(base, base, kernel_size=2, stride=2, bias=False) for _ in range(depth - 1)
        )
        self.decoder = nn.ModuleList(
            nn.Sequential(*_unit(base), *_unit(base), nn.Dropout2d(dropout)) for _ in range(depth - 1)
        )
        self.head = nn.Conv2d(base, out_channels, kernel_size=1, bias=False)
        _he_fan_out(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, Y, X) of an image (B, C, Y, X)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Fused features of every stage, finest first: the k-th is (B, base, Y/2^k, X/2^k).

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(image, self.divisors, "MultiPath25D", "change view.preparation.crop or model.network.depth")
        pair = image.chunk(2, dim=1) if self.in_channels == 2 else (image, image.flip(3) if self.mirrored else image)
        stages: list[list[Tensor]] = []
        for x, encoder in zip(pair, self.encoders, strict=True):
            features: list[Tensor] = []
            for stage in encoder.children():
                features.append(stage(F.avg_pool2d(features[-1], 2) if features else x))
            stages.append(features)
        return [self._fused(one, other) for one, other in zip(*stages, strict=True)]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, Y, X) from what ``encode`` returned."""
        *skips, x = features
        for skip, up, stage in zip(reversed(skips), self.ups, self.decoder, strict=True):
            x = stage(skip + up(x))
        logits: Tensor = self.head(x)
        return logits

    def _fused(self, one: Tensor, other: Tensor) -> Tensor:
        fused: Tensor = self.fusion_norm(self.fusion(torch.stack([one, other], dim=2).relu())[:, :, 0])
        return fused


@buildable("model")
class MultiPathCombiner(nn.Module):
    """What nine paths found, and what they were given, to one segmentation: (B, C, X, Y, Z) -> logits (B, K, X, Y, Z).

    Args:
        in_channels: C; 27: of each path its mask and its two normalised inputs, paths in the order (XY, ZX, ZY) x
            (each slice, each pixel along the normal, both).
        out_channels: K; 2: background and lesion.
        base: channels of the features; the first convolution makes four times as many.

    Attributes:
        feature_channels: channels of what ``encode`` returns.
        dimensions: 3.
        divisors: 1 for each axis.

    Source: Xue 2020, released code (35,721 parameters).
    """

    dimensions = 3
    divisors = (1, 1, 1)

    def __init__(self, in_channels: int = 27, out_channels: int = 2, *, base: int = 9) -> None:
        super().__init__()
        self.feature_channels = (base,)
        few, wide = base, 4 * base
        self.body = nn.Sequential(*_normalised(in_channels, wide, 3), nn.ReLU(inplace=True), *_normalised(wide, few, 3))
        self.shortcut = nn.Sequential(*_normalised(in_channels, few, 1))
        self.head = nn.Conv3d(few, out_channels, kernel_size=3, padding=1, bias=False)
        _he_fan_out(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, X, Y, Z) of (B, C, X, Y, Z)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """The one map of features (B, base, X, Y, Z)."""
        return [(self.body(image) + self.shortcut(image)).relu()]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, X, Y, Z) from what ``encode`` returned."""
        logits: Tensor = self.head(features[-1])
        return logits


def _unit(channels: int) -> list[nn.Module]:
    """ReLU, convolution, norm; the input is read again by others, so that the ReLU is not in place."""
    return [nn.ReLU(), nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(channels)]


def _encoder(channels: int, depth: int) -> nn.Sequential:
    stem = [nn.Conv2d(1, channels, kernel_size=3, padding=1, bias=False), nn.BatchNorm2d(channels)]
    units = [[layer for _ in range(count) for layer in _unit(channels)] for count in _UNITS[:depth]]
    return nn.Sequential(*(nn.Sequential(*(stem if level == 0 else []), *each) for level, each in enumerate(units)))


def _normalised(in_channels: int, out_channels: int, kernel: int) -> list[nn.Module]:
    convolution = nn.Conv3d(in_channels, out_channels, kernel_size=kernel, padding=kernel // 2, bias=False)
    return [convolution, nn.InstanceNorm3d(out_channels)]


def _he_fan_out(network: nn.Module) -> None:
    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
