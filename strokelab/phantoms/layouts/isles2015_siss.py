"""ISLES 2015 SISS: sub-acute strokes in T1, T2, FLAIR, DWI; skull-stripped, one grid, not in MNI.

Traps: 153 slices in some cases and 154 in others (scaled with the spacing), one folder per image, numbers that belong
to files, a label prefix that changes from case to case.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from strokelab.phantoms.anatomy import mni_grid
from strokelab.phantoms.contrasts import site_contrasts
from strokelab.phantoms.layouts._isles2015 import Subject, acquire, file_numbers, strip, view_of, write_vsd
from strokelab.phantoms.lesion_law import draw_strokes
from strokelab.phantoms.native import largest, see
from strokelab.phantoms.settings import Settings, Truth
from strokelab.phantoms.strokes import describe, fresh_strokes
from strokelab.phantoms.volumes import write_nifti
from strokelab.seeding import stream

OPTIONS = ("form",)
REAL_COUNTS = (28,)
MODALITIES = {"DWI": "DWI", "FLAIR": "Flair", "T1": "T1", "T2": "T2"}  # contrast -> token in the name
_LABEL_NAMES = ("VSD.Brain.XX.O.OT", "VSD.Brain_3more.XX.XX.OT")


def plan(settings: Settings) -> list[Subject]:
    """One per subject; SISS is one site, so ``cases_per_site`` of the first site counts."""
    form = settings.option("form", "vsd", ("vsd", "flat"))
    (count,) = settings.counts(REAL_COUNTS)
    contrasts = site_contrasts(stream(settings.seed, "protocol", "SISS-1"))
    width, height = round(230 / settings.spacing), round(153 / settings.spacing)
    strokes = draw_strokes(settings.seed, "SISS-1", count)
    return [
        Subject(
            number=index + 1,
            strokes=planned,
            shape=(width, width, height + index % 2),
            contrasts={name: contrasts[name] for name in MODALITIES},
            seed=settings.seed,
            spacing=settings.spacing,
            form=form,
        )
        for index, planned in enumerate(strokes)
    ]


def write(subject: Subject, root: Path) -> list[Truth]:
    """Write one subject's four images and label."""
    head = fresh_strokes(subject.seed, subject.name, subject.spacing, subject.strokes)
    source = mni_grid(subject.spacing)
    target, lie = view_of(subject, subject.spacing)
    brain = see(head.anatomy.brain.astype(np.float32), source, target, lie) > 0.5
    core = see(head.core, source, target, lie)
    mask = largest(core, round(sum(s.volume_mm3 for s in subject.strokes) / target.voxel_volume_mm3), brain)
    numbers = file_numbers(subject.seed, subject, len(MODALITIES) + 1)
    for (name, token), number in zip(MODALITIES.items(), numbers, strict=False):
        draw = stream(subject.seed, "scan", subject.name, name)
        image = acquire(name, subject.contrasts[name], head, target=target, lie=lie, draw=draw)
        voxels = strip(image, brain, scale=float(draw.uniform(250, 900)))
        if subject.form == "flat":
            write_nifti(root / "training" / str(subject.number) / f"{token}.nii", voxels, target)
        else:
            write_vsd(root / str(subject.number), f"VSD.Brain.XX.O.MR_{token}", number, voxels, target)
    if subject.form == "flat":
        write_nifti(root / "training" / str(subject.number) / "OT.nii", mask.astype(np.uint8), target)
    else:
        label = _LABEL_NAMES[subject.number % 2]
        write_vsd(root / str(subject.number), label, numbers[-1], mask.astype(np.uint8), target)
    row: Truth = {"case": f"siss-{subject.number}", "subject": f"siss-{subject.number}", "site": "SISS-1"}
    return [row | describe(subject.strokes, mask, target.voxel_volume_mm3) | {"age": round(head.age, 3)}]


def finish(settings: Settings, rows: Sequence[Truth], root: Path) -> None:
    """Nothing belongs to the cohort as a whole."""
