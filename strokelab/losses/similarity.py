"""Structural similarity of a probability map and a mask, at several scales (U-Net 3+). Knows maps, no brains."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strokelab.buildable import buildable
from strokelab.distributed import summed
from strokelab.errors import ConfigError
from strokelab.losses.cross_entropy import binary_cross_entropy
from strokelab.losses.dice import unlike_maps

SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of five scales, the finest first, each half as fine as the one before (Wang 2003)."""
_WINDOW, _SD = 11, 1.5  # of the Gaussian window, pixels
_C1, _C2 = 0.01**2, 0.03**2  # of values from 0 to 1
_LEAST = 1e-6  # of a similarity, whose power would have no gradient at 0
_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}


def multiscale_similarity(first: Tensor, second: Tensor) -> Tensor:
    """MS-SSIM of two batches of maps of values from 0 to 1: (B, K, *S) twice -> (B, K), 1 for equal maps.

    The product over scales of the mean similarity of structure, and at the coarsest one of luminance as well, each to
    the power of its exponent. The window is no longer than the shortest side, and nothing is padded. A mean below 0
    counts as next to 0. In float32 or better.

    Args:
        first: q.
        second: p, of the same shape.

    Raises:
        ConfigError: a side below 16, which cannot be halved four times.

    Source: Wang 2003; window and exponents as in Huang 2020, released code.
    """
    if min(first.shape[2:]) < 2 ** (len(SCALES) - 1):
        raise ConfigError(
            "model.loss",
            found=f"samples of {tuple(first.shape[2:])}, compared at {len(SCALES)} scales",
            expected=f"sides of at least {2 ** (len(SCALES) - 1)}",
            remedy="change view.preparation.crop, or choose another loss, e.g. loss=dice_bce",
        )
    product: Tensor | None = None
    for scale, exponent in enumerate(SCALES):
        if scale:
            pool = _POOL[first.ndim - 2]
            first, second = pool(first, 2), pool(second, 2)
        luminance, structure = _similarities(first, second)
        compared = luminance * structure if scale == len(SCALES) - 1 else structure
        factor = compared.flatten(start_dim=2).mean(dim=2).clamp(min=_LEAST) ** exponent
        product = factor if product is None else product * factor
    assert product is not None
    return product


def _similarities(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity of luminance and of contrast and structure around each place that a whole window fits around."""
    stack = _blurred(torch.stack([x, y, x * x, y * y, x * y]))
    mean_x, mean_y, square_x, square_y, both = stack.unbind()
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    covariance, variances = both - mean_x * mean_y, square_x - mean_x**2 + square_y - mean_y**2
    return luminance, (2 * covariance + _C2) / (variances + _C2)


def _blurred(maps: Tensor) -> Tensor:
    """Maps (N, B, K, *S) under the window along each axis of S, as products with banded matrices."""
    window = min(_WINDOW, *maps.shape[3:])
    offsets = torch.arange(window, dtype=maps.dtype, device=maps.device) - (window - 1) / 2
    weights = torch.exp(-(offsets**2) / (2 * _SD**2))
    weights = weights / weights.sum()
    for axis in range(3, maps.ndim):
        length = maps.shape[axis]
        band = maps.new_zeros(length, length - window + 1)
        for offset, weight in enumerate(weights):
            band.diagonal(-offset).fill_(weight)
        maps = (maps.movedim(axis, -1) @ band).movedim(-1, axis)
    return maps


@buildable("model")
class OverlapSimilarityLoss(nn.Module):
    """``bce`` x binary cross-entropy + ``iou`` x (1 - IoU) + ``similarity`` x (1 - MS-SSIM), of the sigmoid of logits.

    IoU is sum(p q) / (sum(p) + sum(q) - sum(p q) + eps) and, as MS-SSIM, of each sample and channel; then the mean over
    those of all processes.

    Args:
        bce: weight of the cross-entropy.
        iou: weight of the IoU part.
        similarity: weight of the MS-SSIM part; 0: it is not computed.
        eps: keeps 0/0 at 0.

    Raises:
        ConfigError: when called, logits of other maps than the target's, or sides below 16.

    Source: Huang 2020, released code; the sum and eps are our decision.
    """

    single_map: ClassVar[bool] = True  # the lesion alone, by a sigmoid

    def __init__(self, bce: float = 1.0, iou: float = 1.0, similarity: float = 1.0, eps: float = 1e-7) -> None:
        super().__init__()
        self.bce, self.iou, self.similarity, self.eps = bce, iou, similarity, eps

    def forward(self, logits: Tensor, target: Tensor, labelled_classes: Tensor | None = None) -> Tensor:
        """Scalar loss.

        Args:
            logits: (B, K, *S).
            target: p, (B, K, *S) in 0..1.
            labelled_classes: (B, K) bool, the maps each sample knows; the others count nowhere. None: all.
        """
        if logits.shape != target.shape:
            raise unlike_maps(type(self).__name__, logits.shape[1])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        q, p = logits.sigmoid(), target.to(logits.dtype)
        with torch.autocast(logits.device.type, enabled=False):  # the window's products are float32
            each = self.iou * (1 - self._overlap(q, p))
            if self.similarity:
                each = each + self.similarity * (1 - multiscale_similarity(q, p))
        weight = torch.ones_like(each) if labelled_classes is None else labelled_classes.to(each.dtype)
        total, count = summed(torch.stack([(each * weight).sum(), weight.sum()])).unbind()
        return self.bce * binary_cross_entropy(logits, target, labelled_classes) + total / count.clamp(min=1)

    def _overlap(self, q: Tensor, p: Tensor) -> Tensor:
        both, one, other = (part.flatten(start_dim=2).sum(dim=2) for part in (p * q, p, q))
        return both / (one + other - both + self.eps)
