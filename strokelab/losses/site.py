"""How well sites are classified, and how far that is from chance: Dinsdale 2021. Knows logits of sites.

Samples whose site is unknown (-1) count nowhere. Sums run over the samples of all processes of a training.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from strokelab.distributed import summed


def domain_loss(logits: Tensor, site: Tensor) -> Tensor:
    """L_dom: binary cross-entropy of softmax outputs against the one-hot site, the mean over samples and sites.

    Args:
        logits: (B, K).
        site: (B,) int64 in 0..K-1, or -1 for unknown.

    Returns:
        (), 0 where no site is known.
    """
    logits, known = _wide(logits), site >= 0
    truth = F.one_hot(site.clamp(min=0), logits.shape[1]).to(logits.dtype)
    each = -torch.where(truth.bool(), F.log_softmax(logits, dim=1), _log_of_the_others(logits)).sum(dim=1)
    total = torch.where(known, each, 0.0).sum()
    total, count = summed(torch.stack([total, known.sum().to(total.dtype)])).unbind()
    return total / (count.clamp(min=1) * logits.shape[1])


def confusion_loss(logits: Tensor, site: Tensor) -> Tensor:
    """L_conf: cross-entropy of a guess that is uniform over the K sites against softmax outputs, *summed* over samples.

    Args:
        logits: (B, K).
        site: (B,), of which only counts whether it is known.

    Returns:
        (), at least (number of known samples) x ln K, which uniform outputs reach.
    """
    each = -F.log_softmax(_wide(logits), dim=1).mean(dim=1)
    return summed(torch.where(site >= 0, each, 0.0).sum())


def _log_of_the_others(logits: Tensor) -> Tensor:
    """log(1 - p) of p by a softmax, (B, K): finite for any logits."""
    own = torch.eye(logits.shape[1], dtype=torch.bool, device=logits.device)
    others = logits[:, None, :].expand(-1, logits.shape[1], -1).masked_fill(own, -torch.inf)
    return others.logsumexp(dim=2) - logits.logsumexp(dim=1, keepdim=True)


def _wide(logits: Tensor) -> Tensor:
    return logits.to(torch.promote_types(logits.dtype, torch.float32))
