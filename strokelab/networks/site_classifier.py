"""The head that names the scanner site from a network's deepest features. Knows features; knows no reversal.

Yu 2022, Fig. 2(d): block, max pooling, block, global average, one fully connected layer. That the pooling stands
between the blocks follows from the published costs.
"""

from __future__ import annotations

from torch import Tensor, nn

from strokelab.networks.blocks import MAX_POOL, check_dimensions, conv_block


class SiteClassifier(nn.Module):
    """(B, in_channels, *S) -> logits (B, n_sites).

    Args:
        in_channels: channels of the features, kept by both blocks (1,024 in the paper).
        n_sites: number of training sites.
        dimensions: 2 or 3.

    Raises:
        ConfigError: ``dimensions`` not 2 or 3.
    """

    def __init__(self, in_channels: int, n_sites: int, *, dimensions: int = 2) -> None:
        super().__init__()
        check_dimensions(dimensions, "SiteClassifier")
        self.blocks = nn.Sequential(
            conv_block(in_channels, in_channels, dimensions=dimensions),
            # ceil_mode changes nothing on the paper's even sizes and lets features one voxel wide pass.
            MAX_POOL[dimensions](kernel_size=2, ceil_mode=True),
            conv_block(in_channels, in_channels, dimensions=dimensions),
        )
        self.output = nn.Linear(in_channels, n_sites)

    def forward(self, features: Tensor) -> Tensor:
        """Site logits (B, n_sites) of features (B, in_channels, *S)."""
        logits: Tensor = self.output(self.blocks(features).flatten(start_dim=2).mean(dim=2))
        return logits
