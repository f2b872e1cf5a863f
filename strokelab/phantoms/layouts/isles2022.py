"""ISLES 2022: acute to sub-acute strokes in DWI, ADC and FLAIR, native and skull-stripped, in both published trees.

Traps: oblique axes towards left, anterior, superior; FLAIR on a grid of its own; ADC in three units; masks without a
stroke; a mask whose qform is unset; values below zero inside the brain; side-cars that are empty or absent.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from strokelab.files import write_json, write_text
from strokelab.grid import Grid
from strokelab.phantoms.anatomy import mni_grid
from strokelab.phantoms.contrasts import Contrast, site_contrasts
from strokelab.phantoms.fields import Volume
from strokelab.phantoms.layouts._isles2015 import acquire
from strokelab.phantoms.lesion_law import ISLES_2022, Stroke, draw_strokes
from strokelab.phantoms.native import Pose, largest, pose, scan_grid, see
from strokelab.phantoms.settings import Settings, Truth
from strokelab.phantoms.strokes import describe, fresh_strokes
from strokelab.phantoms.volumes import write_nifti, write_picture
from strokelab.seeding import stream

OPTIONS = ("form", "centers")
FORMS = ("zenodo", "challenge")
REAL_COUNTS = (198, 52)  # of the two centres
_REAL_EMPTY = (150, 151, 170)
_DWI_MM = ((2.0, 2.0, 2.0), (1.8, 1.8, 4.8), (1.15, 1.15, 4.8))
_DWI_SHARES = (0.78, 0.12, 0.10)
_FLAIR_MM = ((0.449, 0.449, 5.0), (0.9, 0.9, 6.0), (0.72, 0.72, 3.3))
_VIEW_MM = np.array([224.0, 224.0, 146.0])
_ADC_UNITS = (1.0, 1e-3, 1e-6)  # in 10^-6 mm^2/s, 10^-3 mm^2/s and mm^2/s
_ADC_SHARES = (76 / 250, 68 / 250, 106 / 250)


@dataclass(frozen=True)
class Subject:
    """One subject."""

    number: int
    centre: int
    strokes: tuple[Stroke, ...]
    contrasts: Mapping[str, Contrast]
    dwi_mm: tuple[float, float, float]
    flair_mm: tuple[float, float, float]
    adc_unit: float
    seed: int
    spacing: float
    form: str

    @property
    def name(self) -> str:
        """The subject's name in the release."""
        return f"sub-strokecase{self.number:04d}"


def plan(settings: Settings) -> list[Subject]:
    """One per subject; the first three have the three ADC units, one in the middle has no stroke."""
    form = settings.option("form", "zenodo", FORMS)
    settings.option("centers", "csv", ("csv", "none"))
    counts = settings.counts(REAL_COUNTS)
    total = sum(counts)
    empty = _REAL_EMPTY if total >= max(_REAL_EMPTY) else (total // 2 + 1,) if total > 1 else ()
    strokes = [s for i, n in enumerate(counts) for s in draw_strokes(settings.seed, f"centre {i}", n, ISLES_2022)]
    centres = [i for i, n in enumerate(counts) for _ in range(n)]
    # The centres' cases are mixed in the numbering.
    order = stream(settings.seed, "numbering").permutation(total)
    subjects = []
    for index, case in enumerate(order.tolist()):
        draw = stream(settings.seed, "protocol", index)
        unit = index if index < 3 else int(draw.choice(3, p=_ADC_SHARES))
        dwi = 0 if index == 0 else int(draw.choice(3, p=_DWI_SHARES))
        subjects.append(
            Subject(
                number=index + 1,
                centre=centres[case] + 1,
                strokes=() if index + 1 in empty else strokes[case],
                contrasts=site_contrasts(stream(settings.seed, "protocol", f"centre {centres[case]}")),
                dwi_mm=_coarse(_DWI_MM[dwi], settings.spacing),
                flair_mm=_fine(_FLAIR_MM[0 if index == 0 else int(draw.integers(3))], settings.spacing),
                adc_unit=_ADC_UNITS[unit],
                seed=settings.seed,
                spacing=settings.spacing,
                form=form,
            )
        )
    return subjects


def write(subject: Subject, root: Path) -> list[Truth]:
    """Write one subject's three images, their side-cars, the mask and its picture."""
    head = fresh_strokes(subject.seed, subject.name, subject.spacing, subject.strokes)
    source = mni_grid(subject.spacing)
    dwi_grid, flair_grid, lie, lie_later = _views(subject)
    brain = see(head.anatomy.brain.astype(np.float32), source, dwi_grid, lie) > 0.5
    wanted = round(sum(stroke.volume_mm3 for stroke in subject.strokes) / dwi_grid.voxel_volume_mm3)
    mask = largest(see(head.core, source, dwi_grid, lie), max(wanted, int(bool(subject.strokes))), brain)
    stem, folders = f"{subject.name}_ses-0001", _folders(subject, root)
    draw = stream(subject.seed, "scan", subject.name)
    dwi = acquire("DWI", subject.contrasts["DWI"], head, target=dwi_grid, lie=lie, draw=draw) * np.float32(540.0)
    adc = acquire("ADC", subject.contrasts["ADC"], head, target=dwi_grid, lie=lie, draw=draw)
    dwi, adc = _edge(dwi, brain, draw), _edge(adc, brain, draw) * subject.adc_unit
    write_nifti(folders["dwi"] / f"{stem}_dwi.nii.gz", dwi.astype(np.float64), dwi_grid, sform=1, qform=2)
    write_nifti(folders["dwi"] / f"{stem}_adc.nii.gz", adc.astype(np.float64), dwi_grid, sform=1, qform=2)
    flair = acquire("FLAIR", subject.contrasts["FLAIR"], head, target=flair_grid, lie=lie_later, draw=draw)
    inside = see(head.anatomy.brain.astype(np.float32), source, flair_grid, lie_later) > 0.5
    flair = np.where(inside, np.maximum(flair * np.float32(900.0), 1), 0).astype(np.float32)
    flair_name = "FLAIR" if subject.form == "zenodo" else "flair"
    write_nifti(folders["flair"] / f"{stem}_{flair_name}.nii.gz", flair, flair_grid, sform=1, qform=1)
    write_nifti(folders["mask"] / f"{stem}_msk.nii.gz", mask.astype(np.uint16), dwi_grid, sform=2, qform=0)
    middle = int(np.argmax(mask.sum((0, 1)))) if mask.any() else mask.shape[2] // 2
    write_picture(folders["mask"] / f"{stem}_snp.png", dwi[:, :, middle])
    _write_sidecars(subject, stem, folders, flair_name)
    row: Truth = {"case": stem, "subject": subject.name, "site": f"center-{subject.centre}"}
    row |= describe(subject.strokes, mask, dwi_grid.voxel_volume_mm3)
    return [
        row | {"age": round(head.age, 3), "adc_unit": subject.adc_unit, "spacing": "x".join(map(str, subject.dwi_mm))}
    ]


def finish(settings: Settings, rows: Sequence[Truth], root: Path) -> None:
    """Write the table of centres (the release has it as an Excel file)."""
    if settings.option("centers", "csv", ("csv", "none")) == "none":
        return
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("case_id", "center"))
    table.writerows((str(row["subject"]), str(row["site"])[-1]) for row in rows)
    write_text(root / "center_ids.csv", text.getvalue())


def _views(subject: Subject) -> tuple[Grid, Grid, Pose, Pose]:
    """DWI and FLAIR grids, and the head's pose in each: a little motion between the two."""
    draw = stream(subject.seed, "pose", subject.name)
    first = subject.number == 1  # as measured on the public sample case
    lean, turn = (12.0, 3.3) if first else (float(draw.uniform(-4, 20)), float(draw.normal(0, 3)))
    nod, tilt, shake = (float(v) for v in draw.normal(0.0, (4.0, 2.0, 3.0)))
    directions = Rotation.from_euler("xz", (lean, turn), degrees=True).as_matrix() @ np.diag([-1.0, 1.0, 1.0])
    x, y, z = (float(v) for v in draw.normal(0.0, (5.0, 15.0, 15.0)))
    dwi = scan_grid(_shape(subject.dwi_mm, _VIEW_MM), subject.dwi_mm, directions, (x, y, z))
    shift = draw.normal(0.0, 2.5, 3)
    flair_centre = (x + float(shift[0]), y + float(shift[1]), z + float(shift[2]))
    flair = scan_grid(
        _shape(subject.flair_mm, _VIEW_MM + np.array([6, 6, 0])), subject.flair_mm, directions, flair_centre
    )
    lie = pose((nod - lean, tilt, shake), (x, y, z))
    later = draw.normal(0.0, 0.5, 6)
    degrees = (nod - lean + float(later[0]), tilt + float(later[1]), shake + float(later[2]))
    return dwi, flair, lie, pose(degrees, (x + float(later[3]), y + float(later[4]), z + float(later[5])))


def _shape(spacing: tuple[float, float, float], extent: NDArray[np.float64]) -> tuple[int, int, int]:
    x, y, z = (max(1, round(float(size / step))) for size, step in zip(extent, spacing, strict=True))
    return x, y, z


def _coarse(spacing: tuple[float, float, float], least: float) -> tuple[float, float, float]:
    x, y, z = (max(step, least) for step in spacing)
    return x, y, z


def _fine(spacing: tuple[float, float, float], times: float) -> tuple[float, float, float]:
    x, y, z = spacing
    return round(x * times, 3), round(y * times, 3), max(z, times)


def _edge(image: Volume, brain: NDArray[np.bool_], draw: np.random.Generator) -> Volume:
    """0 outside the brain, never 0 inside, and a few voxels of interpolation's undershoot below 0."""
    under = brain & (draw.random(image.shape) < 3e-4)
    inside = np.where(under, -0.01 * np.abs(image), np.where(image == 0, 1e-3, image))
    return np.where(brain, inside, 0).astype(np.float32)


def _folders(subject: Subject, root: Path) -> dict[str, Path]:
    mask = root / "derivatives" / subject.name / "ses-0001"
    if subject.form == "challenge":
        raw = root / "rawdata" / subject.name / "ses-0001"
        return {"dwi": raw, "flair": raw, "mask": mask}
    session = root / subject.name / "ses-0001"
    return {"dwi": session / "dwi", "flair": session / "anat", "mask": mask}


def _write_sidecars(subject: Subject, stem: str, folders: Mapping[str, Path], flair_name: str) -> None:
    """Acquisition parameters of the scanner, which do not describe the file's grid; some are empty or absent."""
    makers = ("Philips Medical Systems", "SIEMENS")
    common: dict[str, Any] = {"Manufacturer": makers[subject.centre - 1], "MagneticFieldStrength": 3.0, "Rows": 256}
    dwi = {**common, "DiffusionBValue": 1000.0, "SliceThickness": subject.dwi_mm[2], "Columns": 256}
    flair = {**common, "InversionTime": 2850.0, "EchoTime": 140.0, "SliceThickness": 0.8 * subject.flair_mm[2]}
    write_json(folders["dwi"] / f"{stem}_dwi.json", {} if subject.number % 5 == 2 else dwi)
    write_json(folders["dwi"] / f"{stem}_adc.json", {} if subject.number % 5 == 2 else dwi)
    if subject.number % 7 != 3:
        write_json(folders["flair"] / f"{stem}_{flair_name}.json", flair)
