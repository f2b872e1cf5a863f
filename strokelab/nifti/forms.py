"""The two voxel-to-world forms of a NIfTI header and their unit: what they say, where they differ. Reads no files."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid, HeaderForms
from strokelab.nifti.endings import mend

TWO_FORMS = 0.1
"""Share of a voxel from which on a warning says that qform and sform put the volume in two places."""
FINEST_MM, COARSEST_MM = 0.1, 20.0
"""Voxel sizes of head scans lie between these; others are named."""
_ABSURD = 10.0  # so many times finer or coarser: no scan, but a wrong unit
_ROUNDING = 1e-6  # headers hold float32
_UNITS = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}  # NIfTI's codes; 2 is mm, 0 says nothing


def in_millimetres(path: Path, affine: Any, code: int) -> tuple[NDArray[np.float64], float]:
    """An affine (4, 4) in mm, and the factor that brought it there from the unit of the header's ``xyzt_units``."""
    matrix = np.array(affine, dtype=np.float64)
    unit = code & 7
    if unit > 3:
        warn(f"{path}: {unit} is no code of a unit of length; mm is taken")
    name, factor = _UNITS.get(unit, ("mm", 1.0))
    if factor != 1:
        warn(f"{path}: lengths in {name} were multiplied by {factor:g} to mm")
        matrix[:3] *= factor
    return matrix, factor


def forms_of(path: Path, header: Any, grid: Grid, factor: float) -> HeaderForms:
    """Both forms of a NIfTI header as plain numbers in mm; warns where they put the volume in two places.

    Args:
        path: of the file, for messages.
        header: nibabel's.
        grid: made of the form that is used: the sform where it has a code, else the qform.
        factor: from the header's unit to mm.

    Raises:
        DataError: a form has a code but cannot be computed.
    """
    raw = header.structarr
    most = np.iinfo(np.int16).max  # NIfTI-2 has room for codes that NIfTI-1 has not
    qform_code, sform_code = (int(np.clip(raw[f"{form}_code"], -most, most)) for form in ("qform", "sform"))
    pixdim = np.nan_to_num(np.array(raw["pixdim"][:4], dtype=np.float64), posinf=0, neginf=0)
    turn = np.array([raw[f"quatern_{axis}"] for axis in "bcd"], dtype=np.float64)
    shift = np.array([raw[f"qoffset_{axis}"] for axis in "xyz"], dtype=np.float64)
    rows = np.array([raw[f"srow_{axis}"] for axis in "xyz"], dtype=np.float64)
    qform = _qform(path, header, sform_code) if qform_code else None
    if qform is None:
        turn, shift = np.nan_to_num(turn, posinf=0, neginf=0), np.nan_to_num(shift, posinf=0, neginf=0)
    rows = rows if sform_code else np.nan_to_num(rows, posinf=0, neginf=0)
    lengths = np.append(pixdim[0], pixdim[1:] * factor)
    numbers = (lengths, turn, shift * factor, (rows * factor).ravel())
    forms = HeaderForms((qform_code, sform_code), *(tuple(values.tolist()) for values in numbers))
    if qform is not None and sform_code:
        qform[:3] *= factor
        _compare(path, grid, Grid.of(grid.shape, qform), forms)
    return forms


def _compare(path: Path, sform: Grid, qform: Grid, forms: HeaderForms) -> None:
    apart, rounding = sform.apart_mm(qform), forms.angle_rounding * sform.diagonal_mm
    if apart > rounding and sform.apart_voxels(qform) > TWO_FORMS:
        warn(
            f"{path}: sform (code {forms.codes[1]}) and qform (code {forms.codes[0]}) put the volume up to "
            f"{apart:.3g} mm apart ({sform.apart_voxels(qform):.3g} voxels); the sform is used"
        )


def write_forms(header: Any, forms: HeaderForms) -> None:
    """Both forms and their codes into a NIfTI-1 header of nibabel's, number by number."""
    header["qform_code"], header["sform_code"] = forms.codes
    header["pixdim"][:4] = forms.pixdim
    for axis, value in zip("bcd", forms.quaternion, strict=True):
        header[f"quatern_{axis}"] = value
    for axis, value in zip("xyz", forms.offset, strict=True):
        header[f"qoffset_{axis}"] = value
    for axis, row in zip("xyz", np.reshape(forms.rows, (3, 4)), strict=True):
        header[f"srow_{axis}"] = row


def refuse_implausible(path: Path, grid: Grid, *, converted: bool | None) -> None:
    """Name voxel sizes that no head scan has; lengths of axes of one voxel count only where they are absurd.

    Args:
        path: of the file, for messages.
        grid: in mm.
        converted: the header's unit was another than mm: then any such size shows that the unit is wrong; None: the
            format knows but mm.

    Raises:
        DataError: the sizes show that the unit is wrong.
    """
    sizes = np.asarray(grid.spacing)
    counted = sizes[np.asarray(grid.shape) > 1]
    odd = counted[(counted < FINEST_MM * (1 - _ROUNDING)) | (counted > COARSEST_MM * (1 + _ROUNDING))]
    absurd = (sizes < FINEST_MM / _ABSURD).any() or (sizes > COARSEST_MM * _ABSURD).any()
    if not len(odd) and not absurd:
        return
    spelt = " x ".join(f"{size:.4g}" for size in sizes)
    if not absurd and not converted:
        warn(f"{path}: voxels of {spelt} mm; those of head scans measure {FINEST_MM:g} to {COARSEST_MM:g} mm")
        return
    if converted:
        likely, unit = "the header's numbers seem to be mm already", "mm"
    elif sizes.max() > COARSEST_MM:
        likely, unit = "the header's numbers seem to be micrometres", "micron"
    else:
        likely, unit = "the header's numbers seem to be metres", "meter"
    set_unit = mend(path, f'i.header.set_xyzt_units("{unit}")')
    raise DataError(
        path,
        found=f"voxels of {spelt} mm",
        expected=f"{FINEST_MM:g} to {COARSEST_MM:g} mm; {likely}",
        remedy="correct the voxel sizes where the file comes from" if converted is None else f"if so: {set_unit}",
    )


def warn(message: str) -> None:
    """One place for all warnings about headers: Python then says each but once, however often a header is read."""
    warnings.warn(message, DataWarning, stacklevel=1)


def _qform(path: Path, header: Any, sform_code: int) -> NDArray[np.float64]:
    try:
        matrix = np.array(header.get_qform(), dtype=np.float64)
        if not np.isfinite(matrix).all():
            raise ValueError("it holds numbers that are not finite")
    except (HeaderDataError, ValueError) as error:
        raise DataError(
            path,
            found=f"a qform with a code that cannot be computed: {error}",
            expected="a voxel-to-world matrix",
            remedy="the header is damaged: copy the file again"
            + (f"; or leave the qform away: {mend(path, 'i.set_qform(None, 0)')}" if sform_code else ""),
        ) from error
    return matrix
