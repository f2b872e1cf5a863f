"""One case held against the rules for files: headers, grids, masks, voxels. Knows nothing of other cases."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from strokelab.contract import Case, LesionFile
from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.nifti import binarize, check_lesion_volume, onto, read_grid, read_union, read_voxels, verify

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
            findings.grids[modality] = read_grid(image)
        except DataError as error:
            findings.problems.append(problem_of(error))
    expected = findings.grids.get(case.label_modality or next(iter(case.images)))
    masks = [mask for file in case.lesions if (mask := _look_at_mask(file, case, expected, findings)) is not None]
    if case.brain is not None:
        try:
            read_union((LesionFile(case.brain),), expected or read_grid(case.brain), case.reference_image)
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


def look_whole(case: Case, findings: Findings) -> None:
    """Length and checksum of those images of a case whose headers are sound; adds to its findings."""
    for modality in findings.grids:
        try:
            verify(case.images[modality])
        except DataError as error:
            findings.problems.append(problem_of(error))


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
        voxels, grid = read_voxels(file.path)
        mask = binarize(voxels, file, grid.voxel_volume_mm3)
        mask = mask if expected is None else onto(mask, grid, expected, file=file.path, image=case.reference_image)
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
