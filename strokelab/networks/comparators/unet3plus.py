"""U-Net 3+: every decoder stage sees every scale. Knows images; knows no losses.

Huang 2020 ("UNet 3+: A Full-Scale Connected UNet for Medical Image Segmentation"), as the authors' public code has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import check_halvings, conv_block, double_block

_NORM_SD = 0.02  # of the norms' weights at the start; released code


@buildable("model")
class UNet3Plus(nn.Module):
    """U-Net of slices with full-scale skips, ``forward(image) == decode(encode(image))``: (B, C, Y, X) -> (B, K, Y, X).

    Args:
        in_channels: C, one per modality.
        out_channels: K maps of logits; 1 for lesion against the rest.
        base: channels of the first stage, doubled at every further one; also of every branch of the decoder.
        depth: number of stages; Y and X must be divisible by 2 ** (depth - 1).
        deep_supervision: a head on every scale; in training mode a list of logits, the finest scale's first, all of
            them at full size.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: 2.
        divisors: what Y and X must be a multiple of.

    Raises:
        ConfigError: ``depth`` below 2.

    Source: Huang 2020, released code (26,970,625 parameters; with deep supervision 26,988,485).
    """

    dimensions = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        base: int = 64,
        depth: int = 5,
        deep_supervision: bool = False,
    ) -> None:
        super().__init__()
        if depth < 2:
            raise ConfigError("UNet3Plus", found=f"depth={depth}", expected="2 or more stages", remedy="set depth to 5")
        self.divisors = (2 ** (depth - 1),) * 2
        self.deep_supervision = deep_supervision
        self.feature_channels = tuple(base * 2**level for level in range(depth))
        inputs = (in_channels, *self.feature_channels[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(*([nn.MaxPool2d(2)] if level else []), *double_block(*channels, bias=True))
            for level, channels in enumerate(zip(inputs, self.feature_channels, strict=True))
        )
        fused = depth * base
        stages = range(depth - 2, -1, -1)  # coarse to fine
        self.branches = nn.ModuleList(
            nn.ModuleList(
                nn.Sequential(*_to_scale(level - stage), *conv_block(channels, base, bias=True))
                for level, channels in enumerate(self._sources(stage, fused))
            )
            for stage in stages
        )
        self.fusions = nn.ModuleList(conv_block(fused, fused, bias=True) for _ in stages)
        scales = (fused,) * (depth - 1) + self.feature_channels[-1:]
        self.heads = nn.ModuleList(
            nn.Conv2d(channels, out_channels, kernel_size=3, padding=1)
            for channels in (scales if deep_supervision else scales[:1])
        )
        self.apply(_initialise)

    def _sources(self, stage: int, fused: int) -> tuple[int, ...]:
        """Channels of what a decoder stage sees, finest first: of the encoder's up to its own, of the coarser ones."""
        coarser = len(self.feature_channels) - stage - 2
        return (*self.feature_channels[: stage + 1], *[fused] * coarser, self.feature_channels[-1])

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits (B, K, Y, X) of an image (B, C, Y, X); in training with deep supervision one of each scale."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, base * 2**k, Y/2^k, X/2^k).

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(image, self.divisors, "UNet3Plus", "change view.preparation.crop or model.network.depth")
        features: list[Tensor] = []
        for stage in self.encoder:
            features.append(stage(features[-1] if features else image))
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor | list[Tensor]:
        """Logits from what ``encode`` returned, as ``forward``."""
        scales = list(features)  # those of the decoder take the places of the encoder's, coarse to fine
        for stage, branches, fusion in zip(range(len(scales) - 2, -1, -1), self.branches, self.fusions, strict=True):
            seen = [branch(x) for branch, x in zip(cast(nn.ModuleList, branches), scales, strict=True)]
            scales[stage] = fusion(torch.cat(seen, dim=1))
        if not (self.deep_supervision and self.training):
            logits: Tensor = self.heads[0](scales[0])
            return logits
        maps = [head(scale) for head, scale in zip(self.heads, scales, strict=True)]
        return [nn.Sequential(*_to_scale(level))(one) for level, one in enumerate(maps)]


def _to_scale(coarser: int) -> list[nn.Module]:
    """What brings a map to a scale that it is coarser than by so many halvings; pooling where it is finer."""
    if coarser > 0:
        return [nn.Upsample(scale_factor=2**coarser, mode="bilinear", align_corners=False)]
    return [nn.MaxPool2d(2**-coarser)] if coarser else []


def _initialise(layer: nn.Module) -> None:
    if isinstance(layer, nn.Conv2d):
        nn.init.kaiming_normal_(layer.weight)
    elif isinstance(layer, nn.BatchNorm2d):
        nn.init.normal_(layer.weight, mean=1.0, std=_NORM_SD)
