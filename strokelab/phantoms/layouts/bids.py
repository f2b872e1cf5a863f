"""A BIDS dataset with raw scans, ``participants.tsv`` and masks in ``derivatives/lesions``; whole heads in MNI space.

Traps: two sessions of every third subject (the later one with a faded stroke), a second run of a T1w (option ``runs``),
no ``participants.tsv`` (option ``participants``), a subject without an age, ids with leading zeros, a derivative of
other masks than lesions' beside the lesions.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from strokelab.files import write_json, write_text
from strokelab.phantoms.anatomy import mni_grid
from strokelab.phantoms.contrasts import Contrast, site_contrasts
from strokelab.phantoms.layouts._isles2015 import acquire
from strokelab.phantoms.lesion_law import ISLES_2022, Stroke, draw_strokes
from strokelab.phantoms.native import largest, pose
from strokelab.phantoms.settings import Settings, Truth
from strokelab.phantoms.strokes import describe, fresh_strokes
from strokelab.phantoms.volumes import write_mask, write_nifti
from strokelab.seeding import stream

OPTIONS = ("participants", "runs", "sessions")
REAL_COUNTS = (12, 10, 8)
IMAGES = {"T1": ("anat", "T1w"), "FLAIR": ("anat", "FLAIR"), "DWI": ("dwi", "trace"), "ADC": ("dwi", "ADC")}
_SCALE = {"ADC": 1.0}  # measured in 10^-6 mm^2/s; the others are grey values
_STANDING = pose((0.0, 0.0, 0.0), (0.0, -18.0, 12.0))  # where the MNI frame has its brain
_VERSION = "1.10.0"


@dataclass(frozen=True)
class Subject:
    """One subject with one or two sessions."""

    number: int
    site: int
    strokes: tuple[Stroke, ...]
    contrasts: Mapping[str, Contrast]
    sessions: tuple[str, ...]  # "" where the dataset has none
    two_runs: bool
    seed: int
    spacing: float

    @property
    def name(self) -> str:
        """With its leading zeros."""
        return f"sub-{self.number:03d}"


def plan(settings: Settings) -> list[Subject]:
    """One per subject; with ``sessions=two`` every third is scanned twice."""
    sessions = settings.option("sessions", "two", ("two", "none"))
    runs = settings.option("runs", "one", ("one", "two"))
    settings.option("participants", "yes", ("yes", "no"))
    subjects: list[Subject] = []
    for site, count in enumerate(settings.counts(REAL_COUNTS), start=1):
        contrasts = site_contrasts(stream(settings.seed, "protocol", f"site {site}"))
        for strokes in draw_strokes(settings.seed, f"site {site}", count, ISLES_2022):
            number = len(subjects) + 1
            twice = ("acute", "followup") if number % 3 == 0 else ("acute",)
            subjects.append(
                Subject(
                    number=number,
                    site=site,
                    strokes=strokes,
                    contrasts={name: contrasts[name] for name in IMAGES},
                    sessions=twice if sessions == "two" else ("",),
                    two_runs=runs == "two" and number == 1,
                    seed=settings.seed,
                    spacing=settings.spacing,
                )
            )
    return subjects


def write(subject: Subject, root: Path) -> list[Truth]:
    """Write one subject's sessions, and the mask of each."""
    head = fresh_strokes(subject.seed, subject.name, subject.spacing, subject.strokes)
    grid = mni_grid(subject.spacing)
    wanted = round(sum(stroke.volume_mm3 for stroke in subject.strokes) / grid.voxel_volume_mm3)
    mask = largest(head.core, max(wanted, 1), head.anatomy.brain)
    draw = stream(subject.seed, "subject", subject.name)
    facts: Truth = {"age_years": int(draw.integers(38, 91)), "sex": "FM"[int(draw.integers(2))]}
    rows: list[Truth] = []
    for session in subject.sessions:
        seen = replace(head, age=1.0, core=head.core * np.float32(0.6)) if session == "followup" else head
        where = root / subject.name / (f"ses-{session}" if session else "")
        stem = f"{subject.name}_ses-{session}" if session else subject.name
        for contrast, (folder, suffix) in IMAGES.items():
            for run in ("_run-1", "_run-2") if subject.two_runs and contrast == "T1" else ("",):
                noise = stream(subject.seed, "scan", subject.name, session, contrast, run)
                image = acquire(contrast, subject.contrasts[contrast], seen, target=grid, lie=_STANDING, draw=noise)
                image = image * np.float32(_SCALE.get(contrast, 600.0))
                write_nifti(where / folder / f"{stem}{run}_{suffix}.nii.gz", image, grid)
                write_json(where / folder / f"{stem}{run}_{suffix}.json", _sidecar(contrast, subject.site))
        below = root / "derivatives" / "lesions" / where.relative_to(root)
        write_mask(below / "anat" / f"{stem}_label-lesion_mask.nii.gz", mask, grid)
        brain = root / "derivatives" / "brains" / where.relative_to(root) / "anat"
        write_mask(brain / f"{stem}_desc-brain_mask.nii.gz", head.anatomy.brain, grid)
        row: Truth = {"case": stem, "subject": subject.name, "site": f"hospital{subject.site}"}
        rows.append(row | describe(subject.strokes, mask, grid.voxel_volume_mm3) | facts)
    return rows


def finish(settings: Settings, rows: Sequence[Truth], root: Path) -> None:
    """Write the descriptions and the table of subjects."""
    raw = {"Name": "Phantom strokes", "BIDSVersion": _VERSION, "DatasetType": "raw", "License": "CC0"}
    write_json(root / "dataset_description.json", {**raw, "Authors": ["the developers of strokelab"]})
    write_text(root / "README", "Artificial heads with artificial strokes, made from the MNI152 template.\n" * 3)
    for name in ("lesions", "brains"):
        made = {"Name": f"Masks of {name}", "BIDSVersion": _VERSION, "DatasetType": "derivative"}
        write_json(
            root / "derivatives" / name / "dataset_description.json", made | {"GeneratedBy": [{"Name": "Phantom"}]}
        )
    write_text(root / ".bidsignore", "phantom*\n")
    if settings.option("participants", "yes", ("yes", "no")) == "no":
        return
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(("participant_id", "age", "sex", "group", "site"))
    for place, row in enumerate({str(row["subject"]): row for row in rows}.values()):
        age = "n/a" if place == 1 else row["age_years"]
        table.writerow((row["subject"], age, row["sex"], ("drug", "placebo")[place % 2], row["site"]))
    write_text(root / "participants.tsv", text.getvalue())
    about = {"age": {"Description": "Age", "Units": "year"}, "group": {"Description": "Arm of the trial"}}
    write_json(root / "participants.json", about | {"site": {"Description": "Hospital of the scan"}})


def _sidecar(contrast: str, site: int) -> dict[str, Any]:
    """A few parameters of the acquisition, in the units of BIDS."""
    times = {"T1": (2.0, 0.003), "FLAIR": (9.0, 0.12), "DWI": (6.0, 0.08), "ADC": (6.0, 0.08)}
    repetition, echo = times[contrast]
    maker = ("Siemens", "Philips", "GE")[site % 3]
    return {"Manufacturer": maker, "MagneticFieldStrength": 3, "RepetitionTime": repetition, "EchoTime": echo}
