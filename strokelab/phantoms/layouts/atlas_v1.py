"""ATLAS v1.2: chronic strokes, T1-weighted, in the trees of INDI and of ICPSR, with their traps.

Traps: one mask file per lesion, subjects scanned twice (``t02``), an image with a fourth axis of length 1, a macOS
``._`` twin, masks of 0/255, a table whose ids lost their leading zero.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelab.files import write_text
from strokelab.phantoms.layouts._atlas import law_of, write_template
from strokelab.phantoms.lesion_law import Stroke, draw_strokes, with_a_second
from strokelab.phantoms.scanners import Scanner, acquire_t1, site_scanner
from strokelab.phantoms.settings import Settings, Truth
from strokelab.phantoms.strokes import describe, old_strokes, struck_head, union
from strokelab.phantoms.volumes import write_apple_double, write_mask, write_nifti
from strokelab.seeding import stream

OPTIONS = ("form", "smallest_mm3")
REAL_COUNTS = (55, 34, 27, 12, 27, 14, 11, 35, 14)  # scans of Site1..Site9
_RETEST_SITE = 8
_FIRST_ID, _LAST_ID = 31768, 31987
_TABLE = "ATLAS_Meta-Data_Release_1.1_standard_mni.csv"
_COLUMNS = (
    "INDI Site ID",
    "INDI Subject ID",
    "Session",
    "# Strokes LH Cortical",
    "# Strokes LH subcortical",
    "# Strokes RH Cortical",
    "# Strokes RH subcortical",
    "Other Location",
    "Stroke type",
    "Primary Stroke Location",
    "Primary Stroke Location Hemisphere",
    "Vascular territory",
    "PVH",
    "DWMH",
    "Notes",
)


@dataclass(frozen=True)
class Subject:
    """One subject, scanned once or twice."""

    name: str
    site: int  # 1..9
    visits: tuple[str, ...]
    scanner: Scanner
    strokes: tuple[Stroke, ...]
    seed: int
    spacing: float
    form: str
    trailing_axis: bool
    apple_double: bool
    lesion_value: int


def plan(settings: Settings) -> list[Subject]:
    """One per subject; the traps lie on the first subjects, so that the smallest cohort has them."""
    form = settings.option("form", "indi", ("indi", "icpsr"))
    counts = settings.counts(REAL_COUNTS)
    retest_site = _RETEST_SITE if len(counts) >= _RETEST_SITE else len(counts)
    twice = [min(9, max(1, n // 4)) if i + 1 == retest_site and n > 1 else 0 for i, n in enumerate(counts)]
    scanned = [(i + 1, k < twice[i]) for i, n in enumerate(counts) for k in range(n - twice[i])]
    names = _names(settings, [site for site, _ in scanned], form)
    law = law_of(settings)
    strokes = [s for i, n in enumerate(counts) for s in draw_strokes(settings.seed, f"Site{i + 1}", n - twice[i], law)]
    subjects = []
    for index, ((site, again), name, planned) in enumerate(zip(scanned, names, with_a_second(strokes), strict=True)):
        subjects.append(
            Subject(
                name=name,
                site=site,
                visits=("t01", "t02") if again else ("t01",),
                scanner=site_scanner(settings.seed, f"Site{site}", site - 1),
                strokes=planned,
                seed=settings.seed,
                spacing=settings.spacing,
                form=form,
                trailing_axis=index % 40 == 0,
                apple_double=index % 25 == 0,
                lesion_value=255 if index % 6 == 1 else 1,
            )
        )
    return subjects


def write(subject: Subject, root: Path) -> list[Truth]:
    """Write one subject's visits: the same head and lesions, scanned anew."""
    anatomy, lesions = struck_head(
        subject.seed, f"site{subject.site}/{subject.name}", subject.spacing, subject.strokes, chronic=True
    )
    tissue = old_strokes(anatomy, lesions, stream(subject.seed, "cavity", subject.name))
    rows = []
    for visit in subject.visits:
        folder, name, image_name = _place(subject, visit, root)
        image = acquire_t1(subject.scanner, tissue, anatomy.grid, stream(subject.seed, "scan", subject.name, visit))
        write_nifti(folder / image_name, image, anatomy.grid, trailing_axis=subject.trailing_axis)
        if subject.apple_double:
            write_apple_double(folder / image_name)
        for index, lesion in enumerate(lesions):
            extra = f"_{index}" if index else ""
            path = folder / f"{name}_LesionSmooth{extra}_stx.nii.gz"
            write_mask(path, lesion.mask, anatomy.grid, lesion_value=subject.lesion_value)
            if subject.apple_double:
                write_apple_double(path)
        mask = union(lesions, anatomy.grid.shape)
        row: Truth = {"case": f"{subject.name}_{visit}" if subject.form == "indi" else name, "subject": subject.name}
        row |= {"site": f"Site{subject.site}" if subject.form == "indi" else subject.name[:5], "visit": visit}
        row |= describe(subject.strokes, mask, anatomy.grid.voxel_volume_mm3)
        row |= {f"scanner_{key}": value for key, value in subject.scanner.to_json().items()}
        rows.append(row)
    return rows


def finish(settings: Settings, rows: Sequence[Truth], root: Path) -> None:
    """Write the template and the table of the INDI release."""
    if settings.option("form", "indi", ("indi", "icpsr")) == "icpsr":
        return  # its tables are Excel files, which no reader needs
    write_template(root / "standard_mni152.nii.gz", settings.spacing)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    for index, row in enumerate(rows):
        table.writerow(_table_row(row, stray="_" if index == 0 else ""))
    write_text(root / _TABLE, text.getvalue())


def _table_row(row: Truth, stray: str) -> list[str | int]:
    places = str(row["places"]).split()
    left = row["side"] == "left"
    cortical, deep = places.count("cortical"), places.count("subcortical")
    other = [place for place in places if place in ("brainstem", "cerebellum")]
    return [
        str(row["site"]),
        int(str(row["subject"])),  # spreadsheets drop the leading zero
        f"{stray}{row['visit']}",
        cortical if left else 0,
        deep if left else 0,
        0 if left else cortical,
        0 if left else deep,
        " ".join(other),
        "Embolic",
        places[0],
        str(row["side"]).capitalize(),
        "MCA" if places[0] in ("cortical", "subcortical") else "Vertebrobasilar",
        1,
        1,
        "",
    ]


def _names(settings: Settings, sites: list[int], form: str) -> list[str]:
    """Ids in the order of the sites, with gaps."""
    draw = stream(settings.seed, "ids")
    if form == "icpsr":
        numbers = np.cumsum(1 + draw.integers(0, 3, len(sites))) + 1
        return [f"c{site:04d}s{number:04d}" for site, number in zip(sites, numbers, strict=True)]
    last = max(_LAST_ID, _FIRST_ID + len(sites) - 1)
    chosen = np.sort(draw.choice(np.arange(_FIRST_ID, last + 1), len(sites), replace=False))
    return [f"{number:06d}" for number in chosen]


def _place(subject: Subject, visit: str, root: Path) -> tuple[Path, str, str]:
    """Folder, stem and image name of a visit."""
    if subject.form == "indi":
        return (
            root / f"Site{subject.site}" / subject.name / visit,
            subject.name,
            f"{subject.name}_t1w_deface_stx.nii.gz",
        )
    name = f"{subject.name}{visit}"
    part = f"standard_part{1 if subject.site < 6 else 2}"
    return root / "standard_MNI" / part / subject.name[:5] / name, name, f"{name}_t1w_stx.nii.gz"
