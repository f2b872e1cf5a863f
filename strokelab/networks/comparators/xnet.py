"""X-Net: depthwise separable convolutions, and an attention of all positions to all at the bottom. Knows images.

Qi 2019 ("X-Net: Brain Stroke Lesion Segmentation Based on Depthwise Separable Convolution and Long-range
Dependencies"), as the authors' public code has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import (
    BATCH_NORM,
    KERAS,
    KERAS_WITHOUT_BIAS,
    BatchNorms,
    check_halvings,
    conv_block,
    he_normal_,
)

_BOTTLENECK = 8  # the attention works on an eighth of the channels, and compares half of these


@buildable("model")
class XNet(nn.Module):
    """U-shaped network of slices, ``forward(image) == decode(encode(image))``: (B, C, Y, X) -> logits (B, K, Y, X).

    Args:
        in_channels: C, one per modality.
        out_channels: K; 1 for lesion against the rest.
        base: channels of the first stage; doubled at every further one.
        depth: number of stages; Y and X must be divisible by 2 ** (depth - 1).
        biases: true: every convolution before a norm has a bias, as the authors' has it; false: none but those after
            upsampling, and one more norm in the attention, as the network that Yu 2022 counted.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: 2.
        divisors: what Y and X must be a multiple of.

    Raises:
        ConfigError: ``depth`` below 1.

    Source: Qi 2019, released code (15,072,332 parameters); Yu 2022, Table V (``biases=False``: 15,059,660).
    """

    dimensions = 2

    def __init__(
        self, in_channels: int, out_channels: int = 1, *, base: int = 64, depth: int = 5, biases: bool = True
    ) -> None:
        super().__init__()
        if depth < 1:
            raise ConfigError("XNet", found=f"depth={depth}", expected="1 or more stages", remedy="set depth to 5")
        self.divisors = (2 ** (depth - 1),) * 2
        self.feature_channels = tuple(base * 2**level for level in range(depth))
        settings = KERAS if biases else KERAS_WITHOUT_BIAS
        widths = self.feature_channels
        self.encoder = nn.ModuleList(
            XBlock(before, after, settings) for before, after in zip((in_channels, *widths), widths, strict=False)
        )
        self.attention = Similarity(widths[-1], settings)
        ascending = tuple(reversed(widths[:-1]))  # coarse to fine
        self.ups = nn.ModuleList(conv_block(2 * width, width, **KERAS) for width in ascending)
        self.decoder = nn.ModuleList(XBlock(2 * width, width, settings) for width in ascending)
        self.head = nn.Conv2d(base, out_channels, kernel_size=1)
        he_normal_(self, truncated=True)
        nn.init.xavier_uniform_(self.head.weight)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, Y, X) of an image (B, C, Y, X)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, base * 2**k, Y/2^k, X/2^k); attention in the last one.

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(image, self.divisors, "XNet", "change view.preparation.crop or model.network.depth")
        features: list[Tensor] = []
        for stage in self.encoder:
            features.append(stage(F.max_pool2d(features[-1], 2) if features else image))
        features[-1] = self.attention(features[-1])
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, Y, X) from what ``encode`` returned."""
        *skips, x = features
        for skip, up, stage in zip(reversed(skips), self.ups, self.decoder, strict=True):
            x = stage(torch.cat([skip, up(F.interpolate(x, scale_factor=2.0, mode="nearest"))], dim=1))
        logits: Tensor = self.head(x)
        return logits


class XBlock(nn.Module):
    """Three depthwise separable convolutions beside a shortcut of one position, summed.

    Args:
        in_channels: of the input (B, in_channels, Y, X).
        out_channels: of the output (B, out_channels, Y, X).
        settings: of the norms and the convolutions before them; a depthwise convolution never has a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, settings: BatchNorms) -> None:
        super().__init__()
        inputs = (in_channels, out_channels, out_channels)
        self.body = nn.Sequential(*(_separable(channels, out_channels, settings) for channels in inputs))
        self.shortcut = conv_block(in_channels, out_channels, kernel=1, **settings)

    def forward(self, x: Tensor) -> Tensor:
        """The sum; no rectifier after it."""
        total: Tensor = self.body(x) + self.shortcut(x)
        return total


def _separable(in_channels: int, out_channels: int, settings: BatchNorms) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, in_channels, kernel_size=3, padding=1, groups=in_channels, bias=False),
        BATCH_NORM[2](in_channels, eps=settings["bn_eps"], momentum=settings["bn_momentum"]),
        nn.ReLU(inplace=True),
        *conv_block(in_channels, out_channels, kernel=1, **settings),
    )


class Similarity(nn.Module):
    """Feature similarity module: every position gets the mean over all, weighted by how alike they are; residual.

    Args:
        channels: of input and output.
        settings: of the norms; without ``bias`` the attention's last convolution has a norm of its own.
    """

    def __init__(self, channels: int, settings: BatchNorms) -> None:
        super().__init__()
        few = max(channels // _BOTTLENECK, 1)
        compared = max(few // 2, 1)
        self.narrow = conv_block(channels, few, **settings)
        self.theta, self.phi, self.g = (nn.Conv2d(few, compared, kernel_size=1, bias=False) for _ in range(3))
        back = nn.Conv2d(compared, few, kernel_size=1, bias=False)
        norm = BATCH_NORM[2](few, eps=settings["bn_eps"], momentum=settings["bn_momentum"])
        self.back = back if settings["bias"] else nn.Sequential(back, norm)
        self.widen = conv_block(few, channels, **settings)

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, Y, X) -> the same."""
        narrow = self.narrow(x)
        total: Tensor = x + self.widen(narrow + self.attended(narrow))
        return total

    def attended(self, narrow: Tensor) -> Tensor:
        """The attention term (B, channels / 8, Y, X): products of all positions by their number; no softmax."""
        theta, phi, g = (part(narrow).flatten(start_dim=2) for part in (self.theta, self.phi, self.g))  # (B, c, N)
        alike = theta.transpose(1, 2) @ phi / phi.shape[2]  # (B, N, N)
        term: Tensor = self.back((g @ alike.transpose(1, 2)).view(len(g), -1, *narrow.shape[2:]))
        return term
