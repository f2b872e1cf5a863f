"""The plain U-Net, 2D or 3D: SG-Net's trunk and the baseline. Knows images; knows no sites and no hemispheres.

Yu 2022, Table I: two blocks per stage, channels doubling from 64 to 1,024, max pooling down; up by interpolation
*followed* by a 1x1 convolution at the doubled resolution, then the skip connection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import CONVOLUTION, check_dimensions, check_halvings, double_block

Upsampling = Literal["nearest", "linear"]
_MODES: Mapping[str, Mapping[int, str]] = {
    "nearest": {2: "nearest", 3: "nearest"},
    "linear": {2: "bilinear", 3: "trilinear"},
}


@buildable("model")
class UNet(nn.Module):
    """U-Net with ``forward(image) == decode(encode(image))``: (B, in_channels, *S) -> logits (B, out_channels, *S).

    Args:
        in_channels: channels of the image, one per modality.
        out_channels: maps of logits; 1 for lesion against the rest.
        base: channels of the first stage; doubled at every further one.
        depth: number of stages; every axis of S must be divisible by 2 ** (depth - 1).
        dimensions: 2 for slices, 3 for volumes.
        upsampling: "nearest", or "linear" along each axis.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: as given.
        divisors: what each axis of S must be a multiple of.

    Raises:
        ConfigError: ``depth`` below 1, ``dimensions`` not 2 or 3, or another way of up-sampling.

    Source: Yu 2022, Table I (base 64, depth 5, 2D: 28,947,521 parameters).
    """

    _stage: Callable[..., nn.Module] = staticmethod(double_block)

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        base: int = 64,
        depth: int = 5,
        dimensions: int = 2,
        upsampling: Upsampling = "nearest",
    ) -> None:
        super().__init__()
        check_dimensions(dimensions, "UNet")
        if upsampling not in _MODES:
            raise ConfigError(
                "model.network.upsampling",
                found=str(upsampling),
                expected=f"one of {', '.join(_MODES)}",
                remedy="set ++model.network.upsampling=nearest",
            )
        if depth < 1:
            raise ConfigError("UNet", found=f"depth={depth}", expected="1 or more stages", remedy="set depth to 5")
        self.dimensions = dimensions
        self.upsampling = upsampling
        self.divisors = (2 ** (depth - 1),) * dimensions
        self.feature_channels = tuple(base * 2**level for level in range(depth))
        inputs = (in_channels, *self.feature_channels[:-1])
        self.encoder = nn.ModuleList(
            self._stage(before, after, dimensions=dimensions)
            for before, after in zip(inputs, self.feature_channels, strict=True)
        )
        convolution = CONVOLUTION[dimensions]
        ascending = tuple(reversed(self.feature_channels[:-1]))  # coarse to fine
        self.projections = nn.ModuleList(convolution(2 * width, width, kernel_size=1) for width in ascending)
        self.decoder = nn.ModuleList(self._stage(2 * width, width, dimensions=dimensions) for width in ascending)
        self.head = convolution(base, out_channels, kernel_size=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, out_channels, *S) of an image (B, in_channels, *S)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, base * 2**k, *(S / 2**k)).

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(
            image,
            self.divisors,
            type(self).__name__,
            "change view.preparation.crop or model.network.depth; a hemisphere is half the crop's width",
        )
        pool = F.max_pool2d if self.dimensions == 2 else F.max_pool3d
        features: list[Tensor] = []
        for stage in self.encoder:
            features.append(stage(pool(features[-1], 2) if features else image))
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, out_channels, *S) from what ``encode`` returned."""
        *skips, x = features
        for skip, projection, stage in zip(reversed(skips), self.projections, self.decoder, strict=True):
            x = projection(F.interpolate(x, scale_factor=2.0, mode=_MODES[self.upsampling][self.dimensions]))
            x = stage(torch.cat([x, skip], dim=1))
        logits: Tensor = self.head(x)
        return logits
