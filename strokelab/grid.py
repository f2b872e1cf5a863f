"""Voxel grids in the world, and the steps between them, each of which knows its inverse.

Arrays here are (..., X, Y, Z): leading axes (channels) are carried along. World coordinates are RAS+ millimetres,
an affine maps voxel indices to them. Steps are plain data (``to_json``/``from_json``) so that a prepared case can
say for ever how to get back to the scanner's grid.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray
from scipy import ndimage

Array = NDArray[Any]
Interpolation = Literal["nearest", "linear", "cubic"]
_SQUARES = 5e-7  # rounding of a sum of squares in single precision, and what nibabel takes for 0
_ORDER = {"nearest": 0, "linear": 1, "cubic": 3}


@dataclass(frozen=True)
class HeaderForms:
    """Both voxel-to-world forms of a NIfTI header, number by number, in mm: what is written for a file carries them."""

    codes: tuple[int, int]  # of qform and sform, 0: unset
    pixdim: tuple[float, ...]  # of the qform: its handedness, then three voxel sizes
    quaternion: tuple[float, ...]  # of the qform: b, c, d
    offset: tuple[float, ...]  # of the qform: x, y, z
    rows: tuple[float, ...]  # of the sform: its three rows of four, one after the other

    @property
    def angle_rounding(self) -> float:
        """How far (radians) single precision may turn what the qform says: near half turns as much as 0.001.

        Of a unit quaternion only b, c, d are kept; the fourth number is the root of what they leave to 1.
        """
        left = max(_SQUARES, 1 - sum(part**2 for part in self.quaternion))
        return 2 * _SQUARES / math.sqrt(left)


@dataclass(frozen=True)
class Grid:
    """Shape (X, Y, Z) and affine (4 x 4, voxel index to RAS+ mm) of a volume.

    ``forms`` is what the header of its file says besides, where that is NIfTI; two grids are equal without it.
    """

    shape: tuple[int, int, int]
    affine: tuple[tuple[float, ...], ...]
    forms: HeaderForms | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, shape: Any, affine: Any) -> Grid:
        """A grid from anything that has three lengths and anything that is a 4 x 4 matrix."""
        x, y, z = (int(n) for n in shape)
        return cls((x, y, z), tuple(tuple(float(v) for v in row) for row in np.asarray(affine, dtype=np.float64)))

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as an array (4, 4)."""
        return np.asarray(self.affine, dtype=np.float64)

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each array axis, mm."""
        x, y, z = np.sqrt((self.matrix[:3, :3] ** 2).sum(0))
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, |det| of the affine's 3 x 3 part, mm^3, in the single precision of file headers.

        Further digits are rounding of the header: an oblique grid of 2 mm has 8 mm^3, not 8.00000004.
        """
        return float(np.float32(abs(np.linalg.det(self.matrix[:3, :3]))))

    @property
    def orientation(self) -> str:
        """The anatomical direction each axis runs towards, e.g. ``"RAS"``, ``"LAS"`` (nearest for oblique grids)."""
        return "".join(nib.aff2axcodes(self.matrix))

    def matches(self, other: Grid, tolerance: float = 0.01) -> bool:
        """Same shape, and every corner of the volume within ``tolerance`` of a voxel (of this grid) of the other's.

        Where a grid comes from a qform alone, the rounding of its angles is allowed besides.
        """
        if self.shape != other.shape:
            return False
        rounding = self.rounding_mm + other.rounding_mm
        return self.apart_voxels(other) <= tolerance or self.apart_mm(other) <= rounding

    @property
    def rounding_mm(self) -> float:
        """How far a corner may lie from where it was meant, because a qform alone says where: else 0."""
        if self.forms is None or self.forms.codes[1] or not self.forms.codes[0]:
            return 0.0
        return self.forms.angle_rounding * self.diagonal_mm

    @property
    def diagonal_mm(self) -> float:
        """From one corner of the volume to the opposite one, mm."""
        return float(np.linalg.norm(np.multiply(self.shape, self.spacing)))

    def apart_mm(self, other: Grid) -> float:
        """The largest distance between voxels of one index in two grids of one shape: that of a corner, mm."""
        return float(np.linalg.norm(self._corners_apart(other), axis=0).max())

    def apart_voxels(self, other: Grid) -> float:
        """As ``apart_mm``, along that axis of this grid along which it is most voxels."""
        return float(np.abs(np.linalg.inv(self.matrix[:3, :3]) @ self._corners_apart(other)).max())

    def _corners_apart(self, other: Grid) -> Array:
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        return np.asarray((self.matrix - other.matrix)[:3] @ np.concatenate([corners, np.ones((1, 8))]))

    def difference(self, other: Grid) -> str:
        """This grid, and how far it is from another that it does not match; for messages."""
        if self.shape != other.shape:
            return self.describe()
        apart = f"{self.apart_mm(other):.3g} mm ({other.apart_voxels(self):.3g} voxels)"
        return f"{self.describe()}; up to {apart} apart"

    def overlaps(self, other: Grid) -> bool:
        """Whether the box around this volume, in the other's voxels, meets the other volume."""
        corners = np.array(np.meshgrid(*[(-0.5, n - 0.5) for n in self.shape], indexing="ij")).reshape(3, -1)
        inside = (np.linalg.inv(other.matrix) @ self.matrix @ np.concatenate([corners, np.ones((1, 8))]))[:3]
        return bool(((inside.max(axis=1) > -0.5) & (inside.min(axis=1) < np.asarray(other.shape) - 0.5)).all())

    def inside(self, other: Grid) -> bool:
        """Whether the centre of every voxel lies within the other volume."""
        corners = np.array(np.meshgrid(*[(0, n - 1) for n in self.shape], indexing="ij")).reshape(3, -1)
        places = (np.linalg.inv(other.matrix) @ self.matrix @ np.concatenate([corners, np.ones((1, 8))]))[:3]
        return bool(((places >= -0.5) & (places <= np.asarray(other.shape)[:, None] - 0.5)).all())

    def describe(self) -> str:
        """One line for error messages: shape, spacing, orientation, affine rows."""
        rows = "; ".join("(" + ", ".join(f"{v:.4g}" for v in row) + ")" for row in self.affine[:3])
        spacing = " x ".join(f"{s:.3g}" for s in self.spacing)
        return f"shape {self.shape}, {spacing} mm, {self.orientation}, affine {rows}"

    def resized(self, spacing: tuple[float, float, float]) -> Grid:
        """The grid with other spacing over the same field of view (voxel *edges* keep their place)."""
        ratio = np.asarray(spacing) / np.asarray(self.spacing)
        shape = np.maximum(1, np.round(np.asarray(self.shape) / ratio)).astype(int)
        matrix = self.matrix.copy()
        matrix[:3, :3] *= ratio
        matrix[:3, 3] = (self.matrix @ np.append(ratio / 2 - 0.5, 1.0))[:3]
        return Grid.of(shape, matrix)

    def moved(self, matrix: NDArray[np.float64]) -> Grid:
        """The same voxels where a matrix (4, 4) of the world, mm, takes them."""
        return Grid.of(self.shape, matrix @ self.matrix)

    def to_json(self) -> dict[str, Any]:
        """Plain data that ``from_json`` reads back exactly."""
        content: dict[str, Any] = {"shape": list(self.shape), "affine": [list(row) for row in self.affine]}
        if self.forms is not None:
            content["forms"] = {name: list(values) for name, values in asdict(self.forms).items()}
        return content

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Grid:
        """The inverse of ``to_json``."""
        grid = cls.of(content["shape"], content["affine"])
        forms = content.get("forms")
        return grid.with_forms(HeaderForms(**{k: tuple(v) for k, v in forms.items()})) if forms else grid

    def with_forms(self, forms: HeaderForms | None) -> Grid:
        """The same grid with the forms of the header it was read from."""
        return replace(self, forms=forms)


@dataclass(frozen=True)
class Orient:
    """Permute and flip axes so that they run towards R, A, S (or ``codes``); exact both ways."""

    source: Grid
    codes: str = "RAS"

    @cached_property
    def _forward(self) -> Array:
        return np.asarray(ornt_transform(io_orientation(self.source.matrix), axcodes2ornt(tuple(self.codes))))

    @cached_property
    def target(self) -> Grid:
        """The grid after the step."""
        permutation = np.argsort(self._forward[:, 0]).astype(int)
        shape = tuple(self.source.shape[axis] for axis in permutation)
        inverse = nib.orientations.inv_ornt_aff(self._forward, self.source.shape)
        return Grid.of(shape, self.source.matrix @ inverse)

    def apply(self, array: Array, interpolation: Interpolation = "linear") -> Array:
        """(..., X, Y, Z) on ``source`` to ``target``."""
        return _reorient(array, self._forward)

    def invert(self, array: Array, interpolation: Interpolation = "linear") -> Array:
        """(..., X, Y, Z) on ``target`` back to ``source``, exactly."""
        backward = ornt_transform(axcodes2ornt(tuple(self.codes)), io_orientation(self.source.matrix))
        return _reorient(array, np.asarray(backward))


@dataclass(frozen=True)
class Resample:
    """Interpolate from one grid onto another through both affines; outside the source is 0."""

    source: Grid
    target: Grid

    def apply(self, array: Array, interpolation: Interpolation = "linear") -> Array:
        """(..., X, Y, Z) on ``source`` to ``target``."""
        return resample(array, self.source, self.target, interpolation)

    def invert(self, array: Array, interpolation: Interpolation = "linear") -> Array:
        """(..., X, Y, Z) on ``target`` back onto ``source`` by interpolation."""
        return resample(array, self.target, self.source, interpolation)


@dataclass(frozen=True)
class CropPad:
    """Cut a box that may hang over the border: output voxel i is source voxel i + start, or 0 where there is none."""

    source: Grid
    start: tuple[int, int, int]
    shape: tuple[int, int, int]

    @cached_property
    def target(self) -> Grid:
        """The grid of the box."""
        matrix = self.source.matrix.copy()
        matrix[:3, 3] = (self.source.matrix @ np.append(np.asarray(self.start, dtype=float), 1.0))[:3]
        return Grid.of(self.shape, matrix)

    def apply(self, array: Array, interpolation: Interpolation = "linear") -> Array:
        """(..., X, Y, Z) on ``source`` to the box."""
        return _cut(array, self.start, self.shape)

    def invert(self, array: Array, interpolation: Interpolation = "linear") -> Array:
        """The box pasted back into zeros on ``source``."""
        x, y, z = (-s for s in self.start)
        return _cut(array, (x, y, z), self.source.shape)


Step = Orient | Resample | CropPad


def step_to_json(step: Step) -> dict[str, Any]:
    """Plain data that ``step_from_json`` reads back."""
    content: dict[str, Any] = {"step": type(step).__name__, "source": step.source.to_json()}
    if isinstance(step, Orient):
        content["codes"] = step.codes
    elif isinstance(step, Resample):
        content["target"] = step.target.to_json()
    else:
        content["start"], content["shape"] = list(step.start), list(step.shape)
    return content


def step_from_json(content: dict[str, Any]) -> Step:
    """The inverse of ``step_to_json``."""
    source = Grid.from_json(content["source"])
    if content["step"] == "Orient":
        return Orient(source, content["codes"])
    if content["step"] == "Resample":
        return Resample(source, Grid.from_json(content["target"]))
    return CropPad(source, _triple(content["start"]), _triple(content["shape"]))


def resample(array: Array, source: Grid, target: Grid, interpolation: Interpolation = "linear") -> Array:
    """Values of (..., X, Y, Z) on ``source`` at the voxel centres of ``target``; 0 outside.

    ``"nearest"`` keeps the dtype; the others return float32.
    """
    mapping = np.linalg.inv(source.matrix) @ target.matrix
    mapping[np.abs(mapping) < 1e-12] = 0.0
    order = _ORDER[interpolation]
    kind = array.dtype if order == 0 else np.dtype(np.float32)
    work = array.astype(np.uint8) if array.dtype == bool else array
    lead = work.reshape((-1, *work.shape[-3:]))
    out = np.empty((lead.shape[0], *target.shape), dtype=np.uint8 if kind == np.dtype(bool) else kind)
    linear = mapping[:3, :3]
    diagonal = np.allclose(linear, np.diag(np.diag(linear)), atol=1e-9)
    for channel, result in zip(lead, out, strict=True):
        # A one-dimensional matrix lets SciPy take its much faster separable path.
        matrix = np.diag(linear) if diagonal else linear
        ndimage.affine_transform(
            channel, matrix, mapping[:3, 3], target.shape, output=result, order=order, mode="constant"
        )
    return out.reshape((*array.shape[:-3], *target.shape)).astype(kind, copy=False)


def turned(array: Array, source: Grid, target: Grid) -> Array | None:
    """(..., X, Y, Z) on ``source`` as it lies on ``target``, exactly; None when that needs more than flips.

    The same array where the grids match; flipped and transposed where the axes of one are those of the other in
    another order or direction; None where voxels lie elsewhere, or where the file of ``source`` states no place (both
    codes 0), so that its directions are guessed.
    """
    if source.matches(target):
        return array
    if source.forms is not None and max(source.forms.codes) <= 0:
        return None
    orientation = np.asarray(io_orientation(np.linalg.inv(target.matrix) @ source.matrix))
    if np.isnan(orientation).any():
        return None
    shape = tuple(source.shape[axis] for axis in np.argsort(orientation[:, 0]).astype(int))
    inverse = nib.orientations.inv_ornt_aff(orientation, source.shape)
    return _reorient(array, orientation) if Grid.of(shape, source.matrix @ inverse).matches(target) else None


def places_in(mask: Array, source: Grid, target: Grid) -> NDArray[np.float64]:
    """Where the voxels (N, 3) of a mask (X, Y, Z) on ``source`` lie in voxels of ``target``."""
    to_target = np.linalg.inv(target.matrix) @ source.matrix
    return np.asarray(np.argwhere(mask) @ to_target[:3, :3].T + to_target[:3, 3])


def _reorient(array: Array, orientation: Array) -> Array:
    lead = array.ndim - 3
    permutation = np.argsort(orientation[:, 0]).astype(int)
    flipped = np.flip(array, tuple(lead + axis for axis in range(3) if orientation[axis, 1] < 0))
    return np.ascontiguousarray(np.transpose(flipped, (*range(lead), *(lead + permutation))))


def _cut(array: Array, start: tuple[int, int, int], shape: tuple[int, int, int]) -> Array:
    out = np.zeros((*array.shape[:-3], *shape), dtype=array.dtype)
    take: list[Any] = [...]
    put: list[Any] = [...]
    for begin, length, size in zip(start, shape, array.shape[-3:], strict=True):
        low, high = max(begin, 0), min(begin + length, size)
        if low >= high:
            return out
        take.append(slice(low, high))
        put.append(slice(low - begin, high - begin))
    out[tuple(put)] = array[tuple(take)]
    return out


def _triple(values: Any) -> tuple[int, int, int]:
    x, y, z = (int(v) for v in values)
    return x, y, z
