"""How a scan is brought to what a model was trained on: as it is, registered, resampled, or laid around its brain."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, PreparedCase
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import CropPad, Grid, Orient, Resample
from strokelab.nifti import read_grid
from strokelab.preparation.crop import crop_box
from strokelab.preparation.extent import Extent, Triple, measured
from strokelab.preparation.recipe import Preparation, plan_steps
from strokelab.preparation.register import Register
from strokelab.preparation.template import in_mni_space
from strokelab.preparation.trained_on import TrainedOn, alike, has_frame

# A scan lies in the training's space where its brain's centre (x, y) and top (z) do, mm, and its width and length are
# the training's up to these factors: a rough brain mask of a whole head is larger than a brain.
SAME_SPACE_MM = (5.0, 15.0, 20.0)
SAME_SIZE = (0.75, 1.35)
POSSIBLE_SIZE = (0.5, 2.0)  # what is not between is no head like those of the training
LEAST_SHARE = 0.1  # of the smallest brain of the training
Registering = Literal["auto", "always", "never"]
_MNI_CODE = 4  # of NIfTI's forms: coordinates of MNI-152


def preparation_for(
    case: Case,
    preparation: Preparation,
    trained: TrainedOn | None,
    *,
    halves: bool = False,
    store: Path | None = None,
    register: Registering = "auto",
    any_contrast: bool = False,
) -> Preparation:
    """How a scan is prepared for a model: as its training's were where it is like them, else brought to them.

    A scan that does not lie in MNI space is registered to it for a model that was trained there.

    Where crop or midline are voxels of a grid that all training scans shared, a scan in the same space goes straight
    onto this grid, and one in another frame onto the same grid laid around its own brain, with a ``DataWarning``.
    Otherwise, where the preparation leaves the spacing to the case, another spacing becomes the training's median,
    and a crop is centred on the brain. The way back is that of ``preparation.restore``.

    Args:
        case: the scan.
        preparation: of the training.
        trained: what that was on; None: unknown, the scan is taken as it is.
        halves: the model parts the volume at its middle, so that its midline counts without a crop, too.
        store: folder of a prepared store that remembers where brains lie; None: measured where needed.
        register: ``auto``: scans outside MNI space, for models that were trained in it. ``always``: every scan.
            ``never``: none; a training that registered its scans then takes them as lying in MNI space.
        any_contrast: the model takes images as they lie; they are registered only ``always``.

    Raises:
        DataError: the scan cannot be read, or holds no head like those of the training.
        ConfigError: ``always`` for a model that was trained on native scans as they lay.
    """
    if preparation.register is not None:
        return _unregistered(preparation) if register == "never" else preparation
    if register == "always" or (register == "auto" and not any_contrast and trained is not None and trained.in_mni):
        if trained is not None and not trained.in_mni:
            raise ConfigError(
                "register=always",
                found=f"case {case.case_id}, for a run that was trained on native scans without a registration",
                expected="a run that was trained in MNI space",
                remedy="register=auto, or train with view.preparation.register=mni152",
            )
        if register == "always" or not _in_mni(read_grid(case.reference_image), trained):
            return _registered(preparation, trained)
    return preparation if trained is None else _brought(case, preparation, trained, halves, store)


def _in_mni(native: Grid, trained: TrainedOn | None) -> bool:
    """Whether a scan lies in MNI space: its field of view is one of MNI's or the training's, or its header says so."""
    codes = native.forms.codes if native.forms is not None else (0, 0)
    frame = None if trained is None else trained.frame
    own = Orient(native).target
    return in_mni_space(native) or codes[1] == _MNI_CODE or (frame is not None and alike(own, frame))


def _registered(preparation: Preparation, trained: TrainedOn | None) -> Preparation:
    """The same with a registration that ends on the grid of the training's scans."""
    made = replace(preparation, register=Register(refined=True))
    if trained is None:
        return made
    if trained.frame is not None and has_frame(preparation):
        return replace(made, onto=trained.frame)
    x, y, z = trained.spacing_mm.median
    return made if preparation.spacing is not None else replace(made, spacing=(x, y, z))


def _unregistered(preparation: Preparation) -> Preparation:
    """The same for scans that lie in the template's space already."""
    assert preparation.register is not None
    return replace(preparation, register=None, box=None, onto=preparation.register.target(preparation.spacing))


def _brought(case: Case, preparation: Preparation, trained: TrainedOn, halves: bool, store: Path | None) -> Preparation:
    """Without a registration."""
    native = read_grid(case.reference_image)
    own = plan_steps(native, replace(preparation, crop=None, offset=None))[-1].target
    if trained.frame is not None and has_frame(preparation) and (preparation.crop or halves):
        if alike(own, trained.frame):
            return preparation
        return replace(preparation, onto=_grid_for(case, native, trained, trained.frame, store))
    if preparation.spacing is not None or trained.spacing_mm.holds(own.spacing):
        return preparation
    x, y, z = trained.spacing_mm.median
    coarse = replace(preparation, spacing=(x, y, z))
    if preparation.crop is None or preparation.box:
        return coarse
    grid = plan_steps(native, replace(coarse, crop=None, offset=None))[-1].target
    brain = measured(case, grid, store)
    _check_head(case, brain, grid, trained)
    starts = [
        None if size is None else round(float(centre) + 0.5 - size / 2)
        for centre, size in zip(brain.centre, preparation.crop, strict=True)
    ]
    _warn(
        case,
        f"voxels of {_by(own.spacing)} mm, the training's had {_by((x, y, z))} mm: the crop is centred on its brain",
    )
    return replace(coarse, offset=(starts[0], starts[1], starts[2]))


def done_to(prepared: PreparedCase, preparation: Preparation, trained: Callable[[], TrainedOn | None]) -> str:
    """What was done to a scan before the model saw it, in words, e.g. ``resampled 2x2x2 -> 4x4x4 mm``.

    Args:
        prepared: the case.
        preparation: of the training.
        trained: gives what that was on, None where unknown; asked only where something was resampled.
    """
    if (registered := prepared.registered) is not None:
        return f"registered to {registered.to} (brain overlap {registered.overlap:.2f})"
    steps = prepared.steps
    changed = [step for step in steps if isinstance(step, Resample)]
    if not changed:
        return "own grid"
    source, target = changed[0].source, changed[0].target
    if np.allclose(source.spacing, target.spacing, rtol=0, atol=1e-3):
        words = f"resampled at {_by(target.spacing)} mm"
    else:
        words = f"resampled {_by(source.spacing)} -> {_by(target.spacing)} mm"
    known = trained()
    if known is not None and known.frame is not None and target.matches(known.frame):
        return f"{words} onto the training grid"
    if not target.matches(source.resized(target.spacing)):
        return f"{words} onto the training grid, laid around the brain"
    crop = steps[-1]
    usual = crop_box(target.shape, preparation.crop, preparation.offset)[0] if preparation.crop else None
    if isinstance(crop, CropPad) and not preparation.box and crop.start != usual:
        return f"{words}, crop centred on the brain"
    return words


def _grid_for(case: Case, native: Grid, trained: TrainedOn, frame: Grid, store: Path | None) -> Grid:
    """The training's grid where the scan lies in its space, else the same grid laid around the scan's brain."""
    brain = measured(case, frame, store)
    usual = Extent(*_usual_box(trained, frame), ml=trained.brain_ml.median[0])
    apart = (_anchor(brain) - _anchor(usual)) * frame.spacing
    sizes = (brain.size_mm(frame) / usual.size_mm(frame))[:2]
    near = np.maximum(SAME_SPACE_MM, np.maximum(frame.spacing, max(native.spacing)))  # boxes end at voxels
    if (np.abs(apart) <= near).all() and (sizes >= SAME_SIZE[0]).all() and (sizes <= SAME_SIZE[1]).all():
        _check_head(case, brain, frame, trained)
        return frame
    oriented = Orient(native).target
    brain = measured(case, oriented, store)
    _check_head(case, brain, oriented, trained)
    axes = oriented.matrix[:3, :3] / np.asarray(oriented.spacing) * np.asarray(frame.spacing)
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    matrix[:3, 3] = (oriented.matrix @ np.append(_anchor(brain), 1.0))[:3] - axes @ _anchor(usual)
    words = ", ".join(f"{value:.0f}" for value in apart)
    _warn(
        case,
        f"not in the space of the training's scans (its brain lies ({words}) mm from theirs, or is larger or smaller): "
        "the training's grid is laid around its brain",
    )
    return Grid.of(frame.shape, matrix)


def _anchor(brain: Extent) -> NDArray[np.float64]:
    """The point by which heads are compared: the brain's middle from left to right and front to back, and its top.

    A rough mask of a whole head reaches down the neck, so that its middle would lie too low.
    """
    return np.array([brain.centre[0], brain.centre[1], brain.high[2]])


def _usual_box(trained: TrainedOn, frame: Grid) -> tuple[Triple, Triple]:
    """The median box around the training's brains in voxels of the frame: lower and upper edges."""
    centre = (np.linalg.inv(frame.matrix) @ np.append(trained.brain_centre_mm.median, 1.0))[:3]
    half = np.asarray(trained.brain_mm.median) / frame.spacing / 2
    low, high = centre - half, centre + half
    return (low[0], low[1], low[2]), (high[0], high[1], high[2])


def _check_head(case: Case, brain: Extent, grid: Grid, trained: TrainedOn) -> None:
    sides = brain.size_mm(grid)
    shares = sides / np.asarray(trained.brain_mm.median)
    low, high = POSSIBLE_SIZE
    least = LEAST_SHARE * trained.brain_ml.low[0]
    # Few slices are a part of a head, but one that is too narrow or too long is none.
    if (shares >= high).any() or (shares[:2] <= low).any() or brain.ml < least:
        usual = trained.brain_mm
        raise DataError(
            case.reference_image,
            found=f"a brain of {_by(sides, 3)} mm and {brain.ml:.0f} ml, by its header and its brain mask",
            expected=f"a head like those of the training, whose brains have {_by(usual.median, 3)} mm and "
            f"{trained.brain_ml.median[0]:.0f} ml",
            remedy="check voxel size and file, add a brain mask, or take a run that was trained on such scans",
        )


def _by(values: Any, digits: int = 3) -> str:
    return "x".join(f"{value:.{digits}g}" for value in values)


def _warn(case: Case, message: str) -> None:
    warnings.warn(f"case {case.case_id}: {message}", DataWarning, stacklevel=3)
