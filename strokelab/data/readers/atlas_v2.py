"""ATLAS v2.0 (Liew et al., Scientific Data 2022), INDI and bidsified forms. Knows names and tables, opens no image.

``label-L`` in a mask's name means *lesion*, in every file; it is not the left side.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from strokelab.contract import Case
from strokelab.data.readers._tables import Row, find_table
from strokelab.data.readers._tree import (
    Lead,
    Problems,
    Release,
    Subset,
    any_stem,
    build_cases,
    check_choice,
    in_subset,
    lesion_files,
    needs_label,
    nifti_files,
    one,
    subset_of,
)
from strokelab.errors import DataError, DataWarning
from strokelab.nifti import stem

log = logging.getLogger(__name__)

RELEASE = Release(
    title="ATLAS v2.0",
    layout="Training/R001/sub-r001s001/ses-1/anat/sub-r001s001_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz",
    counts={655: "Training", 300: "Testing", 955: "Training and Testing"},
    errata={"sub-r009s003": "reported as mislabelled (npnl/ATLAS, issue 21)"},
)

_NAME = r"(?P<subject>sub-(?P<cohort>r\d+)s\d+)(_(?P<session>ses-[a-z0-9]+))?(_.*)?"
_IMAGE = re.compile(rf"{_NAME}_T1w", re.IGNORECASE)
_MASK = re.compile(rf"{_NAME}_label-L(_.*)?_mask", re.IGNORECASE)


def looks_like(root: Path) -> bool:
    """Whether file names below ``root`` are those of ATLAS v2.0."""
    return any_stem(root, r"sub-r\d+s\d+_.*(T1w|_label-L_.*mask)")


def read(
    root: Path,
    *,
    subset: Subset = "training",
    metadata: str | Path | None = None,
    without_v1: bool = False,
    above: float = 0.5,
    values: Sequence[int] | None = None,
    exclude: Sequence[str] = (),
    problems: Problems | None = None,
) -> list[Case]:
    """The scans of ATLAS v2.0 as cases with the one modality ``T1w``; the site is the cohort (``R001`` ...).

    Args:
        root: any folder above the scans: the INDI tree, the organisers' bidsified tree, or a part of either.
        subset: ``"training"`` (with masks), ``"testing"`` (without) or ``"all"``.
        metadata: the csv or xlsx table, relative to ``root``; None: used when one lies in or beside ``root``.
        without_v1: leave out scans that were already in ATLAS v1.2 (needs the metadata's column ``ATLAS 1.2``).
        above: share of a mask's maximum above which a voxel is lesion.
        values: label values that mean lesion, for masks that hold several; None: the share-of-maximum rule.
        exclude: case or subject ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a scan lacks its image or, in training, its mask; two scans share an id; ``without_v1`` is asked
            for and the metadata do not tell.
    """
    check_choice("subset", subset, Subset)
    scans: dict[tuple[Path, str], tuple[re.Match[str], list[Path], list[Path]]] = {}
    for file in nifti_files(root):
        name = stem(file)
        mask = _MASK.fullmatch(name)
        match = mask or _IMAGE.fullmatch(name)
        if match is None:
            log.debug("not a file of ATLAS v2.0: %s", file)
            continue
        case_id = "_".join(part for part in (match["subject"], match["session"]) if part)
        _, images, masks = scans.setdefault((file.parent, case_id), (match, [], []))
        (masks if mask else images).append(file)
    rows = _rows_by_scan(root, metadata)

    def about(match: re.Match[str]) -> Row:
        subject, session = match["subject"].lower(), re.search(r"\d+", match["session"] or "")
        return rows.get(f"{subject} {session[0] if session else ''}") or rows.get(subject, {})

    if without_v1 and not any("atlas 1.2" in row for row in rows.values()):
        raise DataError(
            root,
            found="no metadata table with the column 'ATLAS 1.2'",
            expected="the metadata of ATLAS v2.0, which say what was in v1.2",
            remedy="put the table into the root folder, name it with the option metadata, or drop without_v1",
        )

    def lead(folder: Path, case_id: str, match: re.Match[str], images: list[Path], masks: list[Path]) -> Lead:
        part = subset_of((images or masks)[0], root)
        subject = match["subject"]

        def build() -> Case:
            around = [*images, *masks]
            image = one(images, case=case_id, pattern=f"{case_id}_*_T1w.nii[.gz] in {folder}", around=around)
            if masks or needs_label(part, subset):
                one(
                    masks,
                    case=case_id,
                    pattern=f"{case_id}_*_label-L_*_mask.nii[.gz] in {folder}",
                    around=around,
                    remedy=""
                    if masks
                    else "copy the mask; scans without one belong under Testing (data.options.subset=testing)",
                )
            return Case(
                case_id=case_id,
                subject_id=subject,
                dataset="atlas_v2",
                site=match["cohort"].upper(),
                images={"T1w": image},
                lesions=lesion_files(masks, case_id, above, values),
                label_modality="T1w",
                meta={**about(match), "subset": part or ("training" if masks else "testing")},
            )

        return Lead(case_id, subject, build)

    leads = [
        lead(folder, case_id, match, images, masks)
        for (folder, case_id), (match, images, masks) in scans.items()
        if in_subset(subset_of((images or masks)[0], root), subset, bool(masks))
        and not (without_v1 and _was_in_v1(about(match)))
    ]
    if scans and not leads and subset != "all":
        raise DataError(
            root,
            found=f"{len(scans)} scans, none of them for {subset}",
            expected=f"scans for {subset}" + (", with masks" if subset == "training" else ""),
            remedy=f"set data.options.subset={'testing' if subset == 'training' else 'training'}, or point to the "
            "whole release; scans without masks can be predicted, not trained on",
        )
    return build_cases(leads, root=root, exclude=exclude, problems=problems)


def _rows_by_scan(root: Path, metadata: str | Path | None) -> dict[str, Row]:
    """``sub-r001s001 1`` (subject, session), and ``sub-r001s001`` for any other session -> metadata row."""
    table = find_table(
        metadata,
        root=root,
        folders=(root, root.parent) if subset_of(root / "-", root) else (root,),
        pattern=r".*ATLAS.*meta-?_?data.*",
        lost="scans stay without their metadata, the overlap with ATLAS v1.2 stays unknown",
    )
    if table is None:
        return {}
    rows = table.by(_scan_of_row, "scan")
    for name, row in [*rows.items()]:
        rows.setdefault(name.split()[0], row)
    if table.rows and not rows:
        warnings.warn(f"{root}: the metadata table has no column 'Subject ID'; left out", DataWarning, stacklevel=3)
    return rows


def _scan_of_row(row: Row) -> str | None:
    """Subject and session of a row."""
    subject = re.search(r"r\d+s\d+", str(row.get("subject id", "")), re.IGNORECASE)
    session = re.search(r"\d+", str(row.get("session", "")))
    return f"sub-{subject[0].lower()} {session[0] if session else ''}" if subject else None


def _was_in_v1(row: Row) -> bool:
    value = row.get("atlas 1.2", "")
    return value != 0 and str(value).strip().lower() not in ("", "no", "n", "false", "0", "none", "n/a", "na")
