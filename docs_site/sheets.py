"""Rows of slices as one picture, each with the outline of its lesion. Knows arrays and matplotlib; knows no brains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from strokelab.report.drawing import COLOURS, png

_INCHES = 1.75  # of a slice's longer side
_TITLE = 0.24  # height of its title, inches


@dataclass(frozen=True)
class Slice:
    """An axial slice (X, Y) of an image, of its lesion, the range of grey values that is shown, and its title."""

    image: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    title: str = ""
    limits: tuple[float, float] | None = None


def sheet(slices: Sequence[Slice], columns: int) -> bytes:
    """A PNG with the slices in rows of so many, the subject's right on the left, as in reports."""
    rows = -(-len(slices) // columns)
    sides = np.array([each.image.shape for each in slices]).max(axis=0)
    width, height = _INCHES * sides / sides.max()
    figure = Figure(figsize=(columns * width, rows * (height + _TITLE)), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0.0, hspace=0.0)
    for axes in figure.subplots(rows, columns, squeeze=False).ravel():
        axes.set_axis_off()
    for axes, each in zip(figure.axes, slices, strict=False):
        low, high = each.limits or limits_of(each.image)
        axes.imshow(each.image[::-1].T, cmap="gray", origin="lower", vmin=low, vmax=high, interpolation="nearest")
        if each.lesion.any() and not each.lesion.all():
            axes.contour(each.lesion[::-1].T, levels=[0.5], colors=[COLOURS[1]], linewidths=0.8)
        axes.set_title(each.title, fontsize=7, pad=2, parse_math=False)
    return png(figure, dpi=150, photo=True)


def limits_of(image: NDArray[np.float32]) -> tuple[float, float]:
    """The range that is shown: nearly all of the values, without single bright voxels."""
    low, high = np.percentile(image, (0.5, 99.7))
    return float(low), float(high) if high > low else float(low) + 1
