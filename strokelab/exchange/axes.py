"""The order of axes in nnU-Net's arrays and in ours. Knows integers and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

Value = TypeVar("Value")
Axes = tuple[int, int, int]


def axes_of(transpose_forward: Sequence[int]) -> Axes:
    """Where X, Y and Z of a file stand in nnU-Net's arrays, whose axes are Z, Y, X, then transposed by its plan.

    Raises:
        ValueError: that is no order of three axes.
    """
    if sorted(transpose_forward) != [0, 1, 2]:
        raise ValueError(f"transpose_forward {list(transpose_forward)}")
    x, y, z = (list(transpose_forward).index(2 - axis) for axis in range(3))
    return x, y, z


def along(values: Sequence[Value], axes: Axes) -> tuple[Value, Value, Value]:
    """Three values in nnU-Net's order, in the order X, Y, Z."""
    x, y, z = (values[axis] for axis in axes)
    return x, y, z


def turned(weight: Tensor, axes: Axes) -> Tensor:
    """A kernel (O, I, ...) of nnU-Net's as one that works on (X, Y, Z); tensors without such axes as they are."""
    if weight.ndim != 5:
        return weight
    return weight.permute(0, 1, *(2 + axis for axis in axes)).contiguous()
