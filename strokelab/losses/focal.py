"""Focal loss: cross-entropy that learns less from what is sure already. Knows masks, no brains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.distributed import summed
from strokelab.errors import ConfigError
from strokelab.losses.cross_entropy import log_probabilities

_LEAST = 1e-7  # probabilities are kept this far from 0 and 1


@buildable("model")
class FocalLoss(nn.Module):
    """Mean over voxels of ``-sum_k a_k y_k (1 - p_k)^gamma log p_k``, over the samples of all processes.

    p is the softmax over the maps, of a single map its sigmoid beside 1 minus it; kept in [1e-7, 1 - 1e-7].

    Args:
        alpha_healthy: a of all classes but the lesion, whose a is 1 minus this.
        gamma: 0 is weighted cross-entropy.
        lesion_channel: which of several maps is the lesion; of a single map it is the only one.

    Raises:
        ConfigError: ``alpha_healthy`` outside 0..1 or ``gamma`` below 0.

    Source: Lin 2017, equation 5; Clèrigues 2019, equation 1 (0.25, 2).
    """

    def __init__(self, alpha_healthy: float = 0.25, gamma: float = 2.0, lesion_channel: int = 1) -> None:
        super().__init__()
        if not (0 <= alpha_healthy <= 1 and gamma >= 0):
            raise ConfigError(
                "model.loss.alpha_healthy, model.loss.gamma",
                found=f"{alpha_healthy}, {gamma}",
                expected="a weight from 0 to 1, and an exponent of at least 0",
                remedy="leave both out, for 0.25 and 2",
            )
        self.alpha_healthy, self.gamma, self.lesion_channel = alpha_healthy, gamma, lesion_channel

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """The loss, ().

        Args:
            logits: (B, K, *S).
            target: (B, K, *S) in 0..1; or the lesion alone, (B, 1, *S), for K of 1 or 2.
            labelled_classes: (B, K) bool, the classes that each sample knows: its softmax runs over these alone. None:
                all. Samples that know fewer than two classes do not count.
        """
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        target = target.to(logits.dtype)
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
            lesion, labelled_classes = 1, None
        else:
            lesion = self.lesion_channel % logits.shape[1]
        if target.shape[1] == 1:
            both = [1 - target, target]
            target = torch.cat(both if lesion else both[::-1], dim=1)
        p = log_probabilities(logits, labelled_classes).exp().clamp(_LEAST, 1 - _LEAST)
        each = -target * (1 - p) ** self.gamma * p.log()
        weights = torch.full((logits.shape[1],), self.alpha_healthy, dtype=each.dtype, device=each.device)
        weights[lesion] = 1 - self.alpha_healthy
        means = (each.flatten(start_dim=2).mean(dim=2) * weights).sum(dim=1)  # (B,); not a product, which is autocast
        known = torch.ones_like(means) if labelled_classes is None else (labelled_classes.sum(dim=1) > 1).to(means)
        total, count = summed(torch.stack([(means * known).sum(), known.sum()])).unbind()
        return total / count.clamp(min=1)
