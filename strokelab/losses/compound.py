"""Sums of losses that papers train with. Knows the losses; knows no network."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.distributed import summed
from strokelab.errors import ConfigError
from strokelab.losses.cross_entropy import binary_cross_entropy, softmax_cross_entropy
from strokelab.losses.dice import DiceLoss, Over, lesion_dice, unlike_maps
from strokelab.losses.focal import FocalLoss


@buildable("model")
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

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss of logits (B, K, *S) against a target (B, K, *S); further as ``soft_dice_loss``."""
        return super().forward(logits, target, labelled_classes) + self.weight * binary_cross_entropy(
            logits, target, labelled_classes
        )


@buildable("model")
class BCEDiceLoss(nn.Module):
    """``bce`` x binary cross-entropy + ``dice`` x (1 - (2 sum(p y) + e) / (sum(p) + sum(y) + e)), p by a sigmoid.

    All sums run over the voxels of the whole batch, of all processes, in float32 or better; finite for any logit.

    Args:
        bce: weight of the cross-entropy.
        dice: weight of the Dice part, which has no squares and, without a lesion, hardly a gradient.
        eps: e, so small that 0/0 alone becomes 1.

    Raises:
        ConfigError: when called, logits of other maps than the target's.

    Source: Tomita 2020 ("affine combination"); weights and e of the released code.
    """

    single_map: ClassVar[bool] = True  # the lesion alone, by a sigmoid

    def __init__(self, bce: float = 0.1, dice: float = 0.9, eps: float = 2.2e-16) -> None:
        super().__init__()
        self.bce, self.dice, self.eps = bce, dice, eps

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *S).
            target: y, (B, K, *S) in 0..1.
            labelled_classes: (B, K) bool, the maps each sample knows; the others count nowhere. None: all.
        """
        if logits.shape != target.shape:
            raise unlike_maps(type(self).__name__, logits.shape[1])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        p, y = logits.sigmoid().flatten(start_dim=2), target.to(logits.dtype).flatten(start_dim=2)
        sums = torch.stack([2 * (p * y).sum(dim=2), p.sum(dim=2) + y.sum(dim=2)])  # (2, B, K)
        if labelled_classes is not None:
            sums = sums * labelled_classes.to(sums.dtype)
        overlap, size = summed(sums.flatten(start_dim=1).sum(dim=1)).unbind()
        dice = (overlap + self.eps) / (size + self.eps)
        return self.bce * binary_cross_entropy(logits, target, labelled_classes) + self.dice * (1 - dice)


@buildable("model")
class EnhancedMixingLoss(nn.Module):
    """``-ln Dice`` + focal loss, of one map: D-UNet's enhanced mixing loss.

    Dice is (2 sum(p q) + e) / (sum(p^2) + sum(q^2) + e) over the voxels of the whole batch, of all processes.

    Args:
        alpha_healthy: of the focal part, weight of healthy voxels; lesion voxels weigh 1 minus this.
        gamma: of the focal part.
        eps: e.

    Raises:
        ConfigError: when called, logits of other maps than the target's; settings as ``FocalLoss``.

    Source: Zhou 2019, released code (0.52, 1.1, 1).
    """

    single_map: ClassVar[bool] = True  # the lesion alone, by a sigmoid

    def __init__(self, alpha_healthy: float = 0.52, gamma: float = 1.1, eps: float = 1.0) -> None:
        super().__init__()
        self.focal, self.eps = FocalLoss(alpha_healthy, gamma), eps

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, 1, *S).
            target: p, (B, 1, *S) in 0..1.
            labelled_classes: not looked at: there is one map.
        """
        if logits.shape != target.shape or logits.shape[1] != 1:
            raise unlike_maps(type(self).__name__, logits.shape[1])
        q = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
        p = target.to(q.dtype)
        overlap, size = summed(torch.stack([2 * (p * q).sum(), p.square().sum() + q.square().sum()])).unbind()
        focal: Tensor = self.focal(logits, target)
        return focal + torch.log(size + self.eps) - torch.log(overlap + self.eps)


@buildable("model")
class DiceCELoss(nn.Module):
    """nnU-Net's loss: ``ce`` x cross-entropy - ``dice`` x soft Dice of the lesion, down to -1 for a perfect prediction.

    Args:
        dice: weight of the Dice part.
        ce: weight of the cross-entropy.
        smooth: of the Dice part.
        batch_dice: sums of the Dice part run over the batch as well.
        topk: per cent of the voxels of the batch, those of the largest cross-entropy, that count in its mean
            (MAPPING's DTK10: 10); None: all.

    Raises:
        ConfigError: ``topk`` is no share.

    Source: Huo 2022, released code; Isensee 2021.
    """

    def __init__(
        self,
        *,
        dice: float = 1.0,
        ce: float = 1.0,
        smooth: float = 1e-5,
        batch_dice: bool = False,
        topk: float | None = None,
    ) -> None:
        super().__init__()
        if topk is not None and not 0 < topk <= 100:
            raise ConfigError(
                "DiceCELoss", found=f"topk={topk}", expected="per cent, above 0 and up to 100", remedy="set topk to 10"
            )
        self.dice, self.ce, self.smooth, self.topk = dice, ce, smooth, topk
        self.over: Over = "batch" if batch_dice else "sample"

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *S); K = 1: sigmoid, else softmax with the background first.
            target: (B, K, *S), or the lesion alone, (B, 1, *S) for K = 2.
            labelled_classes: (B, K) bool, the classes each sample knows; None: all.

        Raises:
            ConfigError: ``topk`` for a single map.
        """
        dice = lesion_dice(logits, target, labelled_classes, over=self.over, smooth=self.smooth)
        return self.ce * self._cross_entropy(logits, target, labelled_classes) - self.dice * dice

    def _cross_entropy(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None) -> Tensor:
        if logits.shape[1] > 1:
            return softmax_cross_entropy(logits, target, labelled_classes, worst_percent=self.topk)
        if self.topk is not None:
            raise ConfigError(
                "DiceCELoss",
                found=f"topk={self.topk} for a single map",
                expected="softmax over background and lesion",
                remedy="set model.network.out_channels=2 and model.lesion_channel=1, or topk to null",
            )
        return binary_cross_entropy(logits, target, labelled_classes)


@buildable("model")
class SoftDiceCELoss(DiceCELoss):
    """``dice`` x (1 - Dice) + ``ce`` x cross-entropy, of fractional targets; 0 for a perfect prediction.

    Dice is ``(2 sum(p t) + e) / (sum(p) + sum(t) + e)`` of each class but the background, with p by a softmax and sums
    over batch and space, and then the mean over the classes; the cross-entropy is the mean over voxels, of all classes.

    Args:
        dice: weight of the Dice part.
        ce: weight of the cross-entropy.
        eps: e.

    Source: Chalcroft 2024, released code (MONAI's ``DiceCELoss`` with ``batch=True``, ``include_background=False``).
    """

    def __init__(self, *, dice: float = 1.0, ce: float = 1.0, eps: float = 1e-5) -> None:
        super().__init__(dice=dice, ce=ce, smooth=eps, batch_dice=True)

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss; as ``DiceCELoss``, with softmax and sums over the classes that each sample knows alone."""
        dice = lesion_dice(logits, target, labelled_classes, over=self.over, smooth=self.smooth, guard=0.0)
        return self.ce * self._cross_entropy(logits, target, labelled_classes) + self.dice * (1 - dice)
