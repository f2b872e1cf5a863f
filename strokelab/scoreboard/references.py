"""References: whose masks they are, where the subject was scanned, the image they were annotated on. Opens no image."""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import replace
from pathlib import Path

from strokelab.contract import Case, LesionFile
from strokelab.data import read_cases
from strokelab.data.readers._tree import nifti_files
from strokelab.errors import DataError
from strokelab.phantoms.naming import is_phantom
from strokelab.scoreboard.finding import Found, Named, find_masks
from strokelab.scoreboard.names import case_ids, read_name, read_names
from strokelab.scoreboard.score import Reference
from strokelab.scoring.cases import scanner_of


def references_in(
    where: str | Path, *, graded: bool = False, images: Path | None = None
) -> tuple[Found, list[Reference]]:
    """The references of a file, a folder or a pattern; subjects are the ``sub`` of BIDS names.

    The site is the cohort where a name is of ATLAS 2.0's kind (``sub-r001s001``: ``R001``), else unknown.

    Args:
        where: the place.
        graded: the references are probability maps that will get a threshold.
        images: a folder with the scans, for the ground under overlays.

    Raises:
        DataError: there is no mask, or ``images`` is no folder.
    """
    found = find_masks(where, graded=graded)
    names = [one.name for one in found.files]
    scans = _images_by_name(found.files, images) if images is not None else [()] * len(names)
    dataset = Path(where).resolve().name
    return found, [
        described(Reference(case, (LesionFile(one.path),), dataset=dataset, images=ground), one.name.subject)
        for case, one, ground in zip(case_ids(names), found.files, scans, strict=True)
    ]


def references_of(dataset: str, root: Path, *, values: Sequence[int] | None = None) -> tuple[Found, list[Reference]]:
    """The labelled cases of a dataset strokelab can read, with its masks, subjects, sites, scanners and images.

    Args:
        dataset: its name.
        root: its folder.
        values: label values that mean lesion; None: the dataset's own rule.

    Raises:
        DataError: the dataset cannot be read there, or nothing in it is labelled.
        ConfigError: there is no such dataset.
    """
    options = {} if values is None else {"values": values}
    cases = [case for case in read_cases(dataset, root, **options) if case.labelled]
    if not cases:
        raise DataError(root, found="no labelled case", expected="masks", remedy="point to the part with masks")
    named = tuple(Named(case.lesions[0].path, read_name(Path(f"{case.case_id}.nii.gz"))) for case in cases)
    references = [reference_of_case(case, dataset) for case in cases]
    if is_phantom(root):  # what is known of the real sites' scanners is not true of synthetic images
        references = [replace(reference, scanner=None) for reference in references]
    return Found(str(root), named), references


def reference_of_case(case: Case, dataset: str) -> Reference:
    """A labelled case as a reference: its masks by the rule of its dataset, its images as ground for overlays."""
    images = (case.reference_image, *(path for path in case.images.values() if path != case.reference_image))
    return Reference(
        case=case.case_id,
        files=case.lesions,
        subject=case.subject_id,
        site=case.site,
        scanner=scanner_of(case) or None,
        dataset=dataset,
        scan=case.reference_image,
        images=images,
    )


def described(reference: Reference, named: str) -> Reference:
    """With the subject and the ATLAS cohort that a name tells, where nothing else did."""
    subject = reference.subject or (named if named.startswith("sub-") else reference.case)
    atlas = re.fullmatch(r"sub-(r\d+)s\d+", subject, re.IGNORECASE)
    return replace(reference, subject=subject, site=reference.site or (atlas[1].upper() if atlas else None))


def _images_by_name(masks: Sequence[Named], folder: Path) -> list[tuple[Path, ...]]:
    """For each mask the scans in a folder that can be of its case: BIDS names that fit, or ``<case>_0000`` etc."""
    own = {one.path.resolve() for one in masks}
    paths = [path for path in nifti_files(folder) if path.resolve() not in own]
    scans = [Named(path, name) for path, name in zip(paths, read_names(paths, folder), strict=True)]
    scans = [one for one in scans if one.name.kind == "image"] or [one for one in scans if one.name.kind == "mask"]
    subjects = {one.name.subject.casefold() for one in masks}
    of_subject: dict[str, list[Named]] = {}
    for scan in scans:
        of_subject.setdefault(_owner(scan.name.subject.casefold(), subjects), []).append(scan)
    return [
        tuple(scan.path for scan in of_subject.get(mask.name.subject.casefold(), ()) if _same_scan(mask, scan))
        for mask in masks
    ]


def _owner(words: str, subjects: Container[str]) -> str:
    """The longest beginning of a name, cut between words, that is a subject's; "" when none is."""
    while words and words not in subjects:
        words = re.sub(r"(^|[_.-]+)[^_.-]*$", "", words)
    return words


def _same_scan(mask: Named, scan: Named) -> bool:
    return all(scan.name.entities.get(key, value) == value for key, value in mask.name.entities.items())
