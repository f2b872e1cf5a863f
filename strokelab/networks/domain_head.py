"""The head that names the scanner site from features of full resolution. Knows features; knows no training.

Dinsdale 2021 (NeuroImage 228, 117689), released code: the features of the decoder, halved four times.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.networks.blocks import CONVOLUTION, MAX_POOL, check_dimensions, conv_block

_HALVINGS = 4


@buildable("model", most={"hidden": 4096})
class DomainHead(nn.Module):
    """(B, in_channels, *S) -> logits (B, n_sites).

    Four blocks with max pooling, a 1x1 convolution to one map with a border of one voxel, and linear layers over all
    its values, so that the size S is fixed.

    Args:
        in_channels: channels of the features, kept by the blocks (64 in the paper).
        n_sites: number of training sites.
        sides: S, the length of each of the two or three axes.
        hidden: widths of the linear layers before the last.
        dropout: before the last layer.

    Raises:
        ConfigError: ``sides`` are not two or three; when called, features of another size.

    Source: released code (64 channels, 224 x 192, 8 sites: 173,002 parameters).
    """

    def __init__(
        self,
        in_channels: int,
        n_sites: int,
        *,
        sides: Sequence[int],
        hidden: Sequence[int] = (96, 32),
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_dimensions(dimensions := len(sides), "DomainHead")
        self.sides = tuple(int(side) for side in sides)
        layers: list[nn.Module] = []
        for _ in range(_HALVINGS):
            layers += [conv_block(in_channels, in_channels, dimensions=dimensions), MAX_POOL[dimensions](2)]
        self.blocks = nn.Sequential(*layers)
        to_one = conv_block(in_channels, 1, dimensions=dimensions)
        to_one[0] = CONVOLUTION[dimensions](in_channels, 1, kernel_size=1, padding=1, bias=False)
        self.map = to_one
        widths = (math.prod(side // 2**_HALVINGS + 2 for side in self.sides), *hidden)
        linear: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            linear += [nn.Linear(before, after), nn.ReLU()]
        self.output = nn.Sequential(*linear, nn.Dropout(dropout), nn.Linear(widths[-1], n_sites))

    def forward(self, features: Tensor) -> Tensor:
        """Site logits (B, n_sites) of features (B, in_channels, *S).

        Raises:
            ConfigError: another size than ``sides``.
        """
        if (size := tuple(features.shape[2:])) != self.sides:
            raise ConfigError(
                "DomainHead",
                found=f"features of size {size}",
                expected=f"{self.sides}, for its linear layers are of this size",
                remedy="give model.adversary.plane the size of a sample, or use model.adversary.where=bottleneck",
            )
        logits: Tensor = self.output(self.map(self.blocks(features)).flatten(start_dim=1))
        return logits
