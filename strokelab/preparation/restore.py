"""The way back: what was computed on the prepared grid, brought to the input's own grid; knows steps, no files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from strokelab.grid import Interpolation, Resample, Step


def restore(array: NDArray[Any], steps: Sequence[Step], interpolation: Interpolation = "linear") -> NDArray[Any]:
    """(..., X, Y, Z) on the prepared grid to the native grid, the steps played backwards; 0 where the crop had cut.

    Exact unless a step resamples; then values are interpolated (``"nearest"`` keeps the dtype).

    Raises:
        ValueError: the array does not have the shape that the steps end in.
    """
    if steps and array.shape[-3:] != steps[-1].target.shape:
        raise ValueError(f"array of shape {array.shape}, the prepared grid has {steps[-1].target.shape}")
    for step in reversed(steps):
        array = step.invert(array, interpolation)
    return array


def restore_mask(mask: NDArray[Any], steps: Sequence[Step]) -> NDArray[np.uint8]:
    """A 0/1 mask (X, Y, Z) on the prepared grid to the native grid as uint8.

    Exact unless a step resamples; then a native voxel is set where linear interpolation reaches 0.5.
    """
    if any(isinstance(step, Resample) for step in steps):
        return (restore(np.asarray(mask, dtype=np.float32), steps, "linear") >= 0.5).astype(np.uint8)
    return restore(np.asarray(mask).astype(np.uint8), steps, "nearest")
