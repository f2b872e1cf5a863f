"""Any loss over several logits, with halving weights or given ones. Knows the losses' signature; knows no network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strokelab.buildable import buildable
from strokelab.errors import ConfigError


@buildable("model")
class DeepSupervision(nn.Module):
    """Sum of a loss over logits, finest first, with weights 1, 1/2, 1/4 ... made to sum to 1, or as they are given.

    Args:
        each: (logits, target) -> scalar; with ``labelled_classes`` as a third where the data have partial labels.
        skip_coarsest: the last of the logits weighs nothing (nnU-Net's plain U-Net); with a single one it counts.

        given: weights as they are, one for each of the logits, e.g. 1 and 0.4 (PSPNet); None: halving ones.

    Raises:
        ConfigError: not as many weights are given as there are logits.

    Source: Huo 2022, released code; Isensee 2021.
    """

    def __init__(self, each: nn.Module, *, skip_coarsest: bool = True, given: Sequence[float] | None = None) -> None:
        super().__init__()
        self.each = each
        self.skip_coarsest = skip_coarsest
        self.given = None if given is None else tuple(given)

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
        for weight, each in zip(self._weights(len(logits)), logits, strict=True):
            if weight:
                total = total + weight * self._loss(each, _brought_down(target, each.shape[2:]), labelled_classes)
            else:
                total = total + 0.0 * each.sum(dtype=torch.float32)  # used, as DDP wants every weight to be
        return total

    def _weights(self, outputs: int) -> Sequence[float]:
        if self.given is None:
            return weights(outputs, skip_coarsest=self.skip_coarsest)
        if len(self.given) != outputs:
            raise ConfigError(
                "model.loss.given",
                found=f"{len(self.given)} weights for {outputs} logits",
                expected="one for each",
                remedy="set ++model.loss.given=null",
            )
        return self.given

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
