"""D-UNet: a slice with its neighbours, in two dimensions and in three at once. Knows slabs; cuts none.

Zhou 2019 ("D-UNet: a dimension-fusion U shape network for chronic stroke lesion segmentation"), as the authors' public
code has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import KERAS, check_halvings, double_block, he_normal_

_STAGES_3D = 3  # of the branch of volumes, which halves a slab twice
_SQUEEZED = 16  # squeeze and excitation: channels by this


@buildable("model")
class DUNet(nn.Module):
    """U-Net of slabs, ``forward(slab) == decode(encode(slab))``: (B, C * slices, Y, X) -> logits (B, K, Y, X).

    The logits are those of one slice of the slab (``view.sampler.target``). In a slab the slices of a channel lie
    beside each other: the image's channel ``c * slices + s`` is slice ``s`` of modality ``c``.

    Args:
        in_channels: C * slices.
        out_channels: K; 1 for lesion against the rest.
        base: channels of the first stage; doubled at every further one.
        depth: number of stages of the branch of slices; Y and X must be divisible by 2 ** (depth - 1).
        slices: of a slab, a multiple of 4.
        dropout: share of values that training leaves out after the two deepest stages.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: 2.
        divisors: what Y and X must be a multiple of.

    Raises:
        ConfigError: ``depth`` below 3, ``slices`` no multiple of 4, ``in_channels`` none of ``slices``.

    Source: Zhou 2019, released code (base 32, depth 5, one modality: 8,633,379 parameters). Several modalities are our
    decision: C channels in the branch of volumes.
    """

    dimensions = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        base: int = 32,
        depth: int = 5,
        slices: int = 4,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        _check(in_channels, depth, slices)
        self.slices = slices
        self.divisors = (2 ** (depth - 1),) * 2
        self.feature_channels = tuple(base * 2**level for level in range(depth))
        widths = self.feature_channels
        self.encoder = nn.ModuleList(
            double_block(before, after, **KERAS) for before, after in zip((in_channels, *widths), widths, strict=False)
        )
        self.dropout = nn.Dropout(dropout)
        inside = widths[:_STAGES_3D]
        self.volumes = nn.ModuleList(
            double_block(before, after, dimensions=3, **KERAS)
            for before, after in zip((in_channels // slices, *inside), inside, strict=False)
        )
        self.fusions = nn.ModuleList(
            Fusion(width, slices // 2**level) for level, width in enumerate(inside) if level > 0
        )
        ascending = tuple(reversed(widths[:-1]))  # coarse to fine
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(2 * width, width, kernel_size=2), nn.ReLU(inplace=True)) for width in ascending
        )
        self.decoder = nn.ModuleList(double_block(2 * width, width, **KERAS) for width in ascending)
        self.head = nn.Conv2d(base, out_channels, kernel_size=1)
        he_normal_(self)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, Y, X) of slabs (B, C * slices, Y, X)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, base * 2**k, Y/2^k, X/2^k).

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(image, self.divisors, "DUNet", "change view.preparation.crop or model.network.depth")
        volume = image.reshape(len(image), -1, self.slices, *image.shape[2:]).permute(
            0, 1, 3, 4, 2
        )  # (B, C, Y, X, slices)
        features: list[Tensor] = []
        for level, stage in enumerate(self.encoder):
            x = stage(F.max_pool2d(features[-1], 2) if features else image)
            if level < _STAGES_3D:
                volume = self.volumes[level](F.max_pool3d(volume, 2) if level else volume)
                if level:
                    x = self.fusions[level - 1](volume, x)
            features.append(self.dropout(x) if level >= len(self.encoder) - 2 else x)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, Y, X) from what ``encode`` returned."""
        *skips, x = features
        for skip, up, stage in zip(reversed(skips), self.ups, self.decoder, strict=True):
            larger = F.pad(F.interpolate(x, scale_factor=2.0, mode="nearest"), (0, 1, 0, 1))
            x = stage(torch.cat([skip, up(larger)], dim=1))
        logits: Tensor = self.head(x)
        return logits


class Fusion(nn.Module):
    """Features of the volume, its slices made channels, added to those of the slice; each weighted by channel.

    Args:
        channels: of both.
        slices: of the volume.
    """

    def __init__(self, channels: int, slices: int) -> None:
        super().__init__()
        self.flatten = nn.Conv3d(channels, 1, kernel_size=1)
        self.widen = nn.Sequential(nn.Conv2d(slices, channels, kernel_size=3, padding=1), nn.ReLU(inplace=True))
        self.weigh_volume, self.weigh_slice = Excitation(channels), Excitation(channels)

    def forward(self, volume: Tensor, plane: Tensor) -> Tensor:
        """(B, channels, Y, X, slices) and (B, channels, Y, X) -> (B, channels, Y, X)."""
        slices = self.flatten(volume)[:, 0].permute(0, 3, 1, 2)
        total: Tensor = self.weigh_volume(self.widen(slices)) + self.weigh_slice(plane)
        return total


class Excitation(nn.Module):
    """Squeeze and excitation: every channel times a weight from 0 to 1 that follows from the means of all.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = max(channels // _SQUEEZED, 1)
        self.squeeze = nn.Conv2d(channels, few, kernel_size=1, bias=False)
        self.excite = nn.Conv2d(few, channels, kernel_size=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, Y, X) -> the same."""
        weighed: Tensor = x * self.excite(self.squeeze(x.mean(dim=(2, 3), keepdim=True)).relu()).sigmoid()
        return weighed


def _check(in_channels: int, depth: int, slices: int) -> None:
    if depth < _STAGES_3D:
        raise ConfigError(
            "DUNet", found=f"depth={depth}", expected="3 or more stages", remedy="set model.network.depth=5"
        )
    if slices < 1 or slices % 2 ** (_STAGES_3D - 1):
        raise ConfigError(
            "DUNet",
            found=f"slices={slices}",
            expected="a multiple of 4: the branch of volumes halves a slab twice",
            remedy="set model.network.slices=4 view.sampler.slices=4 view.sampler.target=2",
        )
    if in_channels < 1 or in_channels % slices:
        raise ConfigError(
            "DUNet",
            found=f"{in_channels} channels of input",
            expected=f"slabs: {slices} slices of each modality, a multiple of {slices} channels",
            remedy=f"choose view=slab view.sampler.slices={slices}",
        )
