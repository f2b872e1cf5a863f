"""What SISS and SPES share: names with file numbers, one folder per image, one skull-stripped grid per case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.grid import Grid
from strokelab.phantoms.contrasts import Contrast, Stricken, signal
from strokelab.phantoms.fields import Volume, smooth_field
from strokelab.phantoms.lesion_law import Stroke
from strokelab.phantoms.native import Pose, pose, scan_grid, see
from strokelab.phantoms.scanners import add_noise, degrade
from strokelab.phantoms.volumes import write_nifti
from strokelab.seeding import stream

MEASURED = ("ADC", "CBF", "CBV", "TTP", "Tmax")  # measured quantities, which noise may drive below 0


@dataclass(frozen=True)
class Subject:
    """One subject."""

    number: int
    strokes: tuple[Stroke, ...]
    shape: tuple[int, int, int]
    contrasts: Mapping[str, Contrast]
    seed: int
    spacing: float
    form: str

    @property
    def name(self) -> str:
        """The name in random streams."""
        return f"person {self.number}"


def view_of(subject: Subject, spacing: float) -> tuple[Grid, Pose]:
    """The grid of a subject's images (axes towards left, posterior, superior; not in MNI) and the head's pose in it."""
    draw = stream(subject.seed, "pose", subject.name)
    nod, tilt, shake = (float(v) for v in draw.normal(0.0, (6.0, 3.0, 4.0)))
    x, y, z = (float(v) for v in draw.normal(0.0, (4.0, 12.0, 20.0)))
    grid = scan_grid(subject.shape, (spacing, spacing, spacing), np.diag([-1.0, -1.0, 1.0]), (x, y, z))
    jitter = draw.normal(0.0, 3.0, 3)
    return grid, pose((nod, tilt, shake), (x + float(jitter[0]), y + float(jitter[1]), z + float(jitter[2])))


def acquire(
    modality: str, contrast: Contrast, head: Stricken, *, target: Grid, lie: Pose, draw: np.random.Generator
) -> Volume:
    """A noisy image (X, Y, Z) on the scanner's grid, in the modality's own units, skull and all else included."""
    source = head.anatomy.grid
    image = signal(contrast, head, modality)
    measured = modality in MEASURED
    image = degrade(image, source, blur=2.6 if measured and modality != "ADC" else 1.0)
    if not measured:
        image *= np.exp(np.float32(0.08) * smooth_field(draw, head.anatomy.axes, 90.0))
    seen = see(image, source, target, lie)
    if not measured:
        return add_noise(seen, contrast.noise, draw)
    grain = draw.standard_normal(seen.shape, dtype=np.float32)
    if modality != "ADC":  # perfusion maps are computed from smoothed series: their noise has a grain
        grain = ndimage.gaussian_filter(grain, 0.8) * np.float32(4.6)  # of unit size again
    return np.asarray(seen + np.float32(contrast.noise) * grain, dtype=np.float32)


def strip(image: Volume, brain: NDArray[np.bool_], scale: float) -> NDArray[np.int16]:
    """Whole numbers inside the brain (at least 1), exactly 0 outside."""
    numbers = np.clip(np.rint(image * np.float32(scale)), 1, 32767)
    return np.where(brain, numbers, 0).astype(np.int16)


def write_vsd(folder: Path, name: str, number: int, voxels: NDArray[Any], grid: Grid) -> None:
    """Write one image alone in a folder of its own name: ``<name>.<number>/<name>.<number>.nii``."""
    full = f"{name}.{number}"
    write_nifti(folder / full / f"{full}.nii", voxels, grid)


def file_numbers(seed: int, subject: Subject, count: int) -> list[int]:
    """The numbers of a subject's files: of the file, not of the subject, and with gaps."""
    gaps = stream(seed, "file numbers", subject.name).integers(1, 3, count)
    return [int(n) for n in 70_000 + 23 * subject.number + np.cumsum(gaps)]
