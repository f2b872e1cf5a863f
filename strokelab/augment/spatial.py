"""Changes of place, applied to image, lesion and brain as one. Knows axes; knows no intensities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from strokelab.augment.recipes import Tensors
from strokelab.buildable import buildable
from strokelab.errors import ConfigError


def flip(sample: Tensors, axes: Sequence[str]) -> Tensors:
    """Mirror along anatomical axes: ``"x"`` left-right, ``"y"`` anterior-posterior, ``"z"`` head-foot.

    Args:
        sample: tensors (., Y, X) or (., X, Y, Z).
        axes: which; in any order.
    """
    dims = _dimensions(sample["image"].ndim - 1)
    return {key: torch.flip(value, [dims[axis] for axis in axes]) for key, value in sample.items()}


@buildable(training="view")
@dataclass(frozen=True)
class Flip:
    """Mirror along each of the named axes, independently.

    Args:
        axes: of ``"x"``, ``"y"``, ``"z"`` (the last one for volumes only).
        p: probability for each axis.
    """

    axes: Sequence[str] = ("x",)
    p: float = 0.5

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> tuple[str, ...] | None:
        """The axes to mirror.

        Raises:
            ConfigError: an axis that samples of this shape do not have.
        """
        strange = sorted(set(self.axes) - set(_dimensions(len(shape) - 1)))
        if strange:
            raise ConfigError(
                "view.augment: Flip.axes",
                found=f"{strange} for samples of shape {shape}",
                expected=f"axes of {sorted(_dimensions(len(shape) - 1))}",
                remedy="leave the others out",
            )
        drawn = stream.random(len(self.axes)) < self.p
        return tuple(axis for axis, chosen in zip(self.axes, drawn, strict=True) if chosen) or None

    def apply(self, sample: Tensors, drawn: tuple[str, ...]) -> Tensors:
        """``flip`` along the drawn axes."""
        return flip(sample, drawn)


@buildable(training="view")
@dataclass(frozen=True)
class Affine:
    """Rotation, zoom and shift of slices, every sample by numbers of its own, all of a sample's maps by the same.

    Images and fractions are interpolated linearly, masks take the nearest pixel. Beyond the border its pixels are
    repeated.

    Args:
        rotation: degrees, either way.
        zoom: factor of the size along each axis, 1 plus or minus this.
        shift: along each axis, either way, as a share of the side.

    Raises:
        ConfigError: a number below 0, or a zoom of 1 and more.
    """

    rotation: float = 0.0
    zoom: float = 0.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if min(self.rotation, self.zoom, self.shift) < 0 or self.zoom >= 1:
            raise ConfigError(
                "view.augment: Affine",
                found=f"rotation={self.rotation}, zoom={self.zoom}, shift={self.shift}",
                expected="numbers of at least 0, and a zoom below 1",
                remedy="correct them in view.augment.transforms",
            )

    @property
    def keeps_midline(self) -> bool:
        """Whether the middle column stays the middle."""
        return not (self.rotation or self.shift)

    def draw(self, stream: np.random.Generator, shape: tuple[int, ...]) -> tuple[float, ...]:
        """The angle in radians, two factors and two shifts, along x and y.

        Raises:
            ConfigError: samples that are no slices.
        """
        if len(shape) != 3:
            raise ConfigError(
                "view.augment: Affine",
                found=f"samples of shape {shape}",
                expected="slices (C, Y, X)",
                remedy="leave Affine out, or choose augment=standard, which turns volumes as well",
            )
        angle, *pairs = stream.uniform(-1, 1, 5) * [np.radians(self.rotation), *[self.zoom] * 2, *[self.shift] * 2]
        return float(angle), *(float(1 + one) for one in pairs[:2]), *(float(one) for one in pairs[2:])

    def apply(self, sample: Tensors, drawn: tuple[float, ...]) -> Tensors:
        """The moved maps, of the same shapes and kinds of numbers."""
        rows, columns = sample["image"].shape[1:]
        grid = _sampling_grid(drawn, rows, columns)

        def moved(value: Tensor) -> Tensor:
            mode = "bilinear" if value.is_floating_point() else "nearest"
            found = functional.grid_sample(
                value[None].float(), grid, mode=mode, padding_mode="border", align_corners=False
            )
            return found[0].to(value.dtype)

        return {key: moved(value) for key, value in sample.items()}


def _sampling_grid(drawn: tuple[float, ...], rows: int, columns: int) -> Tensor:
    """Where each pixel is read, (1, rows, columns, 2), x before y, from -1 to 1: back from where it is moved to."""
    angle, zoom_x, zoom_y, shift_x, shift_y = drawn
    x = (torch.arange(columns) - (columns - 1) / 2 - shift_x * columns).expand(rows, columns)
    y = (torch.arange(rows) - (rows - 1) / 2 - shift_y * rows)[:, None].expand(rows, columns)
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    read_x, read_y = (cosine * x + sine * y) / zoom_x, (cosine * y - sine * x) / zoom_y
    return torch.stack([2 * read_x / columns, 2 * read_y / rows], dim=-1)[None]


def _dimensions(space: int) -> dict[str, int]:
    return {"y": 1, "x": 2} if space == 2 else {"x": 1, "y": 2, "z": 3}
