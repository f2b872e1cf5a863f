"""DeepLabv3+: a dilated residual trunk, parallel dilations, and a decoder with one skip. Knows images; knows no sites.

Chen 2018, with the ResNet trunk that Yu 2022, Table V, must have counted (Xception would give 54.70 M parameters).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.resnet import ResNet, cbr, check_samples, check_sides, he_fan_out, resized

_RATES = {8: (12, 24, 36), 16: (6, 12, 18)}


@buildable("model")
class DeepLabV3Plus(nn.Module):
    """(B, in_channels, Y, X) -> logits (B, out_channels, Y, X); ``forward(image) == decode(encode(image))``.

    Args:
        in_channels: channels of the image, one per modality.
        out_channels: maps of logits; 1 for lesion against the rest.
        layers: bottlenecks of the trunk's layers; [3, 4, 23, 3]: ResNet-101.
        base: width of the trunk's first layer, from which all others follow.
        output_stride: of the trunk, 16 or 8.
        dropout: behind the parallel dilations, behind the decoder's first and behind its second convolution.

    Attributes:
        feature_channels: of the trunk's first layer (a quarter of the sides) and of its last.
        dimensions: 2.
        divisors: of the image's sides, 16 each.
        least_samples: of a training batch in each process.

    Raises:
        ConfigError: as ``ResNet``, or not three probabilities of dropout.

    Source: Chen 2018, section 3, and a released port (1 channel, 1 map: 59,332,897 parameters).
    """

    least_samples = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 1,
        *,
        layers: Sequence[int] = (3, 4, 23, 3),
        base: int = 64,
        output_stride: int = 16,
        dropout: Sequence[float] = (0.5, 0.5, 0.1),
    ) -> None:
        super().__init__()
        self.dimensions, self.divisors = 2, (16, 16)
        self.trunk = ResNet(in_channels, layers=layers, base=base, output_stride=output_stride, multi_grid=(1, 2, 4))
        low, deep = self.feature_channels = (self.trunk.feature_channels[0], self.trunk.feature_channels[-1])
        width, narrow = 4 * base, 3 * base // 4
        self.dilations = nn.ModuleList(
            [cbr(deep, width), *(cbr(deep, width, 3, dilation=rate) for rate in _RATES[output_stride])]
        )
        self.image_level = nn.Sequential(nn.AdaptiveAvgPool2d(1), *cbr(deep, width))
        self.fusion = cbr(5 * width, width)
        self.low_level = cbr(low, narrow)
        self.first, self.second = cbr(width + narrow, width, 3), cbr(width, width, 3)
        self.head = nn.Conv2d(width, out_channels, kernel_size=1)
        self.dropout = tuple(dropout)
        if len(self.dropout) != 3 or not all(0 <= share <= 1 for share in self.dropout):
            raise ConfigError(
                "model.network.dropout",
                found=str(list(dropout)),
                expected="three probabilities, 0 to 1",
                remedy="set model.network.dropout=[0.5,0.5,0.1]",
            )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The trunk's weights are normal of variance 2 / (taps times outputs), He's over fan-in elsewhere."""
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d)):
                layer.reset_parameters()
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
        he_fan_out(self.trunk)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, out_channels, Y, X) of an image (B, in_channels, Y, X)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of the first and the last layer: (B, 4 base, Y / 4, X / 4), (B, 32 base, Y / s, X / s).

        Raises:
            ConfigError: a side is no multiple of 16, or a training batch has one sample.
        """
        check_sides(image, self.divisors[0], "DeepLabV3Plus")
        if self.trunk.training:
            check_samples(image, self.least_samples, "DeepLabV3Plus")
        features = self.trunk(image)
        return [features[0], features[-1]]

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, out_channels, Y, X) from what ``encode`` returned."""
        low, deep = features
        level = self.image_level(deep).expand(-1, -1, *deep.shape[2:])
        x = self._dropped(self.fusion(torch.cat([*(branch(deep) for branch in self.dilations), level], dim=1)), 0)
        x = torch.cat([resized(x, low.shape[2:]), self.low_level(low)], dim=1)
        x = self._dropped(self.second(self._dropped(self.first(x), 1)), 2)
        return resized(self.head(x), [4 * length for length in low.shape[2:]])

    def _dropped(self, x: Tensor, place: int) -> Tensor:
        return functional.dropout(x, self.dropout[place], training=self.training)
