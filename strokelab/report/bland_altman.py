"""Lesion volumes of two sides against each other: Bland and Altman's picture. Knows volumes and limits, no masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from strokelab.report.cells import plain_number
from strokelab.report.drawing import COLOURS, GREY, PALE, log_axis, plain
from strokelab.statistics.agreement import Agreement

Volumes = NDArray[np.float64]


def bland_altman(
    first: ArrayLike, second: ArrayLike, names: tuple[str, str], *, differences: Agreement, ratios: Agreement
) -> Figure:
    """Two panels over the mean volume of both sides, log axis: differences in ml, and ratios.

    Lesions differ in size by orders of magnitude, and so do the differences between their volumes: the limits in ml
    suit large lesions only, those of the ratio suit all. Pairs with an empty mask have no ratio and, when both are
    empty, no place on the log axis; captions must count them.

    Args:
        first: volumes (pairs,), ml.
        second: the same pairs, ml.
        names: what the two sides are called.
        differences: limits of second - first, ml.
        ratios: limits of log(second / first).
    """
    one, other = (np.asarray(volumes, dtype=np.float64) for volumes in (first, second))
    figure = Figure(figsize=(8.6, 3.5), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2)
    some = one + other > 0
    _panel(left, (one + other)[some] / 2, (other - one)[some])
    _limits(left, [differences.lower, differences.bias, differences.upper], _ends(differences), unit=" ml")
    left.set_ylabel(f"{names[1]} − {names[0]} (ml)", fontsize=9, parse_math=False)
    both = (one > 0) & (other > 0)
    _panel(right, np.sqrt(one[both] * other[both]), other[both] / one[both])
    middle = [float(np.exp(value)) for value in (ratios.lower, ratios.bias, ratios.upper)]
    _limits(right, middle, np.exp(_ends(ratios)), unit=" ×")
    log_axis(right, "y", base=2)
    right.set_ylabel(f"{names[1]} / {names[0]}", fontsize=9, parse_math=False)
    left.set_xlabel("Mean of the two volumes (ml)", fontsize=9)
    right.set_xlabel("Geometric mean of the two volumes (ml)", fontsize=9)
    return figure


def _ends(limits: Agreement) -> NDArray[np.float64]:
    return np.array([limits.lower_interval, limits.bias_interval, limits.upper_interval])


def _panel(axes: Axes, sizes: Volumes, values: Volumes) -> None:
    plain(axes)
    log_axis(axes, "x")
    axes.grid(color=PALE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.scatter(sizes, values, s=18, color=COLOURS[0], alpha=0.7, linewidths=0)


def _limits(axes: Axes, values: Sequence[float], ends: NDArray[np.float64], *, unit: str) -> None:
    """Bias and limits as lines with their intervals as bands, named at the right border."""
    for value, (low, high), dashes, name in zip(
        values, ends, ("--", "-", "--"), ("−1.96 SD", "bias", "+1.96 SD"), strict=True
    ):
        if not np.isfinite(value):
            continue
        axes.axhline(value, color=GREY, linewidth=1.1, linestyle=dashes)
        if np.isfinite([low, high]).all():
            axes.axhspan(low, high, color=GREY, alpha=0.12, linewidth=0)
        axes.annotate(
            f"{name}\n{plain_number(value, 2)}{unit}",
            (1.0, value),
            (4, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            ha="left",
            fontsize=7.5,
            color=GREY,
        )
