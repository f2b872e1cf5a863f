"""The same slices with the masks of all models side by side. Knows overlays; knows no run folder and no HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from strokelab.report.drawing import broken
from strokelab.report.material import Evaluation, Overlay
from strokelab.report.overlays import (
    FALSE_NEGATIVE,
    FALSE_POSITIVE,
    KINDS,
    PLANES,
    TRUE_POSITIVE,
    Array,
    fill,
    head_box,
    letters,
    through_largest_lesion,
    window,
)
from strokelab.report.pictures import Picture, Section, listed, stored

ANCHOR, TITLE = "methods", "Methods side by side"
REFERENCE = "#56B4E9"
_FAILURES = ("worst", "joined")
# Chalcroft 2024, figure 3: grey matter, white matter, partial volume, CSF, stroke; others as they come.
_CLASSES = {"GM": "#1F3A93", "WM": "#56B4E9", "PV": "#2CA02C", "CSF": "#FFB000", "lesion": "#E8000B"}
_OTHERS = ("#AA78D2", "#8C564B", "#17BECF", "#BCBD22")
_INCHES = 1.15  # of a panel's width
_LETTERS = 17  # of a heading that a panel's width holds
_AXIAL = PLANES[0]

Row = Mapping[str, Overlay]  # model -> its overlay of one case


def method_section(evaluation: Evaluation) -> Section:
    """Two pictures: the cases on which the models do well on average, and those on which they fail.

    The cases are those that ``overlays=shared`` or ``classes`` chose; without them the section says so.
    """
    rows = shared_rows(evaluation)
    if not rows:
        reason = "No case is shown with the masks of all models: ask for it with overlays=shared."
        return Section(ANCHOR, TITLE, sentences=(reason,))
    good = {label: row for label, row in rows.items() if not label.startswith(_FAILURES)}
    bad = {label: row for label, row in rows.items() if label.startswith(_FAILURES)}
    pictures = [_picture("methods", good, evaluation), _picture("failures", bad, evaluation)]
    return Section(ANCHOR, TITLE, tuple(picture for picture in pictures if picture is not None))


def shared_rows(evaluation: Evaluation) -> dict[str, Row]:
    """Label of a case -> the overlays of all models of it, in the order best, median, worst, joined."""
    found: dict[str, dict[str, Overlay]] = {}
    for run in evaluation.runs:
        for overlay in run.shared_overlays:
            found.setdefault(overlay.label, {}).setdefault(run.model, overlay)
    order = ("best", "median", *_FAILURES)
    return dict(sorted(found.items(), key=lambda pair: (order.index(pair[0].split()[0]), pair[0])))


def method_figure(rows: Mapping[str, Row], models: Sequence[str]) -> Figure:
    """A row per case: the axial slice through its largest lesion, plain, with the reference, with each model's mask.

    Args:
        rows: label -> the overlays of one case by model.
        models: names of the columns, in order; a model without the case leaves its place empty.

    Raises:
        ValueError: nothing to plot.
    """
    if not rows:
        raise ValueError("no case to plot")
    headings = ["image", "reference", *models]
    views = [_View(row) for row in rows.values()]
    heights = [_INCHES * view.height / view.width + 0.2 for view in views]
    figure = Figure(figsize=(_INCHES * len(headings), sum(heights) + 0.7), layout="constrained", facecolor="white")
    grid = figure.subplots(len(views), len(headings), squeeze=False, height_ratios=heights)
    for line, view, (label, row) in zip(grid, views, rows.items(), strict=True):
        for axes, heading in zip(line, headings, strict=True):
            axes.set_axis_off()
            if heading in (*headings[:2], *row):
                axes.imshow(view.picture, cmap="gray", vmin=view.low, vmax=view.high, extent=view.extent)
        fill(line[1], view.reference, REFERENCE, view.extent)
        for axes, model in zip(line[2:], models, strict=True):
            if model in row:
                for colour, mask in view.painted(row[model]).items():
                    fill(axes, mask, colour, view.extent)
                axes.set_title(f"Dice {row[model].dice:.2f}", fontsize=7)
        for axes in line:  # a contour at the border would widen its panel
            axes.set(xlim=view.extent[:2], ylim=view.extent[2:])
        letters(line[0], _AXIAL)
        ground = {"facecolor": "black", "edgecolor": "none", "alpha": 0.6, "boxstyle": "square,pad=0.12"}
        place = {"transform": line[0].transAxes, "ha": "left", "va": "top", "color": "white", "bbox": ground}
        line[0].text(0.02, 0.98, label, fontsize=7, parse_math=False, **place)
    for axes, heading in zip(grid[0], headings, strict=True):
        text = axes.get_title()
        above = broken(heading, _LETTERS)
        axes.set_title(f"{above}\n{text}" if text else above, fontsize=7, parse_math=False)
    every = [overlay for row in rows.values() for overlay in row.values()]
    named = {name: colour for overlay in every for name, colour in class_colours(overlay).items()}
    kinds = KINDS if any(overlay.labels is None for overlay in every) else {}
    handles = [Patch(color=colour, label=name) for name, colour in {**kinds, **named}.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    return figure


def class_colours(overlay: Overlay) -> dict[str, str]:
    """The colours in which the classes of an overlay are painted, by name; the first one, background, has none."""
    if overlay.labels is None:
        return {}
    further = iter(_OTHERS * len(overlay.class_names))
    return {name: _CLASSES.get(name) or next(further) for name in overlay.class_names[1:]}


class _View:
    """The slice of one case, the same for all models.

    Args:
        row: overlays of one case; image and reference are those of the first.
    """

    def __init__(self, row: Row) -> None:
        first = next(iter(row.values()))
        reference = first.reference != 0
        self.place = through_largest_lesion(reference)[_AXIAL.normal]
        self.box = head_box(np.nan_to_num(np.asarray(first.image, dtype=np.float32)), reference)
        self.low, self.high = window(first.image)
        self.picture, self.reference = self.cut(first.image), self.cut(reference)
        self.width, self.height = _AXIAL.size_mm(first.image[self.box], first.spacing)
        self.extent = (0.0, self.width, 0.0, self.height)

    def cut(self, array: Array) -> Array:
        """The slice of a volume (X, Y, Z) within the head."""
        return _AXIAL.cut(array[self.box], self.place - self.box[_AXIAL.normal].start)

    def painted(self, overlay: Overlay) -> dict[str, Array]:
        """Colour -> voxels of the slice: of each class where the overlay has them, else right and wrong ones."""
        if overlay.labels is None:
            return self.kinds(overlay)
        labels, colours = self.cut(overlay.labels), class_colours(overlay)
        return {colours[name]: labels == place for place, name in enumerate(overlay.class_names) if name in colours}

    def kinds(self, overlay: Overlay) -> dict[str, Array]:
        """Colour -> voxels of the slice, right and wrong ones."""
        mask = self.cut(overlay.prediction != 0)
        return {
            TRUE_POSITIVE: mask & self.reference,
            FALSE_POSITIVE: mask & ~self.reference,
            FALSE_NEGATIVE: self.reference & ~mask,
        }


def _picture(name: str, rows: Mapping[str, Row], evaluation: Evaluation) -> Picture | None:
    if not rows:
        return None
    cases = [f"{label}: {next(iter(row.values())).case}" for label, row in rows.items()]
    models = [model for model in evaluation.models if any(model in row for row in rows.values())]
    what = "by their mean over the models" if name == "methods" else "by their mean, and the lesions most joined"
    return stored(
        name,
        method_figure(rows, models),
        caption=f"Cases chosen by Dice, {what}: {listed(cases)}. The axial slice through the largest lesion; the "
        "second column is the reference. The patient's right is on the left.",
        alt=f"Axial slices of {listed(cases)} with the masks of {listed(models)} side by side.",
        wide=True,
        photo=True,
    )
