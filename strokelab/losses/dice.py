"""Soft Dice, with squares in the denominator (SG-Net) or without (nnU-Net). Knows masks, no brains.

``soft_dice_loss`` is Yu 2022, equation 7. On an empty sample it stays near 1, with hardly any gradient, until the
prediction is almost exactly zero; that is the paper's. ``over="batch"`` does not have this plateau unless the whole
batch is empty.
"""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.distributed import summed
from strokelab.errors import ConfigError

Over = Literal["sample", "batch"]


@buildable("model")
def soft_dice_loss(
    probability: Tensor,
    target: Tensor,
    *,
    over: Over = "sample",
    eps: float = 1e-5,
    labelled_classes: Tensor | None = None,
) -> Tensor:
    """Mean of ``1 - (2 sum(p q) + eps) / (sum(p^2) + sum(q^2) + eps)``, in float32 or better.

    Samples and batch are those of all processes of a training.

    Args:
        probability: q, (B, K, *S) in 0..1.
        target: p, (B, K, *S) in 0..1; fractions are allowed.
        over: "sample": one Dice per sample and channel, then their mean; "batch": sums run over the batch as well.
        eps: keeps 0/0 at 1.
        labelled_classes: (B, K) bool, the channels each sample knows; the others count nowhere. None: all.

    Returns:
        (), 0 for a perfect prediction, towards 1 for a wrong one.
    """
    q = probability.to(torch.promote_types(probability.dtype, torch.float32)).flatten(start_dim=2)
    p = target.to(q.dtype).flatten(start_dim=2)
    overlap = 2 * (p * q).sum(dim=2)  # (B, K)
    size = p.square().sum(dim=2) + q.square().sum(dim=2)
    weight = torch.ones_like(overlap) if labelled_classes is None else labelled_classes.to(overlap.dtype)
    if over == "batch":
        sums = torch.stack([(overlap * weight).sum(dim=0), (size * weight).sum(dim=0), weight.sum(dim=0)])
        overlap, size, weight = summed(sums).unbind()
        known_at_all = (weight > 0).to(overlap.dtype)
        total, count = ((1 - _dice(overlap, size, eps)) * known_at_all).sum(), known_at_all.sum()
    else:
        total, count = summed(torch.stack([((1 - _dice(overlap, size, eps)) * weight).sum(), weight.sum()])).unbind()
    return total / count.clamp(min=1)


@buildable("model")
def lesion_dice(
    logits: Tensor,
    target: Tensor,
    labelled_classes: Tensor | None = None,
    *,
    over: Over = "sample",
    smooth: float = 1e-5,
    guard: float = 1e-8,
) -> Tensor:
    """nnU-Net's soft Dice: ``(2 sum(q p) + s) / (sum(q) + sum(p) + s + g)``, of all classes but the background.

    Sigmoid of a single map, softmax over several; samples and batch are those of all processes of a training.

    Args:
        logits: (B, K, *S); of several classes the first is background and does not count.
        target: p, (B, K, *S) in 0..1, or the lesion alone, (B, 1, *S) for K = 2.
        labelled_classes: (B, K) bool, the labelled ones of each sample: the softmax runs over these alone, the others
            count nowhere, nor does a sample that knows one of several. None: all.
        over: "sample": one Dice per sample and class, then their mean; "batch": sums run over the batch as well.
        smooth: s.
        guard: g; where s is above 0, it can be 0.

    Returns:
        (), 1 for a perfect prediction; 0 when no class is labelled. The loss is its negative.

    Source: Huo 2022, released code; Isensee 2021.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    classes = logits.shape[1]
    if labelled_classes is not None and classes > 1:
        unknown = ~labelled_classes.view(*labelled_classes.shape, *[1] * (logits.ndim - 2))
        logits = logits.masked_fill(unknown, torch.finfo(logits.dtype).min)
    if classes == 1:
        q = logits.sigmoid()
    elif classes == 2:  # softmax of two is the sigmoid of their difference
        q = (logits[:, 1:] - logits[:, :1]).sigmoid() if labelled_classes is None else logits.softmax(dim=1)[:, 1:]
    else:
        q = logits.softmax(dim=1)[:, 1:]
    first = target.shape[1] - q.shape[1]  # a background among the targets
    p = target[:, first:].to(q.dtype).flatten(start_dim=2)
    q = q.flatten(start_dim=2)
    weight = q.new_ones(q.shape[:2])
    if labelled_classes is not None:
        counted = labelled_classes[:, classes - q.shape[1] :]
        weight = (counted if classes == 1 else counted & (labelled_classes.sum(dim=1, keepdim=True) > 1)).to(q.dtype)
    overlap, size = 2 * (q * p).sum(dim=2), q.sum(dim=2) + p.sum(dim=2)  # (B, classes)
    if over == "batch":
        overlap, size, weight = summed(torch.stack([overlap * weight, size * weight, weight]).sum(dim=1)).unbind()
        weight = (weight > 0).to(q.dtype)
        total, count = (weight * (overlap + smooth) / (size + smooth + guard)).sum(), weight.sum()
    else:
        each = weight * (overlap + smooth) / (size + smooth + guard)
        total, count = summed(torch.stack([each.sum(), weight.sum()])).unbind()
    return total / count.clamp(min=1)


def unlike_maps(loss: str, maps: int) -> ConfigError:
    """A loss of the lesion's map alone met a network of several maps."""
    return ConfigError(
        "model.loss",
        found=f"{loss}, a loss of one map, with a network of {maps} maps",
        expected="as many maps as the loss takes",
        remedy="choose loss=dice_ce, which takes one map or several, or a network of one map",
    )


def _dice(overlap: Tensor, size: Tensor, eps: float) -> Tensor:
    return (overlap + eps) / (size + eps)


@buildable("model")
class DiceLoss(nn.Module):
    """``soft_dice_loss`` of the sigmoid of logits.

    Args:
        over: "sample" (paper) or "batch".
        eps: 1e-5.

    Raises:
        ConfigError: another word for ``over``; when called, logits of other maps than the target's.
    """

    single_map: ClassVar[bool] = True  # the lesion alone, by a sigmoid

    def __init__(self, over: Over = "sample", eps: float = 1e-5) -> None:
        super().__init__()
        if over not in get_args(Over):
            raise ConfigError(
                "DiceLoss", found=f"over={over!r}", expected="'sample' or 'batch'", remedy="set model.loss.over"
            )
        self.over: Over = over
        self.eps = eps

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss of logits (B, K, *S) against a target (B, K, *S); further as ``soft_dice_loss``."""
        if logits.shape != target.shape:
            raise unlike_maps(type(self).__name__, logits.shape[1])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return soft_dice_loss(logits.sigmoid(), target, over=self.over, eps=self.eps, labelled_classes=labelled_classes)


@buildable("model")
class ClassesDiceLoss(nn.Module):
    """Sum over all classes, background included, of ``1 - (2 sum(p q) + s) / (sum(p) + sum(q) + s)``, q by a softmax.

    One Dice of each sample and class; then the mean over the samples of all processes.

    Args:
        smooth: s.

    Raises:
        ConfigError: when called, logits of a single map.

    Source: Xue 2020 (multi-path 2.5D CNN), released code.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__()
        self.smooth = smooth

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *S), K of 2 or more, background first.
            target: p, (B, K, *S); or the lesion alone, (B, 1, *S) for K = 2.
            labelled_classes: (B, K) bool; a sample that does not know all classes does not count. None: all do.
        """
        if logits.shape[1] < 2:
            raise ConfigError(
                "model.loss",
                found="ClassesDiceLoss, a loss of all classes, with a network of one map",
                expected="two maps or more, background first",
                remedy="choose loss=dice, or set model.network.out_channels=2 model.lesion_channel=1",
            )
        q = logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(dim=1).flatten(start_dim=2)
        p = target.to(q.dtype).flatten(start_dim=2)
        p = torch.cat([1 - p, p], dim=1) if p.shape[1] == 1 else p
        each = (1 - _dice(2 * (p * q).sum(dim=2), p.sum(dim=2) + q.sum(dim=2), self.smooth)).sum(dim=1)  # (B,)
        known = torch.ones_like(each) if labelled_classes is None else labelled_classes.all(dim=1).to(each.dtype)
        total, count = summed(torch.stack([(each * known).sum(), known.sum()])).unbind()
        return total / count.clamp(min=1)


@buildable("model")
class BatchDiceLoss(nn.Module):
    """``1 - 2 sum(p y) / (sum(p) + sum(y) + guard)``, without squares, of sums over the whole batch.

    p is the sigmoid of a single map; of several the softmax, and the mean over all classes but the background.

    Args:
        guard: keeps 0/0 at 0, so that without a lesion the loss is 1 and has no gradient.

    Source: Dinsdale 2021, released code.
    """

    def __init__(self, guard: float = 1e-7) -> None:
        super().__init__()
        self.guard = guard

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss of logits (B, K, *S) against a target (B, K, *S); further as ``lesion_dice``."""
        return 1 - lesion_dice(logits, target, labelled_classes, over="batch", smooth=0.0, guard=self.guard)
