"""The 3D ResU-Net built plainly: nothing in place, nothing made again, parts joined before a block. Knows layers."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """(B, C, *S) -> (B, C', *S)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.ReLU(),
            nn.Conv3d(before, after, 3, padding=1),
            nn.GroupNorm(8, after),
            nn.ReLU(),
            nn.Conv3d(after, after, 3, padding=1),
            nn.GroupNorm(8, after),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Zeros before the channels that are there, or the last ones of those."""
        residual: Tensor = self.layers(x)
        missing = residual.shape[1] - x.shape[1]
        shortcut = functional.pad(x, (0, 0, 0, 0, 0, 0, missing, 0)) if missing > 0 else x[:, -residual.shape[1] :]
        return residual + shortcut


class PlainResUNet3D(nn.Module):
    """(B, C, *S) -> logits (B, 1, *S), S divisible by 8; weights in the order of ``ResUNet3D``."""

    def __init__(self, channels: int, base: int = 16) -> None:
        super().__init__()
        a, b, c, d = (2 * base * 2**level for level in range(4))
        self.encoder = nn.ModuleList([
            Block(channels, a),
            nn.Sequential(Block(a, b), Block(b, b)),
            nn.Sequential(Block(b, c), Block(c, c)),
            nn.Sequential(Block(c, d), Block(d, d)),
        ])  # fmt: skip
        self.bottom = nn.Sequential(Block(d, d), Block(d, d))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.ConvTranspose3d(deep, fine, 2, stride=2), nn.GroupNorm(8, fine), nn.ReLU())
            for deep, fine in ((d, c), (c, b), (b, a))
        )
        self.decoder = nn.ModuleList([
            nn.Sequential(Block(2 * c, c), Block(c, c)),
            nn.Sequential(Block(2 * b, b), Block(b, b)),
            Block(2 * a, a),
        ])  # fmt: skip
        self.head = nn.ConvTranspose3d(a, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        skips = []
        for level, blocks in enumerate(self.encoder):
            x = blocks(x if level == 0 else functional.max_pool3d(x, 2))
            skips.append(x)
        x = self.bottom(x)
        for up, blocks, skip in zip(self.ups, self.decoder, skips[-2::-1], strict=True):
            x = blocks(torch.cat([up(x), skip], dim=1))
        logits: Tensor = self.head(x)
        return logits
