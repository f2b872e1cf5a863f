"""ATLAS v2.0: chronic strokes, T1-weighted, in the organisers' tree or as they turn it into one BIDS derivative.

Traps: a ``Testing`` half without masks, subject numbers with gaps that Training and Testing share, ``label-L`` in every
mask whatever the side, one macOS ``._`` twin, a column name with a trailing blank.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strokelab.files import write_json, write_text
from strokelab.phantoms.layouts._atlas import law_of, write_template
from strokelab.phantoms.lesion_law import Stroke, draw_strokes, with_a_second
from strokelab.phantoms.scanners import Scanner, acquire_t1, site_scanner
from strokelab.phantoms.settings import Settings, Truth
from strokelab.phantoms.strokes import describe, old_strokes, struck_head, union
from strokelab.phantoms.volumes import write_apple_double, write_mask, write_nifti
from strokelab.seeding import stream

OPTIONS = ("form", "testing", "smallest_mm3")
FORMS = ("release", "bidsified")
_SPACE = "space-MNI152NLin2009aSym"
_TABLE = "20220425_ATLAS_2.0_MetaData.csv"
REAL_COUNTS = {  # training scans of each cohort
    "R001": 38, "R002": 12, "R003": 15, "R004": 37, "R005": 18, "R009": 111, "R010": 26, "R011": 29, "R014": 5,
    "R015": 12, "R017": 8, "R018": 6, "R019": 7, "R023": 8, "R024": 11, "R027": 16, "R028": 13, "R029": 5, "R031": 37,
    "R034": 24, "R035": 8, "R038": 49, "R039": 2, "R040": 45, "R042": 18, "R044": 2, "R045": 2, "R046": 7, "R047": 25,
    "R048": 23, "R049": 12, "R050": 7, "R052": 17,
}  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """One subject, with or without a published mask."""

    name: str  # "sub-r001s003"
    cohort: str  # "R001"
    testing: bool
    scanner: Scanner
    strokes: tuple[Stroke, ...]
    seed: int
    spacing: float
    form: str
    apple_double: bool


def plan(settings: Settings) -> list[Subject]:
    """One per subject; Testing subjects come from the first cohorts, two by default (option ``testing``)."""
    form = settings.option("form", "release", FORMS)
    counts = dict(zip(REAL_COUNTS, settings.counts(tuple(REAL_COUNTS.values())), strict=False))
    testing = int(settings.number("testing", 2, 0, 10_000))
    hidden = [sum(1 for k in range(testing) if k % len(counts) == i) for i in range(len(counts))]
    sizes = {cohort: n + extra for (cohort, n), extra in zip(counts.items(), hidden, strict=True)}
    law = law_of(settings)
    strokes = with_a_second([s for cohort, n in sizes.items() for s in draw_strokes(settings.seed, cohort, n, law)])
    subjects: list[Subject] = []
    for index, ((cohort, labelled), extra) in enumerate(zip(counts.items(), hidden, strict=True)):
        draw = stream(settings.seed, "ids", cohort)
        numbers = np.cumsum(1 + (draw.random(labelled + extra) < 0.3))
        tests = set(draw.choice(labelled + extra, extra, replace=False).tolist())
        for k, number in enumerate(numbers):
            subjects.append(
                Subject(
                    name=f"sub-r{cohort[1:]}s{number:03d}",
                    cohort=cohort,
                    testing=k in tests,
                    scanner=site_scanner(settings.seed, cohort, index),
                    strokes=strokes[len(subjects)],
                    seed=settings.seed,
                    spacing=settings.spacing,
                    form=form,
                    apple_double=not subjects,
                )
            )
    return subjects


def write(subject: Subject, root: Path) -> list[Truth]:
    """Write one subject's image and, when published, the one mask that unites all lesions."""
    anatomy, lesions = struck_head(subject.seed, subject.name, subject.spacing, subject.strokes, chronic=True)
    tissue = old_strokes(anatomy, lesions, stream(subject.seed, "cavity", subject.name))
    image = acquire_t1(subject.scanner, tissue, anatomy.grid, stream(subject.seed, "scan", subject.name))
    folder = _folder(subject, root) / subject.name / "ses-1" / "anat"
    path = folder / f"{subject.name}_ses-1_{_SPACE}_T1w.nii.gz"
    write_nifti(path, image, anatomy.grid)
    if subject.apple_double:
        write_apple_double(path)
    mask = union(lesions, anatomy.grid.shape)
    if not subject.testing:
        write_mask(folder / f"{subject.name}_ses-1_{_SPACE}_label-L_desc-T1lesion_mask.nii.gz", mask, anatomy.grid)
    row: Truth = {"case": f"{subject.name}_ses-1", "subject": subject.name, "site": subject.cohort}
    row |= {"labelled": int(not subject.testing)} | describe(subject.strokes, mask, anatomy.grid.voxel_volume_mm3)
    return [row | {f"scanner_{key}": value for key, value in subject.scanner.to_json().items()}]


def finish(settings: Settings, rows: Sequence[Truth], root: Path) -> None:
    """Write the template, the descriptions and the table of subjects."""
    write_template(root / "MNI152NLin2009aSym.nii.gz", settings.spacing)
    description = {"Name": "ATLAS phantom", "BIDSVersion": "1.6.0", "DatasetType": "derivative"}
    folders = [root / half / "derivatives" / "ATLAS" for half in ("train", "test")]
    if settings.option("form", "release", FORMS) == "release":
        folders = sorted({path.parent for path in root.glob("T*ing/R*/sub-*")})
    for folder in folders:
        if folder.is_dir():
            write_json(folder / "dataset_description.json", {**description, "GeneratedBy": [{"Name": "phantom"}]})
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(_COLUMNS)
    table.writerows(_table_row(row) for row in rows if row["labelled"])
    write_text(root / _TABLE, text.getvalue())


_COLUMNS = (
    "Subject ID",
    "Session",
    "# Lesions LH Cortical and White Matter",
    "# Lesions LH Subcortical",
    "# Lesions RH Cortical and White Matter",
    "# Lesions RH Subcortical",
    "# Lesions Other Location ",
    "Primary Stroke Hemisphere",
    "Primary Stroke Location",
    "Lesion Volume",
    "Scanner Strength",
    "Scanner Brand",
    "Image Resolution",
    "ATLAS 1.2",
    "INDI Subject ID",
    "Days Post Stroke",
    "Chronicity",
)


def _table_row(row: Truth) -> list[str | int | float]:
    places = str(row["places"]).split()
    left = row["side"] == "left"
    cortical, deep = places.count("cortical"), places.count("subcortical")
    number = int(str(row["subject"])[-3:])
    old = number % 3 == 0  # some of these subjects were in v1.2 as well
    return [
        str(row["subject"]),
        "ses-1",
        cortical if left else 0,
        deep if left else 0,
        0 if left else cortical,
        0 if left else deep,
        len(places) - cortical - deep,
        str(row["side"]).capitalize(),
        places[0],
        row["lesion_mm3"],
        3,
        ("SIEMENS", "Siemens Trio", "GE 750 Discovery", "Philips")[int(str(row["site"])[1:]) % 4],
        "1x1x1",
        "Yes" if old else "No",
        31768 + number if old else "",
        180 + 13 * number,
        "Chronic",
    ]


def _folder(subject: Subject, root: Path) -> Path:
    if subject.form == "release":
        return root / ("Testing" if subject.testing else "Training") / subject.cohort
    return root / ("test" if subject.testing else "train") / "derivatives" / "ATLAS"
