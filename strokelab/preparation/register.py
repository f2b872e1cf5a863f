"""A case brought into the space of the MNI-152 template: an affine registration of its reference image, any contrast.

The image is registered by mutual information, started from the centroids and volumes of the brains: deterministic, on
averaged voxels of about 2 mm. Nothing is interpolated here: the case's grids get other affines, and the one resampling
of the preparation follows them; the way back is the same two steps backwards. ``refined`` registrations also look
inside the brain (``preparation.register_inside``), and say how much of it the field of view cuts.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.buildable import buildable
from strokelab.contract import Registered
from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid, resample
from strokelab.preparation.alignment import Array, Volume, averaged, correlation, metric_of, one_thread, optimized
from strokelab.preparation.register_inside import filled, information, inside_mask, possible_overlap, worth_it
from strokelab.preparation.template import MNI, template_brain, template_t1

if TYPE_CHECKING:
    import SimpleITK as sitk

_TEMPLATES = ("mni152",)
_DOFS = (6, 12)
_LEVELS = ((8.0, 4.0), (4.0, 2.0)), ((4.0, 2.0), (2.0, 1.0))  # of the first and the last stage: spacing, smoothing, mm
_PASSES = 3  # inside the brain, at most: a start that is a centimetre off takes two
_AROUND_MM = 8.0  # of the template's brain, where the metric is measured: the brain's outline counts
VOLUME_FACTORS = (0.4, 3.0)
"""By which a transform may change volumes: adult brains have 1.0 to 1.9 litres with their fluid, the template 1.9."""


class RegistrationError(DataError):
    """A case that could not be registered; a training leaves it out."""


@buildable("view", training="data")
@dataclass(frozen=True)
class Register:
    """Settings of the registration; a part of ``Preparation``.

    Args:
        to: the template; ``"mni152"``: MNI-152 2009a symmetric as nilearn ships it, 197 x 233 x 189 voxels of 1 mm.
        dof: degrees of freedom: 12 (affine) or 6 (rigid).
        least_overlap: Dice of the registered brain with the template's, below which the registration has failed. Rough
            brain masks of whole heads reach less than good ones. Of ``refined`` ones, inside the field of view.
        refined: also fit the inside of the brain, which rescues whole heads with a bad brain mask, and check it; False
            is the registration of SynthStroke's runs, whose numbers stay.
        least_information: of ``refined`` ones: mutual information (nats) of image and template inside the brain, below
            which the registration has failed. On phantoms 0.2 to 1.7, on the real ISLES 2022 case 0.10 to 0.14; other
            organs, noise and images upside down have 0.00 to 0.07.
        most_outside: of ``refined`` ones: share of the template's brain beyond the field of view, above which the
            registration has failed.

    Raises:
        ConfigError: another template or ``dof``, or a bound outside 0..1.
    """

    to: Literal["mni152"] = "mni152"
    dof: int = 12
    least_overlap: float = 0.7
    refined: bool = False
    least_information: float = 0.08
    most_outside: float = 0.35

    def __post_init__(self) -> None:
        allowed: dict[str, tuple[bool, str]] = {
            "to": (self.to in _TEMPLATES, "mni152, the only template"),
            "dof": (self.dof in _DOFS, "12 (affine) or 6 (rigid)"),
            "least_overlap": (0 <= self.least_overlap <= 1, "a Dice, 0 to 1"),
            "least_information": (self.least_information >= 0, "nats, 0 or more"),
            "most_outside": (0 <= self.most_outside <= 1, "a share, 0 to 1"),
        }
        for name, (right, expected) in allowed.items():
            if not right:
                raise ConfigError(
                    f"view.preparation.register.{name}",
                    found=repr(getattr(self, name)),
                    expected=expected,
                    remedy="leave it out, for the default",
                )

    @classmethod
    def of(cls, given: Register | str | None) -> Register | None:
        """A setting: the name of a template is its refined registration."""
        return cls(to=given, refined=True) if isinstance(given, str) else given  # type: ignore[arg-type]  # checked

    def to_json(self) -> dict[str, Any]:
        """Plain data for addresses: settings of refined registrations are left out of others."""
        content = vars(self)
        return dict(content) if self.refined else {name: content[name] for name in ("to", "dof", "least_overlap")}

    def target(self, spacing: tuple[float, float, float] | None) -> Grid:
        """The template's grid at a spacing (mm); None: its own 1 mm."""
        same = spacing is None or np.allclose(spacing, MNI.spacing, rtol=0, atol=1e-3)
        return MNI if spacing is None or same else MNI.resized(spacing)

    def found(
        self, image: Volume, brain: NDArray[np.bool_], grid: Grid, case_id: str, path: Path, name: str = ""
    ) -> Registered:
        """The transform of a case, by its reference image.

        Args:
            image: (X, Y, Z) grey values.
            brain: (X, Y, Z), not empty.
            grid: of both.
            case_id: for messages.
            path: of the image, for messages.
            name: the image's modality, to be kept.

        Raises:
            RegistrationError: the metric is no better than at the start, the brain lies elsewhere than the template's
                or is changed too much in volume, image and template have too little in common, the field of view
                cuts too much of the brain, or SimpleITK gives up.
        """
        begun = time.perf_counter()
        try:
            matrix, metric, start = _registered(image, brain, grid, self.dof)
            if self.refined:
                matrix = _refined(image, brain, grid, matrix, self.dof)
        except RuntimeError as error:  # SimpleITK's own: an image of one grey value, brains that do not meet
            last = str(error).splitlines()[-1]
            raise self._failed(case_id, path, f"a registration that ended with {last}") from error
        fixed, region, frame = _template()
        moved = grid.moved(matrix)
        inside = resample(brain.astype(np.float32), moved, frame) >= 0.5
        values = resample(image, moved, frame)
        made = Registered(
            to=self.to,
            transform=tuple(tuple(float(value) for value in row) for row in matrix),
            metric=metric,
            start=start,
            correlation=correlation(values, fixed, region),
            overlap=_dice(inside, region),
            volume_factor=float(np.linalg.det(matrix[:3, :3])),
            seconds=time.perf_counter() - begun,
            image=name,
        )
        if self.refined:
            seen = resample(np.ones(grid.shape, np.float32), moved, frame) >= 0.5
            share = float(np.count_nonzero(region & ~seen) / np.count_nonzero(region))
            overlap = _dice(inside & seen, region & seen) if (region & seen).any() else 0.0
            told = information(values, fixed, region & seen)
            made = replace(made, overlap=overlap, information=told, outside=share, seconds=time.perf_counter() - begun)
        if why := self._why_wrong(made, possible_overlap(inside, region) if self.refined else 1.0):
            raise self._failed(case_id, path, f"{why}: {_numbers(made)}")
        if self.refined and (words := _turned_over(image, moved, made)):
            raise RegistrationError(
                path,
                found=f"case {case_id}: a head that fits the template better {words}: {_numbers(made)}",
                expected="a header that says which way the head lies",
                remedy="mend the orientation in the file's header, or leave the case out",
            )
        return made

    def _why_wrong(self, made: Registered, possible: float) -> str:
        """What tells that a registration has failed, in words; empty: nothing does."""
        low, high = VOLUME_FACTORS
        signs = {
            "this looks like no head": made.information is not None and made.information < self.least_information,
            "too much of the brain is cut off": made.outside is not None and made.outside > self.most_outside,
            "the brain lies elsewhere than the template's": made.overlap < self.least_overlap * possible,
            "the brain's size is changed too much": not low < made.volume_factor < high,
            "the fit is no better than where it began": not made.metric < made.start,
        }
        return next((words for words, found in signs.items() if found), "")

    def _failed(self, case_id: str, path: Path, found: str) -> RegistrationError:
        low, high = VOLUME_FACTORS
        further = (
            f", {self.least_information:g} nats of information and at most {self.most_outside:.0%} of the brain "
            "outside the field of view"
            if self.refined
            else ""
        )
        return RegistrationError(
            path,
            found=f"case {case_id}: {found}",
            expected=f"a registration to {self.to} that lowers the metric, with a brain overlap (Dice) of at least "
            f"{self.least_overlap:g} and volumes changed by a factor of {low:g} to {high:g}{further}",
            remedy="look at the scan, give it a brain mask (--brain-mask FILE), or leave it out; taken as it lies: "
            "strokelab predict --register never, evaluate.py register=never"
            if self.refined
            else "give the case a brain mask, lower view.preparation.register.least_overlap, or leave the case out",
        )


def _turned_over(image: Volume, placed: Grid, made: Registered) -> str:
    """Whether a registered image tells more when turned over, in words; "" where it does not.

    Left and right are too much alike to be told apart.
    """
    fixed, region, frame = _template()
    pivot = _centroid(region, frame)
    for axis, words in ((1, "turned back to front"), (2, "turned upside down")):
        flip = np.eye(4)
        flip[axis, axis], flip[axis, 3] = -1.0, 2 * pivot[axis]
        told = information(resample(image, placed.moved(flip), frame), fixed, region)
        if worth_it(made.information or 0.0, told):
            return f"{words} ({told:.3f} nats)"
    return ""


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float(2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other)))


def _numbers(made: Registered) -> str:
    return (
        f"metric {made.start:.4f} at the start and {made.metric:.4f} at the end, brain overlap {made.overlap:.3f}, "
        f"volumes changed by a factor of {made.volume_factor:.2f}, correlation with the template {made.correlation:.3f}"
        + (f", information {made.information:.3f} nats" if made.information is not None else "")
        + (f", {made.outside:.0%} of the brain outside the field of view" if made.outside else "")
    )


def _registered(image: Volume, brain: NDArray[np.bool_], grid: Grid, dof: int) -> tuple[Array, float, float]:
    """Matrix (4, 4) from a point of the case to one of the template, mm; the metric at the end and at the start."""
    template, region, frame = _template()
    stripped = np.where(brain, image - image[brain].min(), np.float32(0)).astype(np.float32)
    values, own = _averaged(stripped, grid)
    share = _averaged(brain.astype(np.float32), grid)[0]
    inside = share >= min(0.5, float(share.max()))
    fixed, moving = _in_world(template, frame), _in_world(values, own)
    reach = max(1, round(_AROUND_MM / max(frame.spacing)))
    around = _in_world(ndimage.binary_dilation(region, iterations=reach).astype(np.uint8), frame)
    pivot = _centroid(region, frame)
    with one_thread():
        first = _by_moments(pivot, _centroid(inside, own), _volume(inside, own) / _volume(region, frame), dof)
        start = metric_of(fixed, moving, first, around)
        optimized(fixed, moving, first, _LEVELS[0], around)
        last = _affine(first, pivot) if dof == 12 else first
        optimized(fixed, moving, last, _LEVELS[1], around)
        metric = metric_of(fixed, moving, last, around)
    return _to_template(last, pivot), metric, start


def _refined(image: Volume, brain: NDArray[np.bool_], grid: Grid, matrix: Array, dof: int) -> Array:
    """As ``_registered``, from its matrix on, by the inside of the brain; the matrix that was given where that is
    as good.

    What surrounds the brain is not looked at, so that neither a rough mask nor the edge of a stripped image draws the
    scan. A whole head is taken as it is, and so the result does not depend on its mask.
    """
    template, region, frame = _template()
    image = filled(image, brain, grid)
    values, own = _averaged(image, grid)
    fixed, moving = _in_world(template, frame), _in_world(values, own)
    mask = _in_world(inside_mask(region, frame).astype(np.uint8), frame)
    pivot = _centroid(region, frame)
    for _ in range(_PASSES):
        found = _once_more(fixed, moving, mask, matrix, pivot, dof)
        fits = (information(resample(values, own.moved(one), frame), template, region) for one in (matrix, found))
        if not worth_it(*fits):
            break
        matrix = found
    return matrix


def _once_more(fixed: Any, moving: Any, mask: Any, matrix: Array, pivot: Array, dof: int) -> Array:
    """A matrix made better inside a mask; the same where the scan leaves the template."""
    import SimpleITK as sitk

    to_case = np.linalg.inv(matrix)
    start: Any = sitk.AffineTransform(3) if dof == 12 else sitk.Euler3DTransform()
    start.SetCenter(pivot.tolist())
    start.SetMatrix(to_case[:3, :3].ravel().tolist())
    start.SetTranslation((to_case[:3, :3] @ pivot + to_case[:3, 3] - pivot).tolist())
    with one_thread():
        try:
            optimized(fixed, moving, start, _LEVELS[1], mask)
        except RuntimeError:  # the scan left the template
            return matrix
    return _to_template(start, pivot)


def _to_template(transform: Any, pivot: Array) -> Array:
    """The matrix (4, 4) from a point of the case to one of the template, of SimpleITK's transform the other way."""
    to_case: Array = np.eye(4)
    to_case[:3, :3] = np.reshape(transform.GetMatrix(), (3, 3))
    to_case[:3, 3] = np.array(transform.GetTranslation()) + pivot - to_case[:3, :3] @ pivot
    return np.asarray(np.linalg.inv(to_case), dtype=np.float64)


def _by_moments(pivot: Array, centre: Array, volumes: float, dof: int) -> Any:
    """Where a registration starts: brain on brain, and of 12 degrees of freedom as large as it."""
    import SimpleITK as sitk

    transform: Any = sitk.Similarity3DTransform() if dof == 12 else sitk.Euler3DTransform()
    transform.SetCenter(pivot.tolist())
    transform.SetTranslation((centre - pivot).tolist())
    if dof == 12:
        transform.SetScale(float(np.clip(volumes ** (1 / 3), 0.75, 1.25)))  # rough masks are too large
    return transform


def _affine(transform: Any, pivot: Array) -> Any:
    import SimpleITK as sitk

    affine: Any = sitk.AffineTransform(3)
    affine.SetCenter(pivot.tolist())
    affine.SetMatrix(transform.GetMatrix())
    affine.SetTranslation(transform.GetTranslation())
    return affine


@lru_cache(maxsize=1)
def _template() -> tuple[Volume, NDArray[np.bool_], Grid]:
    """The template's brain in voxels of 2 mm: T1 image, mask and grid."""
    image, grid = _averaged(template_t1(), MNI)
    return image, _averaged(template_brain(MNI).astype(np.float32), MNI)[0] > 0.5, grid


def _averaged(voxels: Volume, grid: Grid) -> tuple[Volume, Grid]:
    """A volume in voxels of about 2 mm, and its grid."""
    small, spacing, _ = averaged(voxels, grid.spacing)
    factors = np.rint(np.asarray(spacing) / grid.spacing)
    matrix = grid.matrix.copy()
    matrix[:3, :3] *= factors
    matrix[:3, 3] = (grid.matrix @ np.append((factors - 1) / 2, 1.0))[:3]
    return small, Grid.of(small.shape, matrix)


def _in_world(voxels: NDArray[Any], grid: Grid) -> sitk.Image:
    """A volume (X, Y, Z) where its grid has it, in RAS+ mm: points are handed over and taken back in these alone."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.T))
    image.SetOrigin(grid.matrix[:3, 3].tolist())
    image.SetSpacing(grid.spacing)
    image.SetDirection((grid.matrix[:3, :3] / grid.spacing).ravel().tolist())
    return image


def _volume(region: NDArray[np.bool_], grid: Grid) -> float:
    return float(np.count_nonzero(region) * grid.voxel_volume_mm3)


def _centroid(region: NDArray[np.bool_], grid: Grid) -> Array:
    """Of a region, in the world, mm."""
    return np.asarray((grid.matrix @ np.append(np.argwhere(region).mean(axis=0), 1.0))[:3])
