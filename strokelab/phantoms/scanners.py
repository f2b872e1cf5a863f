"""Scanners: how a site turns tissue into brightness. Knows curves, bias, noise and blur; knows no strokes, no files.

Every site has its own curve over the tissue coordinate, so that no linear rescaling makes two sites equal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from strokelab.grid import Grid
from strokelab.phantoms.fields import Volume, axes_of, smooth_field
from strokelab.phantoms.head import AIR, BONE, FAT, FLUID, GREY, WHITE
from strokelab.seeding import stream

_BLOCK = 9  # so many successive sites share the range of every property evenly (a Latin hypercube)
_BRIGHTEST_WHITE = 2.3


@dataclass(frozen=True)
class Scanner:
    """One site's T1-weighted scanner. Brightness is relative to white matter; lengths are mm at the head."""

    name: str
    fluid: float
    grey: float
    fluid_knee: float  # where a half-and-half voxel of fluid and grey lies between the two
    white_knee: float  # the same for grey and white
    fat: float
    bone: float
    gain: float  # white matter's value in the file
    offset: float  # added everywhere inside the head, in units of white matter
    coil: float  # standard deviation of the logarithm of the coil's profile, the same in all its scans
    bias: float  # the same of the field that changes from scan to scan
    noise: float  # Rician, standard deviation at 1 mm, in units of white matter
    blur: float  # full width at half maximum, mm
    slice_thickness: float  # mm
    slice_axis: int  # 0 sagittal, 1 coronal, 2 axial

    def to_json(self) -> dict[str, str | float | int]:
        """Plain data, for the truth table."""
        return asdict(self)


def site_scanner(seed: int, site: str, index: int) -> Scanner:
    """The scanner of the cohort's site number ``index`` (0, 1, ...)."""
    block, place = divmod(index, _BLOCK)
    ranks = stream(seed, "scanners", block).permuted(np.tile(np.arange(_BLOCK), (8, 1)), axis=1)[:, place]
    centred = 2 * ranks / (_BLOCK - 1) - 1
    # Sites are pushed apart, towards the ends of what is plausible.
    u = [float(v) for v in 0.5 + 0.5 * np.sign(centred) * np.abs(centred) ** 0.7]
    draw = stream(seed, "scanner", site)
    fluid = 0.08 + 0.32 * u[0]
    return Scanner(
        name=site,
        fluid=round(fluid, 4),
        grey=round(fluid + (1.0 - fluid) * (0.28 + 0.60 * u[1]), 4),
        fluid_knee=round(0.28 + 0.44 * u[6], 4),
        white_knee=round(0.35 + 0.30 * u[7], 4),
        fat=round(0.9 + 0.7 * u[2], 4),
        bone=round(0.06 + 0.12 * draw.random(), 4),
        gain=round(float(np.exp(draw.uniform(np.log(90), np.log(1500)))), 1),
        offset=round(0.08 * draw.random(), 4),
        coil=round(0.03 + 0.25 * u[3], 4),
        bias=round(0.03 + 0.05 * draw.random(), 4),
        noise=round(0.012 + 0.07 * u[4] ** 2, 4),
        blur=round(0.3 + 2.0 * u[5], 3),
        slice_thickness=round(float(draw.choice([1.0, 1.0, 1.2, 1.6])), 2),
        slice_axis=int(draw.integers(3)),
    )


def t1_curve(scanner: Scanner, tissue: NDArray[np.float32]) -> Volume:
    """Brightness without bias and noise, in units of white matter."""
    white_top = 1.0 + 0.35 * (1.0 - scanner.grey) * (_BRIGHTEST_WHITE - WHITE) / 0.3
    fluid, grey = scanner.fluid, scanner.grey
    curve = {
        AIR: 0.01,
        BONE: scanner.bone,
        -0.2: 0.85 * fluid,
        FLUID: fluid,
        0.5 * GREY: fluid + scanner.fluid_knee * (grey - fluid),
        GREY: grey,
        0.5 * (GREY + WHITE): grey + scanner.white_knee * (1.0 - grey),
        WHITE: 1.0,
        _BRIGHTEST_WHITE: white_top,
        FAT: scanner.fat,
    }
    marks, levels = list(curve), list(curve.values())
    return np.interp(tissue, marks, levels).astype(np.float32)


def acquire_t1(scanner: Scanner, tissue: Volume, grid: Grid, draw: np.random.Generator) -> NDArray[np.int16]:
    """A T1-weighted scan of a head's tissue coordinate (X, Y, Z), as the file's whole numbers."""
    signal = t1_curve(scanner, tissue)
    signal += np.float32(scanner.offset) * (tissue > AIR + 0.1)
    signal = degrade(signal, grid, blur=scanner.blur, thickness=scanner.slice_thickness, axis=scanner.slice_axis)
    axes = axes_of(grid)
    # A coil belongs to its site, whatever the cohort's seed.
    profile = np.float32(scanner.coil) * smooth_field(stream(0, "coil", scanner.name), axes, 70.0)
    signal *= np.exp(profile + np.float32(scanner.bias) * smooth_field(draw, axes, 90.0))
    signal = add_noise(signal, scanner.noise * grid.spacing[0] ** -0.5, draw)
    return np.asarray(np.clip(np.rint(signal * np.float32(scanner.gain)), 0, 32767), dtype=np.int16)


def degrade(signal: Volume, grid: Grid, *, blur: float, thickness: float = 0.0, axis: int = 2) -> Volume:
    """Blur by a point spread of ``blur`` mm (full width) and average over slices of ``thickness`` mm along ``axis``."""
    widths = [blur] * 3
    widths[axis] = float(np.hypot(blur, thickness))
    sigmas = [np.sqrt(max(w**2 - step**2 / 4, 0)) / 2.3548 / step for w, step in zip(widths, grid.spacing, strict=True)]
    return np.asarray(ndimage.gaussian_filter(signal, sigmas), dtype=np.float32)


def add_noise(signal: Volume, sd: float, draw: np.random.Generator) -> Volume:
    """Rician noise: the magnitude of the signal with Gaussian noise in both channels."""
    real = signal + np.float32(sd) * draw.standard_normal(signal.shape, dtype=np.float32)
    return np.asarray(np.hypot(real, np.float32(sd) * draw.standard_normal(signal.shape, dtype=np.float32)))
