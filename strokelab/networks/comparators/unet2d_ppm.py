"""The U-Net with means over pyramids of regions at its deepest stage: "PSPNet" of Yu 2022, Table V.

The printed costs are those of this network and not of PSPNet (``pspnet``), to the last digit in three columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from strokelab.buildable import buildable
from strokelab.networks.unet import UNet


class PyramidPooling(nn.Module):
    """The input joined by its means over 1 x 1 to 6 x 6 regions, then fused: (B, C, Y, X) -> the same.

    Args:
        channels: C.
        bins: regions along each side, one set of means each.

    Source: Zhao 2017, section 3.2, in the form of a public module: no norm, no bias and no ReLU in the branches.
    """

    def __init__(self, channels: int, bins: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(count), nn.Conv2d(channels, channels, kernel_size=1, bias=False))
            for count in bins
        )
        self.fusion = nn.Conv2d(channels * (len(bins) + 1), channels, kernel_size=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, Y, X) -> (B, C, Y, X)."""
        size = x.shape[2:]
        means = [
            functional.interpolate(branch(x), size=size, mode="bilinear", align_corners=False)
            for branch in self.branches
        ]
        return cast(Tensor, self.relu(self.fusion(torch.cat([*means, x], dim=1))))


@buildable("model", most={"bins": 64})
class UNetPPM(UNet):
    """``UNet`` of slices with ``PyramidPooling`` on what ``encode`` returns last.

    Args:
        in_channels: channels of the image, one per modality.
        out_channels: maps of logits; 1 for lesion against the rest.
        base: channels of the first stage; doubled at every further one.
        depth: number of stages; every side must be divisible by 2 ** (depth - 1).
        bins: regions along each side of the deepest features, one set of means each.

    Raises:
        ConfigError: as ``UNet``.

    Source: Yu 2022, Table V (38,385,729 parameters; printed 38.28 M, most likely a misprint).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        base: int = 64,
        depth: int = 5,
        bins: Sequence[int] = (1, 2, 3, 6),
    ) -> None:
        super().__init__(in_channels, out_channels, base=base, depth=depth, dimensions=2)
        self.pyramid = PyramidPooling(self.feature_channels[-1], bins)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first, the deepest with its pyramid: as ``UNet.encode``."""
        *features, deepest = super().encode(image)
        return [*features, self.pyramid(deepest)]
