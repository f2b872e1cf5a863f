"""ISLES 2015 SPES: acute strokes of large vessels, with perfusion maps; skull-stripped, one grid, not in MNI.

Traps: two label forms side by side (two files, or the values 1 and 2 of one), 71 and 72 slices, tokens that share
their first letters, perfusion maps with outliers below zero, folders called ``Nr1``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from strokelab.grid import Grid
from strokelab.phantoms.anatomy import mni_grid
from strokelab.phantoms.contrasts import site_contrasts
from strokelab.phantoms.fields import Volume
from strokelab.phantoms.layouts._isles2015 import MEASURED, Subject, acquire, file_numbers, strip, view_of, write_vsd
from strokelab.phantoms.lesion_law import LARGE_VESSEL, draw_strokes
from strokelab.phantoms.native import largest, see
from strokelab.phantoms.settings import Settings, Truth
from strokelab.phantoms.strokes import describe, fresh_strokes
from strokelab.seeding import stream

OPTIONS = ("labels", "folders")
REAL_COUNTS = (30,)
MODALITIES = ("CBF", "CBV", "DWI", "T1c", "T2", "TTP", "Tmax")
LABELS = ("both", "files", "values")
_SPACING_MM = 2.0


def plan(settings: Settings) -> list[Subject]:
    """One per subject; SPES is one site.

    ``labels``: ``files`` writes penumbra and core apart, ``values`` one file, ``both`` alternates from case to case.
    """
    labels = settings.option("labels", "both", LABELS)
    settings.option("folders", "plain", ("plain", "Nr"))
    (count,) = settings.counts(REAL_COUNTS)
    contrasts = site_contrasts(stream(settings.seed, "protocol", "SPES-1"))
    scale = _SPACING_MM / max(_SPACING_MM, settings.spacing)
    shape = round(96 * scale), round(110 * scale), round(71 * scale)
    return [
        Subject(
            number=index + 1,
            strokes=planned,
            shape=(shape[0], shape[1], shape[2] + index % 2),
            contrasts={name: contrasts[name] for name in MODALITIES},
            seed=settings.seed,
            spacing=max(_SPACING_MM, settings.spacing),
            form=(labels if labels != "both" else LABELS[1 + index % 2])
            + ("/Nr" if settings.options.get("folders") == "Nr" else "/"),
        )
        for index, planned in enumerate(draw_strokes(settings.seed, "SPES-1", count, LARGE_VESSEL))
    ]


def write(subject: Subject, root: Path) -> list[Truth]:
    """Write one subject's seven images and label(s). The penumbra label is the perfusion lesion without the core."""
    times = float(stream(subject.seed, "mismatch", subject.name).uniform(1.8, 5.0))
    head = fresh_strokes(subject.seed, subject.name, subject.spacing, subject.strokes, halo_times=times)
    source = mni_grid(subject.spacing)
    target, lie = view_of(subject, subject.spacing)
    brain = see(head.anatomy.brain.astype(np.float32), source, target, lie) > 0.5
    core_share, halo_share = see(head.core, source, target, lie), see(head.halo, source, target, lie)
    core = largest(core_share, round(sum(s.volume_mm3 for s in subject.strokes) / target.voxel_volume_mm3), brain)
    penumbra = (halo_share > 0.5) & brain & ~core
    labels, prefix = subject.form.split("/")
    folder = root / f"{prefix}{subject.number}"
    numbers = file_numbers(subject.seed, subject, len(MODALITIES) + 2)
    for name, number in zip(MODALITIES, numbers, strict=False):
        draw = stream(subject.seed, "scan", subject.name, name)
        image = acquire(name, subject.contrasts[name], head, target=target, lie=lie, draw=draw)
        voxels = _with_outliers(image, brain, draw) if name in MEASURED else strip(image, brain, scale=600.0)
        write_vsd(folder, f"VSD.Brain.XX.O.MR_{name}", number, voxels, target)
    _write_labels(folder, labels, numbers[-2:], target, penumbra=penumbra, core=core)
    row: Truth = {"case": f"spes-{subject.number}", "subject": f"spes-{subject.number}", "site": "SPES-1"}
    row |= describe(subject.strokes, penumbra, target.voxel_volume_mm3)
    volume = round(int(core.sum()) * target.voxel_volume_mm3, 3)
    return [row | {"target": "penumbra", "core_voxels": int(core.sum()), "core_mm3": volume, "labels": labels}]


def finish(settings: Settings, rows: Sequence[Truth], root: Path) -> None:
    """Nothing belongs to the cohort as a whole."""


def _write_labels(
    folder: Path,
    labels: str,
    numbers: list[int],
    grid: Grid,
    *,
    penumbra: NDArray[np.bool_],
    core: NDArray[np.bool_],
) -> None:
    if labels == "values":
        write_vsd(folder, "VSD.Brain.XX.O.OT", numbers[0], np.where(core, 2, penumbra).astype(np.uint8), grid)
        return
    write_vsd(folder, "VSD.Brain_2more.XX.O.penumbralabel", numbers[0], penumbra.astype(np.uint8), grid)
    write_vsd(folder, "VSD.Brain_3more.XX.O.corelabel", numbers[1], core.astype(np.uint8), grid)


def _with_outliers(image: Volume, brain: NDArray[np.bool_], draw: np.random.Generator) -> Volume:
    """A perfusion map: 0 outside the brain, a few voxels inside far off on either side."""
    wild = brain & (draw.random(image.shape) < 0.002)
    thrown = image * draw.choice(np.array([-3.0, 6.0], dtype=np.float32), image.shape)
    return np.where(brain, np.where(wild, thrown, image), 0).astype(np.float32)
