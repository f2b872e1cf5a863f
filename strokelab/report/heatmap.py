"""Numbers of a grid as colours with the numbers on them. Knows matplotlib's objects; knows no table and no page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from strokelab.report.drawing import WIDTH, broken, new_figure

_DARK = 0.55  # of the scale: from here on letters are white
_LETTERS = 36  # of a name in a line


def heatmap(
    values: NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    label: str,
    marked: NDArray[np.bool_] | None = None,
) -> Figure:
    """A cell per row and column, coloured from 0 to 1; cells without a number are hatched.

    Args:
        values: (rows, columns), shares; NaN = no number.
        rows: names, from the top.
        columns: names, from the left.
        label: of the scale.
        marked: (rows, columns) cells with a frame.
    """
    rows, columns = ([broken(name, _LETTERS) for name in names] for names in (rows, columns))
    longest = max(len(line) for name in rows for line in name.splitlines())
    width = max(WIDTH, 1.1 + 0.075 * longest + 0.85 * len(columns))
    row_height = max(0.42, 0.15 * max(name.count("\n") + 1 for name in rows))
    figure, axes = new_figure(1.3 + row_height * len(rows), width=width)
    axes.locator_params(axis="both", nbins=max(len(rows), len(columns)) + 1)
    image = axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=25, ha="right", rotation_mode="anchor", parse_math=False)
    axes.set_yticks(range(len(rows)), rows, parse_math=False)
    for (row, column), value in np.ndenumerate(values):
        corner = (column - 0.5, row - 0.5)
        if np.isnan(value):
            axes.add_patch(Rectangle(corner, 1, 1, fill=False, hatch="///", edgecolor="#bbbbbb", linewidth=0))
        else:
            colour = "white" if value > _DARK else "black"
            axes.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=8, color=colour)
        if marked is not None and marked[row, column]:
            frame = Rectangle(corner, 1, 1, fill=False, edgecolor="#D55E00", linewidth=2, zorder=3, clip_on=False)
            axes.add_patch(frame)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    bar = figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02)
    bar.set_label(label, fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure
