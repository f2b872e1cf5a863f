"""Soft Dice loss with squares in the denominator, over samples or over the batch. Knows masks, no brains.

Yu 2022, equation 7. On an empty sample it stays near 1, with hardly any gradient, until the prediction is almost
exactly zero; that is the paper's. ``over="batch"`` does not have this plateau unless the whole batch is empty.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from strokelab.errors import ConfigError
from strokelab.ranks import summed

Over = Literal["sample", "batch"]


def soft_dice_loss(
    probability: Tensor, target: Tensor, *, over: Over = "sample", eps: float = 1e-5, known: Tensor | None = None
) -> Tensor:
    """Mean of ``1 - (2 sum(p q) + eps) / (sum(p^2) + sum(q^2) + eps)``, in float32 or better.

    Samples and batch are those of all processes of a training.

    Args:
        probability: q, (B, K, *S) in 0..1.
        target: p, (B, K, *S) in 0..1; fractions are allowed.
        over: "sample": one Dice per sample and channel, then their mean; "batch": sums run over the batch as well.
        eps: keeps 0/0 at 1.
        known: (B, K) bool, the channels each sample knows; the others count nowhere. None: all.

    Returns:
        (), 0 for a perfect prediction, towards 1 for a wrong one.
    """
    q = probability.to(torch.promote_types(probability.dtype, torch.float32)).flatten(start_dim=2)
    p = target.to(q.dtype).flatten(start_dim=2)
    overlap = 2 * (p * q).sum(dim=2)  # (B, K)
    size = p.square().sum(dim=2) + q.square().sum(dim=2)
    weight = torch.ones_like(overlap) if known is None else known.to(overlap.dtype)
    if over == "batch":
        sums = torch.stack([(overlap * weight).sum(dim=0), (size * weight).sum(dim=0), weight.sum(dim=0)])
        overlap, size, weight = summed(sums).unbind()
        known_at_all = (weight > 0).to(overlap.dtype)
        total, count = ((1 - _dice(overlap, size, eps)) * known_at_all).sum(), known_at_all.sum()
    else:
        total, count = summed(torch.stack([((1 - _dice(overlap, size, eps)) * weight).sum(), weight.sum()])).unbind()
    return total / count.clamp(min=1)


def _dice(overlap: Tensor, size: Tensor, eps: float) -> Tensor:
    return (overlap + eps) / (size + eps)


class DiceLoss(nn.Module):
    """``soft_dice_loss`` of the sigmoid of logits.

    Args:
        over: "sample" (paper) or "batch".
        eps: 1e-5.

    Raises:
        ConfigError: another word for ``over``.
    """

    def __init__(self, over: Over = "sample", eps: float = 1e-5) -> None:
        super().__init__()
        if over not in get_args(Over):
            raise ConfigError(
                "DiceLoss", found=f"over={over!r}", expected="'sample' or 'batch'", remedy="set model.loss.over"
            )
        self.over: Over = over
        self.eps = eps

    def forward(self, logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
        """Scalar loss of logits (B, K, *S) against a target (B, K, *S); ``known`` (B, K) as in ``soft_dice_loss``."""
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return soft_dice_loss(logits.sigmoid(), target, over=self.over, eps=self.eps, known=known)
