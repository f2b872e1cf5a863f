"""Masks over images in three planes. Knows arrays in RAS+ order and voxel sizes; knows no cases, tables or pages.

Radiological convention, as letters at the borders say: the patient's right is on the left of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from strokelab.files import replacing
from strokelab.lesions import label_lesions, lesion_sizes
from strokelab.report.material import Overlay

Array = NDArray[Any]

# Half transparent on any grey, these three stay furthest apart from each other and from the grey for normal vision and
# all three kinds of dichromacy (CIE Lab distance at least 15; Okabe and Ito's green comes as near as 4 to grey).
TRUE_POSITIVE, FALSE_POSITIVE, FALSE_NEGATIVE = "#56B4E9", "#FFB000", "#D55E00"
KINDS = {"true positive": TRUE_POSITIVE, "false positive": FALSE_POSITIVE, "false negative": FALSE_NEGATIVE}
_PREDICTION = "#E69F00"
_REFERENCE, _PROBABLE = "#0072B2", "#E8000B"  # Tomita 2020, figure 2: reference blue, prediction red
_LEAST = 0.05  # a probability below it is not visible
_LARGE = 1_000_000  # voxels


@dataclass(frozen=True)
class Plane:
    """How one plane is cut and turned. Axes are those of a RAS+ array."""

    name: str
    normal: int
    left: str
    right: str
    top: str
    bottom: str

    def cut(self, array: Array, index: int) -> Array:
        """Slice ``index`` of (X, Y, Z) as a picture: rows from top to bottom, columns from left to right.

        Columns run against x (or y), rows against the second axis: both axes of a RAS+ slice turn round.
        """
        return np.asarray(np.take(array, index, axis=self.normal).T[::-1, ::-1])

    def size_mm(self, array: Array, spacing: Sequence[float]) -> tuple[float, float]:
        """Width and height of the picture in mm."""
        across, up = (axis for axis in range(3) if axis != self.normal)
        return array.shape[across] * float(spacing[across]), array.shape[up] * float(spacing[up])


PLANES = (
    Plane("axial", 2, left="R", right="L", top="A", bottom="P"),
    Plane("coronal", 1, left="R", right="L", top="S", bottom="I"),
    Plane("sagittal", 0, left="A", right="P", top="S", bottom="I"),
)


def through_largest_lesion(mask: Array) -> tuple[int, int, int]:
    """Per axis the slice in which the largest lesion of a mask (X, Y, Z) is largest; the middle of an empty one."""
    labels, count = label_lesions(mask)
    if not count:
        x, y, z = (size // 2 for size in np.shape(mask))
        return x, y, z
    lesion = labels == 1 + int(np.argmax(lesion_sizes(labels, count)))
    x, y, z = (
        int(np.argmax(lesion.sum(axis=tuple(other for other in range(3) if other != axis)))) for axis in range(3)
    )
    return x, y, z


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
        views.append(_View.of(overlay.image, paint=paint, spacing=overlay.spacing, centre=centre))
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
    """A small PNG of a prediction: three planes through its largest lesion, contour and fill, volume in the title.

    Args:
        image: (X, Y, Z) in RAS+ order.
        mask: (X, Y, Z), non-zero = lesion; may be empty.
        spacing: voxel size in mm along X, Y, Z.
        path: of the PNG; written whole or not at all.
        title: put before the volume, e.g. the case id.
        dpi: 6.4 inches wide at this resolution.

    Raises:
        ValueError: image and mask differ in shape, or are not three-dimensional.
    """
    lesion = np.asarray(mask) != 0
    volume_ml = float(lesion.sum()) * float(np.prod(np.asarray(spacing, dtype=float))) / 1000
    count = label_lesions(lesion)[1]
    found = f"{volume_ml:.2f} ml in {count} lesion{'' if count == 1 else 's'}" if count else "no lesion found (0 ml)"
    view = _View.of(image, paint={_PREDICTION: lesion}, spacing=spacing, centre=through_largest_lesion(lesion))
    width = 6.4
    figure = Figure(figsize=(width, view.height(width)), layout="constrained", facecolor="white")
    view.draw(figure, f"{title}: {found}" if title else found)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=dpi)
    return path


@dataclass(frozen=True)
class _View:
    """One case cropped to the head, and where it is cut."""

    image: Array
    paint: Mapping[str, Array]  # colour -> mask, or probability
    spacing: Sequence[float]
    place: tuple[int, ...]

    @classmethod
    def of(
        cls, image: Array, *, paint: Mapping[str, Array], spacing: Sequence[float], centre: tuple[int, int, int]
    ) -> _View:
        shapes = {np.shape(image), *(np.shape(mask) for mask in paint.values())}
        if len(shapes) > 1 or np.ndim(image) != 3:
            raise ValueError(f"one shape (X, Y, Z) expected, found {sorted(shapes)}")
        clean = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
        box = head_box(clean, np.logical_or.reduce([mask >= 0.5 for mask in paint.values()]))
        place = tuple(index - extent.start for index, extent in zip(centre, box, strict=True))
        return cls(clean[box], {colour: mask[box] for colour, mask in paint.items()}, spacing, place)

    def sizes(self) -> list[tuple[float, float]]:
        return [plane.size_mm(self.image, self.spacing) for plane in PLANES]

    def height(self, width: float) -> float:
        """Inches that let the three planes fill a row of this width at one scale, title included."""
        sizes = self.sizes()
        return (width - 0.3) / sum(across for across, _ in sizes) * max(up for _, up in sizes) + 0.32

    def draw(self, figure: Figure | SubFigure, title: str) -> None:
        figure.suptitle(title, fontsize=10, parse_math=False)
        low, high = window(self.image)
        sizes = self.sizes()
        # Width ratios in mm: with equal aspect all three planes then share one scale.
        grid = figure.subplots(1, 3, gridspec_kw={"width_ratios": [width for width, _ in sizes]})
        for axes, plane, (width, height) in zip(grid, PLANES, sizes, strict=True):
            index, extent = self.place[plane.normal], (0.0, width, 0.0, height)
            picture = plane.cut(self.image, index)
            axes.imshow(picture, cmap="gray", vmin=low, vmax=high, extent=extent, interpolation="bilinear")
            for colour, mask in self.paint.items():
                fill(axes, plane.cut(mask, index), colour, extent)
            letters(axes, plane)


def fill(axes: Axes, mask: Array, colour: str, extent: tuple[float, float, float, float]) -> None:
    """Colour a mask, or a probability, on a picture that covers ``extent``: left, right, bottom, top."""
    if not mask.any():
        return
    layer = np.zeros((*mask.shape, 4), dtype=np.float32)
    layer[mask > 0, :3] = to_rgb(colour)
    layer[..., 3] = mask * (0.5 if mask.dtype == bool else 0.9)
    axes.imshow(layer, extent=extent, interpolation="nearest")
    if mask.dtype != bool:
        return  # where a probability ends is seen by its shade
    # One pixel of margin closes the contour of a lesion that touches the border.
    padded = np.pad(mask.astype(float), 1)[::-1]
    rows, columns = mask.shape
    width, height = extent[1] / columns, extent[3] / rows
    xs, ys = (np.arange(columns + 2) - 0.5) * width, (np.arange(rows + 2) - 0.5) * height
    axes.contour(xs, ys, padded, levels=[0.5], colors=[colour], linewidths=0.9)


def letters(axes: Axes, plane: Plane) -> None:
    """Which way a picture's borders lie in the patient."""
    axes.set_axis_off()
    axes.set_aspect("equal")
    places = {
        plane.left: (0.02, 0.5, "left", "center"),
        plane.right: (0.98, 0.5, "right", "center"),
        plane.top: (0.5, 0.98, "center", "top"),
        plane.bottom: (0.5, 0.02, "center", "bottom"),
    }
    for letter, (x, y, horizontal, vertical) in places.items():
        # A dark ground instead of an outline, which at this size swallows the foot of an L.
        ground = {"facecolor": "black", "edgecolor": "none", "alpha": 0.6, "boxstyle": "square,pad=0.12"}
        axes.text(
            *(x, y, letter),
            transform=axes.transAxes,
            ha=horizontal,
            va=vertical,
            color="white",
            fontsize=9,
            fontweight="bold",
            bbox=ground,
        )


def head_box(image: Array, painted: Array) -> tuple[slice, slice, slice]:
    """The box around what is not background, with a margin; the whole volume when that cannot be told."""
    level, top = (float(v) for v in np.percentile(_sampled(image), [1, 99]))
    inside = (image > level + 0.15 * (top - level)) | painted
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        # A share instead of any(): single bright noise voxels are no head.
        used = np.flatnonzero((inside.mean(axis=others) > 0.01) | painted.any(axis=others))
        size = image.shape[axis]
        margin = max(1, size // 40)
        box.append(
            slice(max(0, int(used[0]) - margin), min(size, int(used[-1]) + 1 + margin)) if used.size else slice(0, size)
        )
    x, y, z = box
    return x, y, z


def window(image: Array) -> tuple[float, float]:
    """The grey values shown as black and as white, never equal."""
    low, high = (float(v) for v in np.percentile(_sampled(image), [1, 99.5]))
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _sampled(image: Array) -> Array:
    """Every voxel of a small image, every eighth of a large one: enough for percentiles, in an eighth of the time."""
    return image if image.size < _LARGE else image[::2, ::2, ::2]
