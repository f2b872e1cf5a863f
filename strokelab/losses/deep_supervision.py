"""Any loss over logits at several resolutions, with halving weights. Knows the losses' signature; knows no network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strokelab.buildable import buildable


@buildable("model")
class DeepSupervision(nn.Module):
    """Sum of a loss over logits, finest first, with weights 1, 1/2, 1/4 ... made to sum to 1.

    Args:
        each: (logits, target) -> scalar; with ``labelled_classes`` as a third where the data have partial labels.
        skip_coarsest: the last of the logits weighs nothing (nnU-Net's plain U-Net); with a single one it counts.

    Source: Huo 2022, released code; Isensee 2021.
    """

    def __init__(self, each: nn.Module, *, skip_coarsest: bool = True) -> None:
        super().__init__()
        self.each = each
        self.skip_coarsest = skip_coarsest

    def forward(
        self, logits: Tensor | Sequence[Tensor], target: Tensor, labelled_classes: Tensor | None = None
    ) -> Tensor:
        """Scalar loss.

        Args:
            logits: one tensor (B, K, *S), e.g. while validating; or several, finest first, of decreasing S.
            target: at the finest resolution; nearest neighbours of it are the targets of the coarser logits.
            labelled_classes: as the loss takes it.
        """
        if isinstance(logits, Tensor):
            return self._loss(logits, target, labelled_classes)
        total = target.new_zeros((), dtype=torch.float32)
        for weight, each in zip(weights(len(logits), skip_coarsest=self.skip_coarsest), logits, strict=True):
            if weight:
                total = total + weight * self._loss(each, _brought_down(target, each.shape[2:]), labelled_classes)
            else:
                total = total + 0.0 * each.sum(dtype=torch.float32)  # used, as DDP wants every weight to be
        return total

    def _loss(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None) -> Tensor:
        loss: Tensor = (
            self.each(logits, target) if labelled_classes is None else self.each(logits, target, labelled_classes)
        )
        return loss


def weights(outputs: int, *, skip_coarsest: bool) -> list[float]:
    """1, 1/2, 1/4 ... for so many outputs, finest first, made to sum to 1."""
    halving = [0.5**level for level in range(outputs)]
    if skip_coarsest and outputs > 1:
        halving[-1] = 0.0
    return [weight / sum(halving) for weight in halving]


def _brought_down(target: Tensor, size: Sequence[int]) -> Tensor:
    """The target at the voxels nearest to those of a coarser grid, (B, K, *size)."""
    if tuple(target.shape[2:]) == tuple(size):
        return target
    return functional.interpolate(target, size=tuple(size), mode="nearest-exact")
