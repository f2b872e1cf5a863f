"""Binary cross-entropy over independent maps, fractional targets and partly known classes. Knows masks, no brains."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from strokelab.ranks import summed


def binary_cross_entropy(logits: Tensor, target: Tensor, known: Tensor | None = None) -> Tensor:
    """Mean over voxels of ``-p log q - (1 - p) log(1 - q)``, in float32 or better, over the samples of all processes.

    Args:
        logits: of q, (B, K, *S).
        target: p, (B, K, *S) in 0..1.
        known: (B, K) bool, the channels each sample knows; the others count nowhere. None: all.

    Returns:
        (), at least 0; 0 when no channel is known.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    each = functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    mean = each.flatten(start_dim=2).mean(dim=2)  # (B, K)
    weight = torch.ones_like(mean) if known is None else known.to(mean.dtype)
    total, count = summed(torch.stack([(mean * weight).sum(), weight.sum()])).unbind()
    return total / count.clamp(min=1)
