"""Mirrored channels: each modality reflected in the brain's own plane of symmetry and aligned with itself.

Clèrigues 2019 (SUNet) flips the images and registers one flipped image to its original with FSL FLIRT; the others take
its transform. Here SimpleITK registers, started from an exhaustive search of the plane of symmetry, in one thread and
with a fixed seed: equal inputs give equal bits. This is the one file that knows SimpleITK.

Points p are (3,) mm from the middle of the volume, along the axes of its array, whatever its affine.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.contract import Mirrored
from strokelab.errors import ConfigError, DataWarning
from strokelab.grid import Grid
from strokelab.preparation.alignment import averaged, correlation, one_thread, optimized

if TYPE_CHECKING:
    import SimpleITK as sitk  # its import takes a sixth of a second: where something is registered

Array = NDArray[np.float64]
Volume = NDArray[np.float32]

PREFIX = "mirrored_"
_PREFERRED = (("t1", "t1w"), ("t1c", "t1ce", "t1gd"), ("t2", "t2w"), ("flair",), ("dwi",))
"""Reference modalities, best first: T1 shows an acute lesion least, so the lesion biases the alignment least."""
_DOFS = (6, 12)
_MARGIN_MM = 12.0  # around the brain
_RIGID, _AFFINE = ((4.0, 4.0), (2.0, 2.0)), ((2.0, 1.0),)  # levels: spacing and smoothing, mm


@buildable("view")
@dataclass(frozen=True)
class Mirror:
    """Settings of the mirrored channels; a part of ``Preparation``.

    Args:
        enabled: whether there are any: ``mirrored_<modality>`` for each modality, after all modalities.
        reference: the modality that is registered; None: T1, T1c, T2, FLAIR or DWI, the first that is there, else the
            first modality.
        dof: degrees of freedom of the registration: 12 (affine, FLIRT's default) or 6 (rigid).

    Raises:
        ConfigError: another ``dof``.
    """

    enabled: bool = False
    reference: str | None = None
    dof: int = 12

    def __post_init__(self) -> None:
        if self.dof not in _DOFS:
            raise ConfigError(
                "view.preparation.mirror.dof",
                found=repr(self.dof),
                expected="12 (affine) or 6 (rigid)",
                remedy="leave it out, for 12",
            )

    def names(self, modalities: Sequence[str]) -> tuple[str, ...]:
        """Of the mirrored channels, in the order of the modalities; none when it is off."""
        return tuple(f"{PREFIX}{name}" for name in modalities) if self.enabled else ()

    def reference_of(self, modalities: Sequence[str]) -> str:
        """The modality that is registered.

        Raises:
            ConfigError: ``reference`` is none of them.
        """
        if self.reference is not None:
            if self.reference not in modalities:
                raise ConfigError(
                    "view.preparation.mirror.reference",
                    found=repr(self.reference),
                    expected=f"one of the modalities {', '.join(modalities)}",
                    remedy="leave it out, for the first of T1, T1c, T2, FLAIR and DWI that is there",
                )
            return self.reference
        known = {name.lower(): name for name in reversed(modalities)}
        return next((known[word] for words in _PREFERRED for word in words if word in known), modalities[0])

    def fill(
        self, out: Volume, image: Volume, brain: NDArray[np.bool_], grid: Grid, modalities: Sequence[str], case_id: str
    ) -> Mirrored:
        """Write the mirrored channels; one transform for all, linear interpolation, 0 outside the image.

        Args:
            out: (C, X, Y, Z), written to.
            image: the modalities (C, X, Y, Z) in their units, before normalisation.
            brain: (X, Y, Z), not empty.
            grid: of both.
            modalities: names of the channels.
            case_id: for messages.

        Returns:
            The transform and how well it fits. Where the registration fails, or its correlation is below that of the
            plain flip of the array, the channels are that flip; a ``DataWarning`` says so.
        """
        begun = time.perf_counter()
        reference = self.reference_of(modalities)
        fixed = image[list(modalities).index(reference)]
        axis = _left_right(grid)
        flip_correlation = correlation(fixed, np.flip(fixed, axis), brain)
        registered: float | None = None
        metric: float | None = None
        transform, moved = _flip(axis), np.flip(fixed, axis)
        with suppress(RuntimeError):  # SimpleITK's own: an image of one grey value, brains that do not meet
            found, metric = register(fixed, brain, grid.spacing, axis, self.dof)
            aligned = sample(fixed, grid.spacing, found)
            registered = correlation(fixed, aligned, brain)
        aligns = registered is not None and registered >= flip_correlation
        if aligns:
            transform, moved = found, aligned
        for channel, voxels, name in zip(out, image, modalities, strict=True):
            if name == reference:
                channel[...] = moved
            else:
                channel[...] = sample(voxels, grid.spacing, found) if aligns else np.flip(voxels, axis)
        made = Mirrored(
            reference=reference,
            transform=_in_world(transform, grid),
            flip_correlation=flip_correlation,
            registered_correlation=registered,
            metric=metric,
            seconds=time.perf_counter() - begun,
        )
        if made.is_flip:
            warnings.warn(f"case {case_id}: {_why_flipped(made)}", DataWarning, stacklevel=3)
        return made


def _why_flipped(made: Mirrored) -> str:
    reached = made.registered_correlation
    result = "failed" if reached is None else f"reaches a correlation of {reached:.4f} inside the brain"
    flip = f"the plain flip, with {made.flip_correlation:.4f}, is used instead"
    return f"the registration of {made.reference} with its mirror image {result}; {flip}"


def register(
    image: Volume, brain: NDArray[np.bool_], spacing: tuple[float, float, float], axis: int, dof: int = 12
) -> tuple[Array, float]:
    """Where a mirrored image takes its values from so that it fits the original.

    Args:
        image: (X, Y, Z).
        brain: (X, Y, Z); what lies further than 12 mm from the box around it does not count.
        spacing: mm.
        axis: of the array, that runs from left to right.
        dof: 6 or 12.

    Returns:
        Matrix (4, 4) from a point of the mirrored image to the point of the image that it shows, mm; and the metric
        (Mattes mutual information, negative) at the end.

    Raises:
        RuntimeError: of SimpleITK, e.g. for an image without contrast.
    """
    import SimpleITK as sitk

    from strokelab.preparation.symmetry_plane import best_reflection

    box, middle = _box_around(brain, spacing)
    small, small_spacing, shift = averaged(image[box], spacing)
    inside, _, _ = averaged(brain[box].astype(np.float32), spacing)
    centre = middle + shift  # of the small volume, mm
    to_small, back = np.eye(4), np.eye(4)
    to_small[:3, 3], back[:3, 3] = -centre, centre
    plane = back @ best_reflection(small, inside > 0, small_spacing, axis) @ to_small
    flip = _flip(axis)
    fixed = _as_image(small, small_spacing, centre)
    moving = _as_image(np.flip(small, axis), small_spacing, flip[:3, :3] @ centre)
    pivot = _centroid(inside > 0, small_spacing) + centre
    with one_thread():
        rigid = sitk.Euler3DTransform()
        rigid.SetCenter(pivot.tolist())
        _set(rigid, flip @ plane, pivot)
        metric = optimized(fixed, moving, rigid, _RIGID)
        last: sitk.Transform = rigid
        if dof == 12:
            last = sitk.AffineTransform(3)
            last.SetCenter(pivot.tolist())
            last.SetMatrix(rigid.GetMatrix())
            last.SetTranslation(rigid.GetTranslation())
            metric = optimized(fixed, moving, last, _AFFINE)
    return flip @ _matrix(last, pivot), metric


def sample(image: Volume, spacing: tuple[float, float, float], transform: Array) -> Volume:
    """An image (X, Y, Z) as its mirrored image shows it: linear, 0 outside, in one thread."""
    import SimpleITK as sitk

    where = sitk.AffineTransform(3)
    where.SetMatrix(transform[:3, :3].ravel().tolist())
    where.SetTranslation(transform[:3, 3].tolist())
    with one_thread():
        source = _as_image(image, spacing, np.zeros(3))
        moved = sitk.Resample(source, source, where, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    return np.asarray(sitk.GetArrayFromImage(moved).T)


def _as_image(voxels: Volume, spacing: Sequence[float], middle: Array) -> sitk.Image:
    """A volume (X, Y, Z) whose middle lies at a point, mm."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetSpacing([float(mm) for mm in spacing])
    image.SetOrigin((middle - (np.array(voxels.shape) - 1) / 2 * spacing).tolist())
    return image


def _set(transform: sitk.Euler3DTransform, matrix: Array, pivot: Array) -> None:
    rotation = matrix[:3, :3]
    transform.SetMatrix(rotation.ravel().tolist(), 1e-6)
    transform.SetTranslation((matrix[:3, 3] + rotation @ pivot - pivot).tolist())


def _matrix(transform: Any, pivot: Array) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    matrix[:3, 3] = np.array(transform.GetTranslation()) + pivot - matrix[:3, :3] @ pivot
    return matrix


def _box_around(
    brain: NDArray[np.bool_], spacing: tuple[float, float, float]
) -> tuple[tuple[slice, slice, slice], Array]:
    """The box around the brain with its margin, and its middle in mm from that of the volume."""
    box, middle = [], []
    for axis, (size, mm) in enumerate(zip(brain.shape, spacing, strict=True)):
        used = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
        margin = int(np.ceil(_MARGIN_MM / mm))
        start, stop = max(0, int(used[0]) - margin), min(size, int(used[-1]) + 1 + margin)
        box.append(slice(start, stop))
        middle.append((start + stop - size) / 2 * mm)
    x, y, z = box
    return (x, y, z), np.array(middle)


def _centroid(region: NDArray[np.bool_], spacing: tuple[float, float, float]) -> Array:
    """Of a region, mm from the middle of its volume."""
    places = np.argwhere(region)
    return np.asarray((places.mean(axis=0) - (np.array(region.shape) - 1) / 2) * spacing)


def _flip(axis: int) -> Array:
    matrix = np.eye(4)
    matrix[axis, axis] = -1
    return matrix


def _left_right(grid: Grid) -> int:
    """The axis of the array that runs from left to right, the nearest one of an oblique grid."""
    return next(axis for axis, letter in enumerate(grid.orientation) if letter in "LR")


def _in_world(transform: Array, grid: Grid) -> tuple[tuple[float, ...], ...]:
    """The same from and to points of the grid's world, RAS+ mm."""
    to_points = np.diag([*grid.spacing, 1.0])
    to_points[:3, 3] = -(np.array(grid.shape) - 1) / 2 * grid.spacing
    world = grid.matrix @ np.linalg.inv(to_points)
    return tuple(tuple(float(v) for v in row) for row in world @ transform @ np.linalg.inv(world))
