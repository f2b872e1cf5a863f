"""PSPNet: a dilated residual trunk and means over pyramids of regions. Knows images; knows no sites.

Zhao 2017. The row "PSPNet" of Yu 2022, Table V, is another network: ``unet2d_ppm``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.networks.resnet import ResNet, cbr, check_samples, check_sides, he_fan_out, resized

BINS = (1, 2, 3, 6)


@buildable("model")
class PSPNet(nn.Module):
    """(B, in_channels, Y, X) -> logits (B, out_channels, Y, X); ``forward(image) == decode(encode(image))``.

    Args:
        in_channels: channels of the image, one per modality.
        out_channels: maps of logits; 1 for lesion against the rest.
        layers: bottlenecks of the trunk's layers; [3, 4, 6, 3]: PSPNet-50, [3, 4, 23, 3]: PSPNet-101.
        base: width of the trunk's first layer, from which all others follow.
        auxiliary: while training also logits from the third layer's features, for a loss of two outputs.
        dropout: of whole channels, before both heads' last convolutions.

    Attributes:
        feature_channels: of the trunk's third and fourth layer, both of an eighth of the image's sides.
        dimensions: 2.
        divisors: of the image's sides. ``forward`` takes sides of one more as well, which the authors demand.
        deep_supervision: as ``auxiliary``.
        least_samples: of a training batch in each process.

    Raises:
        ConfigError: as ``ResNet``.

    Source: Zhao 2017, sections 3.2, 3.3 and 4.2, and released code (1 channel, 1 map: 46,704,961 parameters).
    """

    least_samples = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        layers: Sequence[int] = (3, 4, 6, 3),
        base: int = 64,
        auxiliary: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.dimensions, self.divisors = 2, (8, 8)
        self.deep_supervision = auxiliary
        self.trunk = ResNet(in_channels, layers=layers, base=base, stem="deep", output_stride=8)
        third, fourth = self.feature_channels = self.trunk.feature_channels[2:]
        each = fourth // len(BINS)
        self.pyramid = nn.ModuleList(nn.Sequential(nn.AdaptiveAvgPool2d(bins), *cbr(fourth, each)) for bins in BINS)
        self.head = _head(fourth + each * len(BINS), fourth // 4, out_channels, dropout)
        self.auxiliary_head = _head(third, third // 4, out_channels, dropout) if auxiliary else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """He's normal weights over fan-out in the trunk, and PyTorch's default elsewhere."""
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
                layer.reset_parameters()
        he_fan_out(self.trunk)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """What ``decode`` makes of an image (B, in_channels, Y, X), in the image's size.

        Raises:
            ConfigError: as ``encode``.
        """
        return self.decode(self.encode(image), image.shape[2:])

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of the third and the fourth layer, (B, 16 base | 32 base, Y / 8, X / 8).

        Raises:
            ConfigError: a side is neither a multiple of 8 nor one more, or a training batch has one sample.
        """
        check_sides(image, self.divisors[0], "PSPNet", or_one_more=True)
        if self.trunk.training:
            check_samples(image, self.least_samples, "PSPNet")
        return self.trunk(image)[2:]  # type: ignore[no-any-return]

    def decode(self, features: Sequence[Tensor], size: Sequence[int] | None = None) -> Tensor | list[Tensor]:
        """Logits from what ``encode`` returned.

        Args:
            features: of the third and the fourth layer.
            size: of the logits; None: eight times that of the features.

        Returns:
            (B, out_channels, *size); in training mode with the auxiliary head also its logits, after the others.
        """
        third, fourth = features
        size = [8 * length for length in fourth.shape[2:]] if size is None else size
        pyramid = [resized(level(fourth), fourth.shape[2:]) for level in self.pyramid]
        logits = resized(self.head(torch.cat([fourth, *pyramid], dim=1)), size)
        if self.auxiliary_head is None or not self.training:
            return logits
        return [logits, resized(self.auxiliary_head(third), size)]


def _head(in_channels: int, width: int, out_channels: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        *cbr(in_channels, width, 3), nn.Dropout2d(dropout), nn.Conv2d(width, out_channels, kernel_size=1)
    )
