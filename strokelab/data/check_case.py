"""One case held against the rules for files: headers, grids, masks, voxels. Knows nothing of other cases."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, LesionFile
from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.nifti import binarize, check_lesion_volume, read_grid, read_voxels

Severity = Literal["error", "warning", "note"]

LARGEST_SHARE = 0.6
"""Of an image's volume that a lesion may take: a whole brain takes less of a scan with any air around it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it should be (error), handled by a stated rule (warning), or good to know (note)."""

    file: str  # the file, folder or case it is about
    message: str
    severity: Severity


@dataclass
class Findings:
    """What one case shows."""

    problems: list[Problem] = field(default_factory=list)
    grids: dict[str, Grid] = field(default_factory=dict)  # modality -> grid, where the header is sound
    volume_ml: float | None = None  # of the lesion; None: unlabelled, or a mask cannot be read
    digests: dict[str, Path] = field(default_factory=dict)  # of image voxels -> file


def look(case: Case) -> Findings:
    """Headers of all files of a case, and the voxels of its masks."""
    findings = Findings()
    for modality, image in case.images.items():
        try:
            grid = read_grid(image)
            _refuse_truncated(image)
            findings.grids[modality] = grid
        except DataError as error:
            findings.problems.append(problem_of(error))
    expected = findings.grids.get(case.label_modality or next(iter(case.images)))
    masks = [mask for file in case.lesions if (mask := _look_at_mask(file, case, expected, findings)) is not None]
    if case.brain is not None:
        try:
            _hold_against(case.brain, read_grid(case.brain), expected, case)
        except DataError as error:
            findings.problems.append(problem_of(error))
    if masks and len(masks) == len(case.lesions) and expected is not None:
        _look_at_lesion(np.logical_or.reduce(masks).astype(np.uint8), case, expected, findings)
    if len(case.lesions) > 1:
        names = ", ".join(file.path.name for file in case.lesions)
        findings.problems.append(Problem(f"case {case.case_id}: {names}", "mask files united into one lesion", "note"))
    return findings


def look_deep(case: Case, findings: Findings) -> None:
    """The voxels of those images of a case whose headers are sound; adds to its findings."""
    for modality in findings.grids:
        image = case.images[modality]
        try:
            voxels, _ = read_voxels(image)
        except DataError as error:
            findings.problems.append(problem_of(error))
            continue
        if float(voxels.min()) == float(voxels.max()):
            message = f"a constant image: every voxel is {float(voxels.flat[0]):g}"
            findings.problems.append(Problem(str(image), message, "error"))
        else:
            findings.digests[hashlib.blake2b(voxels.tobytes(), digest_size=16).hexdigest()] = image


def problem_of(error: DataError) -> Problem:
    """A raised error as one line of a report."""
    return Problem(error.where, f"{error.found}; expected {error.expected}; {error.remedy}", "error")


def _look_at_lesion(lesion: NDArray[np.uint8], case: Case, grid: Grid, findings: Findings) -> None:
    """Its volume, held against what a brain can lose and against the field of view."""
    findings.volume_ml = int(np.count_nonzero(lesion)) * grid.voxel_volume_mm3 / 1000
    share = float(np.mean(lesion != 0))
    try:
        check_lesion_volume(lesion, grid, case.reference_image, case.lesions)
    except DataError as error:
        findings.problems.append(problem_of(error))
    else:
        if share > LARGEST_SHARE:
            message = f"the lesion is {share:.0%} of the volume of its image, more than {LARGEST_SHARE:.0%}: "
            message += "an inverted mask? Correct it, or leave the case out with data.exclude"
            findings.problems.append(Problem(str(case.lesions[0].path), message, "error"))


def _look_at_mask(file: LesionFile, case: Case, expected: Grid | None, findings: Findings) -> NDArray[np.uint8] | None:
    """The mask as 0/1, or None when it cannot be used."""
    try:
        _hold_against(file.path, read_grid(file.path), expected, case)
        voxels, grid = read_voxels(file.path)
        mask = binarize(voxels, file, grid.voxel_volume_mm3)
    except DataError as error:
        findings.problems.append(problem_of(error))
        return None
    highest = float(voxels.max())
    if file.values is None and highest not in (0.0, 1.0) and np.isin(voxels, (0.0, highest)).all():
        # Values in between are warned about where the rule is applied.
        rule = f"values 0 and {highest:g}; voxels above {file.above * highest:g} count as lesion"
        findings.problems.append(Problem(str(file.path), rule, "warning"))
    if not mask.any():
        findings.problems.append(Problem(str(file.path), "an empty mask: kept, as one without lesion", "note"))
    return mask


def _hold_against(file: Path, grid: Grid, expected: Grid | None, case: Case) -> None:
    if expected is not None and not grid.matches(expected):
        raise DataError(
            file,
            found=grid.describe(),
            expected=f"the grid of {case.reference_image}: {expected.describe()}",
            remedy="resample the mask onto its image, or leave the case out with data.exclude",
        )


def _refuse_truncated(path: Path) -> None:
    """Compare the number of bytes with the header's claim, without unpacking.

    A gzip file ends with its unpacked length; only where that does not fit (cut off, or written in several parts) the
    file is unpacked to count.

    Raises:
        DataError: there are fewer bytes than voxels.
    """
    image: Any = nib.load(path)
    proxy = image.dataobj
    needed = int(proxy.offset) + int(np.prod(proxy.shape)) * proxy.dtype.itemsize
    if not path.name.endswith(".gz"):
        there = path.stat().st_size
    else:
        with path.open("rb") as handle:
            handle.seek(-4, 2)
            length = int.from_bytes(handle.read(), "little")
        there = needed if length == needed % 2**32 else _unpacked_bytes(path)
    if there < needed:
        raise DataError(
            path,
            found=f"{there} bytes",
            expected=f"{needed} bytes, as the header says",
            remedy="the file is truncated or damaged: copy or download it again",
        )


def _unpacked_bytes(path: Path) -> int:
    total = 0
    try:
        with gzip.open(path) as handle:
            while block := handle.read(1 << 20):
                total += len(block)
    except (EOFError, OSError, zlib.error):
        return total  # what could be unpacked before the damage
    return total
