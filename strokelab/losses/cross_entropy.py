"""Cross-entropy over independent maps or over classes, of all voxels or of the worst. Knows masks, no brains.

Targets may be fractional and classes unknown. In float32 or better, over the samples of all processes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from strokelab.buildable import buildable
from strokelab.distributed import rank, summed, world_size


@buildable("model")
def binary_cross_entropy(logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
    """Mean over voxels of ``-p log q - (1 - p) log(1 - q)``, in float32 or better, over the samples of all processes.

    Args:
        logits: of q, (B, K, *S).
        target: p, (B, K, *S) in 0..1.
        labelled_classes: (B, K) bool, the channels each sample knows; the others count nowhere. None: all.

    Returns:
        (), at least 0; 0 when no channel is labelled.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    each = functional.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction="none")
    mean = each.flatten(start_dim=2).mean(dim=2)  # (B, K)
    weight = torch.ones_like(mean) if labelled_classes is None else labelled_classes.to(mean.dtype)
    total, count = summed(torch.stack([(mean * weight).sum(), weight.sum()])).unbind()
    return total / count.clamp(min=1)


@buildable("model")
def softmax_cross_entropy(
    logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None, *, worst_percent: float | None = None
) -> Tensor:
    """Mean over voxels of ``-sum_k p_k log q_k`` with q = softmax over the classes.

    Args:
        logits: (B, K, *S), K of 2 or more.
        target: p, (B, K, *S), sums to 1; or the lesion alone, (B, 1, *S) for K = 2.
        labelled_classes: (B, K) bool, the classes each sample knows: its softmax runs over these alone. None: all.
        worst_percent: the mean of the largest so many per cent of all voxels of the batch, rounded down, at least one
            voxel: MAPPING's TopK (k = 10); samples that know fewer than two classes do not count. None: of all.

    Returns:
        (), at least 0; 0 when no sample knows two classes.
    """
    each = _per_voxel(logits, target, labelled_classes)  # (B, *S)
    counted = (
        torch.ones(len(each), dtype=torch.bool, device=each.device)
        if labelled_classes is None
        else labelled_classes.sum(dim=1) > 1
    )
    if worst_percent is not None:
        return _mean_of_largest(each.flatten() if labelled_classes is None else each[counted].flatten(), worst_percent)
    means, weight = each.flatten(start_dim=1).mean(dim=1), counted.to(each.dtype)
    total, count = summed(torch.stack([(means * weight).sum(), weight.sum()])).unbind()
    return total / count.clamp(min=1)


def _per_voxel(logits: Tensor, target: Tensor, labelled_classes: Tensor | None) -> Tensor:
    """(B, *S)."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    target = target.to(logits.dtype)
    if logits.shape[1] == 2 and labelled_classes is None:  # one map instead of two: log q = -softplus of the difference
        lesion = target[:, -1]
        difference = logits[:, 1] - logits[:, 0]
        return functional.softplus(difference) - lesion * difference
    if target.shape[1] == 1:
        target = torch.cat([1 - target, target], dim=1)
    return -(target * log_probabilities(logits, labelled_classes)).sum(dim=1)


def log_probabilities(logits: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
    """``log softmax`` of (B, K, *S) over the classes that each sample knows (B, K) bool; 0 for the others.

    Args:
        logits: (B, K, *S).
        labelled_classes: None: all.
    """
    if labelled_classes is None:
        return logits.log_softmax(dim=1)
    unknown = ~labelled_classes.view(*labelled_classes.shape, *[1] * (logits.ndim - 2))
    # Not -inf: 0 * inf is no number, and neither is a softmax over nothing.
    least = torch.finfo(logits.dtype).min
    return logits.masked_fill(unknown, least).log_softmax(dim=1).masked_fill(unknown, 0.0)


def _mean_of_largest(values: Tensor, percent: float) -> Tensor:
    """Mean of the largest ``percent`` of the values (N,) of all processes, each at least 0."""
    count = int(summed(torch.tensor(values.numel(), dtype=torch.float64, device=values.device)).item())
    if count == 0:
        return values.sum()
    kept = max(1, math.floor(percent * count / 100))
    mine = values.topk(min(kept, values.numel()), sorted=False).values
    if world_size() == 1:
        return mine.mean()
    # Every process shows its largest; the smallest of the largest of all is where the list ends.
    rows = values.new_zeros(world_size(), kept)
    rows[rank(), : mine.numel()] = mine.detach()
    threshold = summed(rows).flatten().topk(kept).values[-1]
    above, ties = (mine > threshold).to(mine.dtype), (mine == threshold).to(mine.dtype)
    numbers = torch.stack([above.sum(), ties.sum()]).double()
    all_above, all_ties = summed(numbers).unbind()
    share = (kept - all_above) / all_ties.clamp(min=1)  # equal values share what room is left
    return summed((mine * (above + share.to(mine.dtype) * ties)).sum()) / kept
