"""Sums of losses that papers train with. Knows the losses; knows no network."""

from __future__ import annotations

from torch import Tensor

from strokelab.losses.cross_entropy import binary_cross_entropy
from strokelab.losses.dice import DiceLoss, Over


class DiceBCELoss(DiceLoss):
    """Soft Dice plus binary cross-entropy: the second gives every voxel a gradient, also where Dice is flat.

    Args:
        over: of the Dice part, "sample" or "batch".
        eps: of the Dice part.
        weight: of the cross-entropy.

    Raises:
        ConfigError: another word for ``over``.
    """

    def __init__(self, over: Over = "sample", eps: float = 1e-5, weight: float = 1.0) -> None:
        super().__init__(over=over, eps=eps)
        self.weight = weight

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Scalar loss of logits (B, K, *S) against a target (B, K, *S); ``known`` (B, K) as in ``soft_dice_loss``."""
        return super().forward(logits, target, known) + self.weight * binary_cross_entropy(logits, target, known)
