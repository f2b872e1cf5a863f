"""ISLES 2022 (Hernandez Petzsche et al., Scientific Data 2022): DWI, ADC, FLAIR. Knows names, opens no image.

DWI, ADC and mask share a grid; FLAIR has its own, and no mask is annotated on it.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Sequence
from pathlib import Path

from strokelab.contract import Case
from strokelab.data.readers._tables import Row, find_table, whole_number
from strokelab.data.readers._tree import (
    Lead,
    Problems,
    Release,
    any_stem,
    build_cases,
    lesion_files,
    nifti_files,
    one,
    pick_modalities,
)
from strokelab.errors import ConfigError, DataWarning
from strokelab.nifti import stem

log = logging.getLogger(__name__)
MODALITIES = ("DWI", "ADC", "FLAIR")

RELEASE = Release(
    title="ISLES 2022",
    layout="[rawdata/]sub-strokecase0001/ses-0001/[dwi/]sub-strokecase0001_ses-0001_dwi.nii.gz and derivatives/.../"
    "sub-strokecase0001_ses-0001_msk.nii.gz",
    counts={250: "training"},
    one_grid=False,
)

_NAME = re.compile(r"(?P<id>(?P<subject>sub-[a-z0-9]+)(_ses-[a-z0-9]+)?)_(?P<kind>dwi|adc|flair|msk)", re.IGNORECASE)


def looks_like(root: Path) -> bool:
    """Whether file names below ``root`` are those of ISLES 2022."""
    return any_stem(root, r"sub-strokecase\d+(_ses-[a-z0-9]+)?_(dwi|adc|flair|msk)")


def read(
    root: Path,
    *,
    modalities: Sequence[str] | None = None,
    centers: str | Path | None = None,
    include_unlabelled: bool = False,
    above: float = 0.5,
    values: Sequence[int] | None = None,
    exclude: Sequence[str] = (),
    problems: Problems | None = None,
) -> list[Case]:
    """The cases of ISLES 2022, in the Zenodo or the challenge layout.

    Args:
        root: the folder that holds images and ``derivatives``.
        modalities: some of DWI, ADC, FLAIR; None: all three.
        centers: the table of centres, relative to ``root``; None: ``center_ids.xlsx`` or ``.csv`` in or beside the
            root when it lies there. Without it the site is unknown.
        include_unlabelled: keep cases that have no mask instead of refusing them.
        above: share of a mask's maximum above which a voxel is lesion.
        values: label values that mean lesion, for masks that hold several; None: the share-of-maximum rule.
        exclude: case or subject ids to leave out.
        problems: collects what is wrong instead of raising it.

    Raises:
        DataError: a case lacks a modality or its mask.
        ConfigError: ``modalities`` has neither DWI nor ADC, on whose grid the mask lies.
    """
    chosen = pick_modalities(modalities, MODALITIES)
    label_modality = next((name for name in ("DWI", "ADC") if name in chosen), None)
    if label_modality is None:
        raise ConfigError(
            "data.options.modalities",
            found=str(list(chosen)),
            expected="DWI or ADC among them: the masks lie on their grid, FLAIR has another",
            remedy="read DWI as well, and choose FLAIR alone in the preparation's modalities",
        )
    traces: dict[str, dict[str, list[Path]]] = {}
    subjects: dict[str, str] = {}
    for file in nifti_files(root):
        if match := _NAME.fullmatch(stem(file)):
            traces.setdefault(match["id"], {}).setdefault(match["kind"].lower(), []).append(file)
            subjects[match["id"]] = match["subject"]
        else:
            log.debug("not a file of ISLES 2022: %s", file)
    sites = _sites(root, centers)

    def lead(case_id: str, files: dict[str, list[Path]]) -> Lead:
        subject = subjects[case_id]

        def build() -> Case:
            around = [file for kind in files.values() for file in kind]
            images = {
                name: one(
                    files.get(name.lower(), []), case=case_id, pattern=f"{case_id}_{name.lower()}.nii.gz", around=around
                )
                for name in chosen
            }
            masks = files.get("msk", [])
            if masks or not include_unlabelled:
                one(
                    masks,
                    case=case_id,
                    pattern=f"derivatives/.../{case_id}_msk.nii.gz",
                    around=around,
                    remedy=""
                    if masks
                    else "copy the mask, or keep such cases with data.options.include_unlabelled=true",
                )
            return Case(
                case_id=case_id,
                subject_id=subject,
                dataset="isles2022",
                site=sites.get(whole_number(subject)),
                images=images,
                lesions=lesion_files(masks, case_id, above, values),
                label_modality=label_modality,
            )

        return Lead(case_id, subject, build)

    leads = [lead(case_id, files) for case_id, files in traces.items()]
    return build_cases(leads, root=root, exclude=exclude, problems=problems)


def _sites(root: Path, centers: str | Path | None) -> dict[int | None, str]:
    """Number of a case -> its centre, from the table whose columns are recognised by their names and contents."""
    table = find_table(
        centers, root=root, folders=(root, root.parent), pattern=r"center_ids\.(csv|xlsx)", lost="sites stay unknown"
    )
    if table is None:
        return {}
    center = next((name for name in table.columns if re.search(r"cent(er|re)|site|hospital", name)), None)
    others = [name for name in table.columns if name and name != center]
    case = next((name for name in others if any("case" in str(row.get(name, "")).lower() for row in table.rows)), None)
    case = case or next((name for name in others if re.search(r"case|subject|sub|id|name|file", name)), None)
    if center is None or case is None:
        warnings.warn(
            f"{table.path}: the columns {[name for name in table.columns if name]} tell no cases and centres; "
            "sites stay unknown",
            DataWarning,
            stacklevel=3,
        )
        return {}

    def number_of(row: Row) -> str | None:
        number = whole_number(row.get(case, ""))
        return None if number is None else str(number)

    rows = table.by(number_of)
    return {int(number): _center(str(row[center])) for number, row in rows.items() if center in row}


def _center(written: str) -> str:
    return f"center-{written}" if re.match(r"[0-9]", written) else written
