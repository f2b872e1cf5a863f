"""SUNet's asymmetric residual U-Net: pre-activation blocks, long skips that are sums. Knows images; knows no patches.

Clèrigues 2019 (arXiv 1810.13304, Fig. 2): two convolutions with a short skip in every encoder stage, one in every
decoder stage, so that three quarters of the weights are the encoder's. Constants the paper leaves out are those of the
released code.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import BATCH_NORM, CONVOLUTION, TRANSPOSED, check_dimensions, check_halvings

_DROPOUT: dict[int, type[nn.Dropout2d] | type[nn.Dropout3d]] = {2: nn.Dropout2d, 3: nn.Dropout3d}


@buildable("model")
class SUNet(nn.Module):
    """Residual U-Net with ``forward(image) == decode(encode(image))``: (B, C, *S) -> logits (B, K, *S).

    Args:
        in_channels: C: the modalities, and as many again where they are mirrored.
        out_channels: K; 2: background and lesion, softmax.
        base: channels of the first stage; doubled at every further one.
        depth: number of stages; every axis of S must be divisible by 2 ** (depth - 1).
        dropout: share of whole channels that training leaves out between the convolutions of a double block, in every
            stage but the first.
        bn_eps: of all batch norms.
        bn_momentum: weight of the newest batch in their running statistics.
        dimensions: 2 for slices, 3 for volumes.

    Attributes:
        feature_channels: channels of what ``encode`` returns, finest first.
        dimensions: as given.
        divisors: what each axis of S must be a multiple of.

    Raises:
        ConfigError: ``depth`` below 1, ``dimensions`` not 2 or 3.

    Source: Clèrigues 2019, Fig. 2 and released code (base 32, depth 4: 7,037,122 parameters for 8 channels).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 2,
        *,
        base: int = 32,
        depth: int = 4,
        dropout: float = 0.2,
        bn_eps: float = 1e-3,
        bn_momentum: float = 0.01,
        dimensions: int = 3,
    ) -> None:
        super().__init__()
        check_dimensions(dimensions, "SUNet")
        if depth < 1:
            raise ConfigError("SUNet", found=f"depth={depth}", expected="1 or more stages", remedy="set depth to 4")
        self.dimensions = dimensions
        self.divisors = (2 ** (depth - 1),) * dimensions
        self.feature_channels = tuple(base * 2**level for level in range(depth))
        convolution, transposed = CONVOLUTION[dimensions], TRANSPOSED[dimensions]

        def unit(before: int, after: int, stride: int = 1) -> list[nn.Module]:
            """Batch norm, PReLU, convolution."""
            return [
                BATCH_NORM[dimensions](before, eps=bn_eps, momentum=bn_momentum),
                nn.PReLU(before, init=0.0),  # begins as a ReLU
                convolution(before, after, kernel_size=3, stride=stride, padding=1),
            ]

        def double(width: int, rate: float) -> nn.Sequential:
            left_out = [_DROPOUT[dimensions](rate)] if rate else []
            return nn.Sequential(*unit(width, width), *left_out, *unit(width, width))

        widths = self.feature_channels
        self.stem = convolution(in_channels, base, kernel_size=3, padding=1)
        self.downs = nn.ModuleList(nn.Sequential(*unit(width, width, stride=2)) for width in widths[:-1])
        self.encoder = nn.ModuleList(double(width, dropout if level else 0.0) for level, width in enumerate(widths))
        ascending = tuple(reversed(widths[:-1]))  # coarse to fine
        self.ups = nn.ModuleList(
            transposed(2 * width, width, kernel_size=3, stride=2, padding=1, output_padding=1) for width in ascending
        )
        self.decoder = nn.ModuleList(nn.Sequential(*unit(width, width)) for width in ascending)
        self.head = convolution(base, out_channels, kernel_size=3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, *S) of an image (B, C, *S)."""
        return self.decode(self.encode(image))

    def encode(self, image: Tensor) -> list[Tensor]:
        """Features of every stage, finest first: the k-th is (B, base * 2**k, *(S / 2**k)).

        Raises:
            ConfigError: an axis cannot be halved ``depth - 1`` times.
        """
        check_halvings(
            image, self.divisors, "SUNet", "change view.sampler.patch and view.windows.patch, or model.network.depth"
        )
        pool = F.max_pool2d if self.dimensions == 2 else F.max_pool3d
        x = self.stem(image)
        features: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            if level:  # a strided convolution and a pooling side by side
                x = torch.cat([self.downs[level - 1](x), pool(x, 2)], dim=1)
            x = x + block(x)
            features.append(x)
        return features

    def decode(self, features: Sequence[Tensor]) -> Tensor:
        """Logits (B, K, *S) from what ``encode`` returned."""
        *skips, x = features
        for skip, up, block in zip(reversed(skips), self.ups, self.decoder, strict=True):
            x = skip + up(x)
            x = x + block(x)
        logits: Tensor = self.head(x)
        return logits
