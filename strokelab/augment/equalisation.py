"""Histogram equalisation of tensors, on any device. Knows values; knows no brain and no sample.

``preparation.normalize.equalised`` is the same for arrays, computed in double precision.
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 256
_TOP = 255.0


def equalised(values: Tensor) -> Tensor:
    """Grey values by their ranks, 0 to 255, monotone; a constant image becomes 0.

    Args:
        values: of one channel, any shape, floating.

    Returns:
        The same shape, float32 or better. Of ``BINS`` bins between the least and the largest value, cumulative counts
        are stretched to 0..255, and interpolated linearly between the bins' centres (MONAI's ``HistogramNormalize``).
    """
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    low, high = values.aminmax()
    if low == high:
        return torch.zeros_like(values)
    place = (values - low) * (BINS / (high - low))
    counts = torch.bincount(place.to(torch.int64).clamp_(max=BINS - 1).flatten(), minlength=BINS)
    cumulative = counts.cumsum(dim=0).double()
    heights = ((cumulative - cumulative[0]) / (cumulative[-1] - cumulative[0]) * _TOP).to(values.dtype)
    place = place.sub_(0.5).clamp_(0, BINS - 1)
    below = place.to(torch.int64)
    return torch.lerp(heights[below], heights[(below + 1).clamp_(max=BINS - 1)], place.sub_(below))
