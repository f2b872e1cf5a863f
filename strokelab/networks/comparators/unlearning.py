"""Dinsdale's U-Net, whose last features are made free of the site. Knows images; knows no sites and no training.

Dinsdale, Jenkinson and Namburete 2021 (NeuroImage 228, 117689), released code. A "unit" is a 3x3 convolution without
bias, ReLU and *then* batch norm (eps 1e-5).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import check_halvings


@buildable("model")
class UnlearningUNet(nn.Module):
    """U-Net in two parts: features (B, base, H, W) of an image, and logits (B, out_channels, H, W) of these.

    ``forward(image) == decode(encode(image)) == segment(features(image))``.

    Args:
        in_channels: channels of the image, one per modality.
        out_channels: maps of logits; 1 for lesion against the rest.
        base: channels of the first stage; doubled at every further one.
        depth: number of stages; H and W must be divisible by 2 ** (depth - 1).

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        decoder_channels: channels of what ``features`` returns, from which ``segment`` makes the logits.
        dimensions: 2.
        divisors: what each axis must be a multiple of.

    Raises:
        ConfigError: ``depth`` below 1; when called, an axis that cannot be halved ``depth - 1`` times.

    Source: the paper and its released code (base 64, depth 5: 27,901,056 parameters up to the features, 37,057 behind).
    """

    dimensions = 2

    def __init__(self, in_channels: int, out_channels: int = 1, *, base: int = 64, depth: int = 5) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError(
                "UnlearningUNet", found=f"depth={depth}", expected="1 or more stages", remedy="set depth to 5"
            )
        self.divisors = (2 ** (depth - 1),) * 2
        self.feature_channels = tuple(base * 2**level for level in range(depth))
        self.decoder_channels = base
        inputs = (in_channels, *self.feature_channels[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(*([nn.MaxPool2d(2)] if level else []), _unit(before, after), _unit(after, after))
            for level, (before, after) in enumerate(zip(inputs, self.feature_channels, strict=True))
        )
        ascending = tuple(reversed(self.feature_channels[:-1]))  # coarse to fine
        self.ups = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in ascending)
        self.decoder = nn.ModuleList(_unit(2 * width, width) for width in ascending)
        self.segmenter = nn.Sequential(
            nn.Conv2d(base, base, kernel_size=3, padding=1, bias=False),
            nn.BatchNorm2d(base),
            nn.ReLU(),
            nn.Conv2d(base, out_channels, kernel_size=1),
        )

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, out_channels, H, W) of an image (B, in_channels, H, W)."""
        return self.segment(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        """The features (B, base, H, W) of an image, from which the site is unlearned.

        Raises:
            ConfigError: as ``encode``.
        """
        return self.ascend(self.encode(image))

    def segment(self, features: Tensor) -> Tensor:
        """Logits (B, out_channels, H, W) of what ``features`` or ``ascend`` returned."""
        logits: Tensor = self.segmenter(features)
        return logits

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, base * 2**k, H / 2**k, W / 2**k).

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(
            image,
            self.divisors,
            "UnlearningUNet",
            "change view.preparation.crop or model.network.depth; a hemisphere is half the crop's width",
        )
        encoded: list[Tensor] = []
        for stage in self.encoder:
            encoded.append(stage(encoded[-1] if encoded else image))
        return encoded

    def ascend(self, encoded: Sequence[Tensor]) -> Tensor:
        """The features (B, base, H, W) from what ``encode`` returned."""
        *skips, x = encoded
        for skip, up, stage in zip(reversed(skips), self.ups, self.decoder, strict=True):
            x = stage(torch.cat([up(x), skip], dim=1))
        return x

    def decode(self, encoded: Sequence[Tensor]) -> Tensor:
        """Logits (B, out_channels, H, W) from what ``encode`` returned."""
        return self.segment(self.ascend(encoded))


def _unit(in_channels: int, out_channels: int) -> nn.Sequential:
    convolution = nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.ReLU(inplace=True), nn.BatchNorm2d(out_channels))
