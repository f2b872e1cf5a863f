"""Predictions held against references, in three planes (``planes``). Knows no cases, tables or pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from strokelab.files import replacing
from strokelab.planes import (
    PLANES,
    Array,
    Plane,
    View,
    fill,
    head_box,
    lesion_figure,
    letters,
    through_largest_lesion,
    window,
)
from strokelab.report.material import Overlay

__all__ = [
    "FALSE_NEGATIVE",
    "FALSE_POSITIVE",
    "KINDS",
    "PLANES",
    "TRUE_POSITIVE",
    "Array",
    "Plane",
    "fill",
    "head_box",
    "letters",
    "qc_picture",
    "three_planes",
    "through_largest_lesion",
    "window",
]

# Half transparent on any grey, these three stay furthest apart from each other and from the grey for normal vision and
# all three kinds of dichromacy (CIE Lab distance at least 15; Okabe and Ito's green comes as near as 4 to grey).
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = "#56B4E9", "#FFB000", "#D55E00"
KINDS = {"true positive": TRUE_POSITIVE, "false positive": FALSE_POSITIVE, "false negative": FALSE_NEGATIVE}
_REFERENCE, _PROBABLE = "#0072B2", "#E8000B"  # Tomita 2020, figure 2: reference blue, prediction red
_LEAST = 0.05  # a probability below it is not visible


def three_planes(overlays: Sequence[Overlay]) -> Figure:
    """One row per case: axial, coronal and sagittal through its largest lesion, TP, FP and FN coloured.

    Raises:
        ValueError: nothing to draw.
    """
    if not overlays:
        raise ValueError("no overlay to draw")
    views, titles = [], []
    for overlay in overlays:
        reference, prediction = overlay.reference != 0, overlay.prediction != 0
        paint = {
            TRUE_POSITIVE: reference & prediction,
            FALSE_POSITIVE: prediction & ~reference,
            FALSE_NEGATIVE: reference & ~prediction,
        }
        if overlay.probability is not None:
            paint = {_REFERENCE: reference, _PROBABLE: np.where(overlay.probability < _LEAST, 0, overlay.probability)}
        centre = through_largest_lesion(reference if reference.any() else prediction)
        views.append(View.of(overlay.image, paint=paint, spacing=overlay.spacing, centre=centre))
        titles.append(f"{overlay.label}: {overlay.case}, Dice {overlay.dice:.3f}")
    width = 6.2
    heights = [view.height(width) for view in views]
    figure = Figure(figsize=(width, sum(heights) + 0.3), layout="constrained", facecolor="white")
    rows = figure.subfigures(len(views), 1, squeeze=False, height_ratios=heights)[:, 0]
    for row, view, title in zip(rows, views, titles, strict=True):
        view.draw(row, title)
    graded = all(overlay.probability is not None for overlay in overlays)
    kinds = {"reference": _REFERENCE, "prediction, the more probable the redder": _PROBABLE} if graded else KINDS
    handles = [Patch(color=colour, label=name) for name, colour in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure


def qc_picture(
    image: Array, mask: Array, spacing: Sequence[float], path: Path, *, title: str = "", dpi: int = 110
) -> Path:
    """``planes.lesion_figure`` as a small PNG.

    Args:
        image: as for ``lesion_figure``, and so are the others.
        mask: of the prediction.
        spacing: of the voxels.
        path: of the PNG; written whole or not at all.
        title: put before the volume.
        dpi: 6.4 inches wide at this resolution.

    Raises:
        ValueError: as ``lesion_figure``.
    """
    figure = lesion_figure(image, mask, spacing, title=title)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)
    return path
