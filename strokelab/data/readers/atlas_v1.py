"""ATLAS v1.2 (Liew et al., Scientific Data 2018), INDI and ICPSR layouts. Knows names and tables, opens no image.

Several mask files per scan are one lesion map; two visits of a subject are two cases of one subject.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from strokelab.contract import Case
from strokelab.data.readers._names import is_mask
from strokelab.data.readers._tables import Row, find_table, whole_number
from strokelab.data.readers._tree import (
    Lead,
    Problems,
    Release,
    any_stem,
    build_cases,
    check_choice,
    lesion_files,
    nifti_files,
    one,
)
from strokelab.errors import DataError, DataWarning
from strokelab.nifti import stem

log = logging.getLogger(__name__)
Space = Literal["standard", "native"]

RELEASE = Release(
    title="ATLAS v1.2",
    layout="Site1/031806/t01/031806_t1w_deface_stx.nii.gz or c0001/c0001s0004t01/c0001s0004t01_t1w_stx.nii.gz",
    counts={229: "standard space, INDI R1.1", 239: "standard space, ICPSR R1.2", 304: "native space, ICPSR R1.2"},
)

# Place and 3 T scanner of each INDI site (Yu et al. 2022, table of the nine sites).
SITES = {
    "Site1": ("Tianjin Medical University General Hospital", "GE 750 Discovery"),
    "Site2": ("University of Tuebingen", "GE Signa Excite"),
    "Site3": ("Sunnaas Rehabilitation Hospital, Nesodden", "Siemens Trio"),
    "Site4": ("NORMENT and K. G. Jebsen Centre, Oslo", "Siemens Trio"),
    "Site5": ("Department of Psychology, Oslo", "Philips Achieva"),
    "Site6": ("Child Mind Institute, New York", "Siemens Trio"),
    "Site7": ("Nathan Kline Institute, Orangeburg", "Siemens Trio"),
    "Site8": ("University of Texas Medical Branch, Galveston", "GE 750 Discovery"),
    "Site9": ("University of Michigan, Ann Arbor", "Siemens Trio"),
}

_ICPSR = r"c\d+s\d+t\d+"
_PATTERNS: dict[Space, tuple[re.Pattern[str], re.Pattern[str]]] = {
    "standard": (
        re.compile(rf"(?P<id>\d+|{_ICPSR})_t1w(_deface)?_stx", re.IGNORECASE),
        re.compile(rf"(?P<id>\d+|{_ICPSR})_LesionSmooth(_(?P<number>\d+))?_stx", re.IGNORECASE),
    ),
    "native": (
        re.compile(rf"(?P<id>{_ICPSR})(_t1w)?(_deface)?", re.IGNORECASE),
        re.compile(rf"(?P<id>{_ICPSR})_LesionSmooth(_(?P<number>\d+))?", re.IGNORECASE),
    ),
}


def looks_like(root: Path) -> bool:
    """Whether file names below ``root`` are those of ATLAS v1.2."""
    return any_stem(root, rf"(\d+|{_ICPSR})_(t1w(_deface)?_stx|LesionSmooth.*)")


def read(
    root: Path,
    *,
    space: Space = "standard",
    metadata: str | Path | None = None,
    include_unlabelled: bool = False,
    above: float = 0.5,
    values: Sequence[int] | None = None,
    exclude: Sequence[str] = (),
    problems: Problems | None = None,
) -> list[Case]:
    """The scans of ATLAS v1.2 as cases with the one modality ``T1w``.

    Sites are ``Site1`` ... ``Site9`` in the INDI layout and cohort codes (``c0001`` ...) in the ICPSR layout; the two
    namings have nothing to do with each other.

    Args:
        root: any folder above the scans; depth does not matter.
        space: ``"standard"`` (MNI-152, both releases) or ``"native"`` (ICPSR).
        metadata: the csv or xlsx table, relative to ``root``; None: used when one lies in ``root``.
        include_unlabelled: keep scans that have no mask instead of refusing them.
        above: share of a mask's maximum above which a voxel is lesion.
        values: label values that mean lesion, for masks that hold several; None: the share-of-maximum rule.
        exclude: case or subject ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a scan lacks its image or its masks, or two scans share an id.
    """
    check_choice("space", space, Space)
    files = nifti_files(root)
    scans = _group(files, space)
    elsewhere: Space = "native" if space == "standard" else "standard"
    if not scans and _group(files, elsewhere):
        raise DataError(
            root,
            found=f"only scans in {elsewhere} space",
            expected=f"scans in {space} space",
            remedy=f"set data.options.space={elsewhere}",
        )
    rows = _rows_by_scan(root, metadata)

    def lead(folder: Path, name: str, images: list[Path], masks: list[Path]) -> Lead:
        subject, visit = _subject_and_visit(name, folder)
        case_id = name if name != subject and name.startswith(subject) else f"{subject}_{visit}"
        row = rows.get(f"{subject}_{visit}") or rows.get(subject, {})
        site = _site(name, folder, root) or _site_of_row(row)
        place, scanner = SITES.get(site or "", ("", ""))
        known = {"place": place, "scanner": scanner} if scanner else {}

        def build() -> Case:
            around = [*images, *masks]
            where = f"in {folder}"
            image = one(images, case=case_id, pattern=f"{_image_name(name, space)} {where}", around=around)
            if not masks and not include_unlabelled:
                one(
                    masks,
                    case=case_id,
                    pattern=f"{_mask_name(name, space)} {where}",
                    around=around,
                    remedy="copy the mask, or keep scans without one with data.options.include_unlabelled=true",
                )
            return Case(
                case_id=case_id,
                subject_id=subject,
                dataset="atlas_v1",
                site=site,
                images={"T1w": image},
                lesions=lesion_files(masks, case_id, above, values),
                label_modality="T1w",
                meta={**known, **row, "visit": visit},
            )

        return Lead(case_id, subject, build)

    leads = [lead(folder, name, images, masks) for (folder, name), (images, masks) in scans.items()]
    cases = build_cases(leads, root=root, exclude=exclude, problems=problems)
    log.info("ATLAS v1.2: %d scans (%s)", len(cases), RELEASE.counts.get(len(cases), "no published number"))
    return cases


def _group(files: Sequence[Path], space: Space) -> dict[tuple[Path, str], tuple[list[Path], list[Path]]]:
    """(folder, id) -> its images and its masks, primary mask first."""
    image_pattern, mask_pattern = _PATTERNS[space]
    numbered: dict[tuple[Path, str], list[tuple[int, Path]]] = {}
    scans: dict[tuple[Path, str], tuple[list[Path], list[Path]]] = {}
    for file in files:
        if match := mask_pattern.fullmatch(stem(file)):
            key = (file.parent, match["id"])
            numbered.setdefault(key, []).append((int(match["number"] or 0), file))
            scans.setdefault(key, ([], []))
        elif match := image_pattern.fullmatch(stem(file)):
            scans.setdefault((file.parent, match["id"]), ([], []))[0].append(file)
        else:
            log.debug("not a file of ATLAS v1.2 in %s space: %s", space, file)
    _warn_of_masks(files)
    for key, masks in numbered.items():
        scans[key][1].extend(file for _, file in sorted(masks))
    return scans


def _warn_of_masks(files: Sequence[Path]) -> None:
    """Masks whose names are those of no release look like lesions that are not there."""
    known = [mask for _, mask in _PATTERNS.values()]
    unread = [file for file in files if is_mask(file) and not any(name.fullmatch(stem(file)) for name in known)]
    if unread:
        warnings.warn(
            f"{len(unread)} masks whose names are not those of ATLAS v1.2 were left out: "
            f"{', '.join(map(str, unread[:3]))}{' ...' if unread[3:] else ''}",
            DataWarning,
            stacklevel=2,
        )


def _subject_and_visit(name: str, folder: Path) -> tuple[str, str]:
    """Subject id and visit: ``c0001s0004t01`` holds both, INDI names the visit by a folder."""
    if match := re.fullmatch(r"(c\d+s\d+)(t\d+)", name, re.IGNORECASE):
        return match[1], match[2].lower()
    visit = next((part.lower() for part in reversed(folder.parts) if re.fullmatch(r"t\d+", part, re.IGNORECASE)), "t01")
    return name.zfill(6), visit


def _site(name: str, folder: Path, root: Path) -> str | None:
    if match := re.match(r"c\d+", name, re.IGNORECASE):
        return match[0].lower()
    parts = [*reversed(folder.relative_to(root).parts), root.name]
    found = (re.fullmatch(r"site[ _-]?0*(\d+)", part, re.IGNORECASE) for part in parts)
    return next((f"Site{match[1]}" for match in found if match), None)


def _site_of_row(row: Row) -> str | None:
    number = whole_number(row.get("indi site id", ""))
    return None if number is None else f"Site{number}"


def _rows_by_scan(root: Path, metadata: str | Path | None) -> dict[str, Row]:
    """``<subject>_<visit>``, and ``<subject>`` alone, -> metadata row."""
    table = find_table(
        metadata, root=root, folders=(root,), pattern=r".*meta-?_?data.*", lost="scans stay without their metadata"
    )
    return {} if table is None else table.by(_scan_of_row, "scan")


def _scan_of_row(row: Row) -> str | None:
    icpsr = re.match(r"(c\d+s\d+)(t\d+)?", str(row.get("subject id", "")), re.IGNORECASE)
    number = whole_number(row.get("indi subject id", ""))
    if icpsr:
        subject, visit = icpsr[1].lower(), icpsr[2]
    elif number is not None:
        # The session cell may carry a stray character in front.
        session = re.search(r"t\d+", str(row.get("session", "")), re.IGNORECASE)
        subject, visit = f"{number:06d}", session[0] if session else None
    else:
        return None
    return f"{subject}_{visit.lower()}" if visit else subject


def _image_name(name: str, space: Space) -> str:
    return f"{name}_t1w[_deface]_stx.nii[.gz]" if space == "standard" else f"{name}.nii[.gz]"


def _mask_name(name: str, space: Space) -> str:
    return f"{name}_LesionSmooth*_stx.nii[.gz]" if space == "standard" else f"{name}_LesionSmooth*.nii[.gz]"
