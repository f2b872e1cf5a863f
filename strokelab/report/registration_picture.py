"""A registered scan with the outlines of the template over it: what a reader checks in one look.

Knows arrays and grids of the template's space; radiological convention, as all pictures of the house.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from strokelab.files import replacing
from strokelab.grid import Grid
from strokelab.report.overlays import PLANES, Plane, letters, window

_PLACE_MM = (6.0, -18.0, 14.0)  # through the ventricles, beside the mid-plane
_OUTLINES = {"brain": "#FFB000", "white matter": "#56B4E9"}


def registration_picture(
    image: Callable[[Grid], NDArray[Any]],
    outlines: dict[str, NDArray[np.bool_]],
    frame: Grid,
    path: Path,
    *,
    title: str,
) -> Path:
    """A PNG of three planes of the template's space.

    Args:
        image: gives the registered scan on a grid.
        outlines: ``brain`` and ``white matter`` of the template (X, Y, Z) on ``frame``.
        frame: an axis-aligned grid of the template's space, RAS+.
        path: of the PNG; written whole or not at all.
        title: above the planes.
    """
    sizes = [plane.size_mm(np.empty(frame.shape, bool), frame.spacing) for plane in PLANES]
    width = 6.4
    height = (width - 0.3) / sum(across for across, _ in sizes) * max(up for _, up in sizes) + 0.55
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.suptitle(title, fontsize=9, parse_math=False)
    axes = figure.subplots(1, 3, gridspec_kw={"width_ratios": [across for across, _ in sizes]})
    place = (np.linalg.inv(frame.matrix) @ [*_PLACE_MM, 1.0])[:3].round().astype(int)
    cuts = [plane.cut(image(_slice(frame, plane, int(place[plane.normal]))), 0) for plane in PLANES]
    low, high = window(np.concatenate([cut.ravel() for cut in cuts]))
    for panel, plane, cut, (across, up) in zip(axes, PLANES, cuts, sizes, strict=True):
        extent = (0.0, across, 0.0, up)
        panel.imshow(cut, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
        for name, colour in _OUTLINES.items():
            _outline(panel, plane.cut(outlines[name], int(place[plane.normal])), colour, extent)
        letters(panel, plane)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
    return path


def _slice(frame: Grid, plane: Plane, index: int) -> Grid:
    """One slice of a grid, as a grid."""
    start = np.zeros(4)
    start[3], start[plane.normal] = 1.0, index
    matrix, shape = frame.matrix.copy(), list(frame.shape)
    matrix[:3, 3] = (frame.matrix @ start)[:3]
    shape[plane.normal] = 1
    return Grid.of(shape, matrix)


def _outline(axes: Axes, mask: NDArray[Any], colour: str, extent: tuple[float, float, float, float]) -> None:
    rows, columns = mask.shape
    xs, ys = (np.arange(columns) + 0.5) * extent[1] / columns, (np.arange(rows) + 0.5) * extent[3] / rows
    if mask.any() and not mask.all():
        axes.contour(xs, ys, mask[::-1].astype(float), levels=[0.5], colors=[colour], linewidths=0.8)
