"""A volume in three planes with masks over it, as a figure. Knows arrays in RAS+ order and voxel sizes, nothing else.

Radiological convention, as letters at the borders say: the subject's right is on the left of the picture.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure, SubFigure
from numpy.typing import NDArray

from strokelab.errors import DataError
from strokelab.grid import Grid, Orient
from strokelab.lesions import label_lesions, lesion_sizes
from strokelab.nifti import as_file, as_image, is_image, read_voxels

Array = NDArray[Any]

_PREDICTION = "#E69F00"
_LARGE = 1_000_000  # voxels


class ShownFigure(Figure):
    """A figure that a notebook shows where it is the last value of a cell, whether pyplot is in use or not."""

    def _repr_png_(self) -> bytes:
        made = io.BytesIO()
        self.savefig(made, format="png", dpi=110)
        return made.getvalue()


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


def figure_on(image: Any, mask: Array, grid: Grid, *, title: str = "") -> Figure:
    """``lesion_figure`` of a mask on the grid of its image.

    Args:
        image: a path, an image of nibabel, an array (X, Y, Z) on the grid or with its affine.
        mask: (X, Y, Z) on the grid.
        grid: of the mask.
        title: as for ``lesion_figure``.

    Raises:
        DataError: there is no image, or it has another grid.
    """
    image = as_image(image)
    if image is None:
        raise DataError(
            title, found="no image", expected="one to plot the mask on", remedy="give it: plot('scan.nii.gz')"
        )
    if is_image(image):
        with as_file(image) as path:
            voxels, own = read_voxels(path)
    elif isinstance(image, (str, Path)):
        voxels, own = read_voxels(Path(image).expanduser())
    else:
        voxels, own = np.asarray(image), grid
    if np.shape(voxels) != grid.shape or not own.matches(grid):
        raise DataError(
            title,
            found=f"an image of {' x '.join(map(str, np.shape(voxels)))} voxels on another grid",
            expected=f"the grid of the mask, {' x '.join(map(str, grid.shape))} voxels",
            remedy="give the image that was predicted",
        )
    orient = Orient(grid)
    return lesion_figure(orient.apply(voxels), orient.apply(mask), orient.target.spacing, title=title)


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


def lesion_figure(image: Array, mask: Array, spacing: Sequence[float], *, title: str = "") -> Figure:
    """Three planes through the largest lesion of a mask, contour and fill, volume in the title.

    Args:
        image: (X, Y, Z) in RAS+ order.
        mask: (X, Y, Z), non-zero = lesion; may be empty.
        spacing: voxel size in mm along X, Y, Z.
        title: put before the volume, e.g. the case id.

    Raises:
        ValueError: image and mask differ in shape, or are not three-dimensional.
    """
    lesion = np.asarray(mask) != 0
    volume_ml = float(lesion.sum()) * float(np.prod(np.asarray(spacing, dtype=float))) / 1000
    count = label_lesions(lesion)[1]
    found = f"{volume_ml:.2f} ml in {count} lesion{'' if count == 1 else 's'}" if count else "no lesion found (0 ml)"
    view = View.of(image, paint={_PREDICTION: lesion}, spacing=spacing, centre=through_largest_lesion(lesion))
    width = 6.4
    figure = ShownFigure(figsize=(width, view.height(width)), layout="constrained", facecolor="white")
    view.draw(figure, f"{title}: {found}" if title else found)
    return figure


@dataclass(frozen=True)
class View:
    """One case cropped to the head, and where it is cut."""

    image: Array
    paint: Mapping[str, Array]  # colour -> mask, or probability
    spacing: Sequence[float]
    place: tuple[int, ...]

    @classmethod
    def of(
        cls, image: Array, *, paint: Mapping[str, Array], spacing: Sequence[float], centre: tuple[int, int, int]
    ) -> View:
        """Of (X, Y, Z) arrays, cut at ``centre``."""
        shapes = {np.shape(image), *(np.shape(mask) for mask in paint.values())}
        if len(shapes) > 1 or np.ndim(image) != 3:
            raise ValueError(f"one shape (X, Y, Z) expected, found {sorted(shapes)}")
        clean = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
        box = head_box(clean, np.logical_or.reduce([mask >= 0.5 for mask in paint.values()]))
        place = tuple(index - extent.start for index, extent in zip(centre, box, strict=True))
        return cls(clean[box], {colour: mask[box] for colour, mask in paint.items()}, spacing, place)

    def sizes(self) -> list[tuple[float, float]]:
        """Width and height of each plane in mm."""
        return [plane.size_mm(self.image, self.spacing) for plane in PLANES]

    def height(self, width: float) -> float:
        """Inches that let the three planes fill a row of this width at one scale, title included."""
        sizes = self.sizes()
        return (width - 0.3) / sum(across for across, _ in sizes) * max(up for _, up in sizes) + 0.32

    def draw(self, figure: Figure | SubFigure, title: str) -> None:
        """The three planes side by side at one scale."""
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
    """Which way a picture's borders lie in the subject."""
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
