"""Where the brain is: a file, the image's own zero background, the MNI template, or an estimate, in this order.

A program that strips skulls is asked where the settings name one (``preparation.brain_programs``).
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.contract import Case, LesionFile
from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.lesions import label_lesions, lesion_sizes
from strokelab.nifti import read_union
from strokelab.preparation.brain_programs import PROGRAMS, stripped_by
from strokelab.preparation.template import in_mni_box, template_brain

LARGEST_BRAIN_ML = 2200.0  # above the largest human brains with their fluid; whole heads take 3000 ml and more
OPENING_MM = 3.0  # thinner bridges (skin, meninges, vessels) between brain and scalp are cut


Skull = Literal["auto", "nonzero", "estimated", "synthstrip", "hd-bet"]
SKULLS: tuple[Skull, ...] = get_args(Skull)
"""How the brain is found where a case has no mask of it; the first is the default."""


def find_brain(
    case: Case, native: Grid, voxels: NDArray[np.float32], how: Skull = "auto"
) -> tuple[NDArray[np.bool_], str]:
    """The brain mask (X, Y, Z) on the case's own grid, and where it came from.

    Args:
        case: names its mask file, if any.
        native: the grid of the reference image.
        voxels: the reference image (X, Y, Z), read.
        how: ``auto``: non-zero voxels of a stripped image, the template's brain in its box, else an estimate.
            ``nonzero``, ``estimated`` or the name of a program: this, whatever the image. A case's own file comes
            before all of them.

    Returns:
        The mask, never empty, and one of ``"file"``, ``"nonzero"``, ``"mni152"``, ``"estimated"`` or a program.

    Raises:
        DataError: the mask file is empty or lies on another grid than the reference image, ``nonzero`` leaves nothing
            out, or a program fails.
        ConfigError: the program is not installed.
    """
    if case.brain is not None:
        mask = read_union((LesionFile(case.brain),), native, case.reference_image)
        if not mask.any():
            raise DataError(
                case.brain,
                found="a brain mask without a single voxel",
                expected=f"the brain of case {case.case_id}",
                remedy="mend the mask, or remove it to have the brain estimated",
            )
        return mask.astype(bool), "file"
    if how in PROGRAMS:
        return stripped_by(how, case.reference_image, native), how
    if how == "nonzero":
        return _nonzero(voxels, case), how
    if how == "estimated":
        return estimate_brain(voxels, native), how
    if is_skull_stripped(voxels, native):
        return voxels != 0, "nonzero"
    if in_mni_box(native):
        return template_brain(native), "mni152"
    return estimate_brain(voxels, native), "estimated"


def _nonzero(voxels: NDArray[np.float32], case: Case) -> NDArray[np.bool_]:
    brain = voxels != 0
    if brain.all() or not brain.any():
        raise DataError(
            case.reference_image,
            found=f"an image of case {case.case_id} that is {'nowhere' if brain.all() else 'everywhere'} 0",
            expected="a skull-stripped image, 0 outside the brain",
            remedy="leave the choice of the brain mask to auto, or give the case a brain mask",
        )
    return np.asarray(brain)


def is_skull_stripped(voxels: NDArray[np.float32], grid: Grid) -> bool:
    """Whether exact zeros surround something not larger than a brain.

    At least a fifth of the volume (X, Y, Z) and nine tenths of its border are exactly 0, and what is not 0 takes at
    most ``LARGEST_BRAIN_ML``. Whole heads on a zeroed background are larger. Negative voxels count as brain: the
    diffusion images of ISLES 2022 have some.
    """
    zero = voxels == 0
    volume_ml = np.count_nonzero(~zero) * grid.voxel_volume_mm3 / 1000
    return bool(zero.mean() >= 0.2 and border(zero).mean() >= 0.9 and volume_ml <= LARGEST_BRAIN_ML)


def estimate_brain(voxels: NDArray[np.float32], grid: Grid) -> NDArray[np.bool_]:
    """A rough brain (X, Y, Z) from one image: threshold, opening, largest component, holes filled.

    The threshold is Otsu's. Good enough for statistics inside the brain; no skull stripping to publish with.
    """
    foreground = voxels > otsu_threshold(voxels)
    # A cross per round, thinner along axes of thick slices: a box would eat rounded brains from their corners.
    crosses = [_cross(grid, index) for index in range(max(round(OPENING_MM / spacing) for spacing in grid.spacing))]
    apart = foreground
    for cross in crosses:
        apart = ndimage.binary_erosion(apart, cross, border_value=1)
    core = _largest(apart if apart.any() else foreground)
    grown = core
    for cross in crosses:
        grown = ndimage.binary_dilation(grown, cross)
    return _filled((grown & foreground) | core)


def otsu_threshold(voxels: NDArray[np.floating[Any]]) -> float:
    """The grey value that best parts a volume in two classes (Otsu 1979), from 256 bins without the top 0.1 %."""
    low, high = float(voxels.min()), float(np.percentile(voxels, 99.9))
    if high <= low:
        return low
    if high - low < 512 * np.spacing(np.float32(max(abs(low), abs(high)))):
        voxels = voxels.astype(np.float64)  # float32 has no 256 numbers between them
    counts, edges = np.histogram(voxels, bins=256, range=(low, high))
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * centres)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    # Empty bins between the classes tie; the middle of the gap is the fairest cut.
    best = np.flatnonzero(np.nan_to_num(between) >= np.nanmax(between) * (1 - 1e-12))
    return float(edges[1 + best[len(best) // 2]])


def border(volume: NDArray[Any]) -> NDArray[Any]:
    """All values on the six faces of a volume (X, Y, Z); edges and corners more than once."""
    v = volume
    return np.concatenate(
        [v[0].ravel(), v[-1].ravel(), v[:, 0].ravel(), v[:, -1].ravel(), v[..., 0].T.ravel(), v[..., -1].T.ravel()]
    )


def _cross(grid: Grid, index: int) -> NDArray[np.bool_]:
    """The neighbours that round ``index`` of an opening by ``OPENING_MM`` reaches."""
    cross = np.zeros((3, 3, 3), dtype=bool)
    cross[1, 1, 1] = True
    for axis, spacing in enumerate(grid.spacing):
        if index < round(OPENING_MM / spacing):
            np.moveaxis(cross, axis, 0)[:, 1, 1] = True
    return cross


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, count = label_lesions(mask, 6)
    return np.asarray(labels == 1 + int(np.argmax(lesion_sizes(labels, count))))


def _filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask with those background components that do not reach the border of the volume."""
    padded = np.pad(~mask, 1, constant_values=True)
    labels, _ = label_lesions(padded, 6)
    return np.asarray(labels != labels[0, 0, 0])[1:-1, 1:-1, 1:-1]
