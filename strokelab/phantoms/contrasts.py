"""Brightness per modality, and what a fresh stroke does to it. Knows curves and signs; knows no grids and no files.

Levels are relative to one, except where the modality is measured in units: ADC in 10^-6 mm^2/s, CBF in ml/100 g/min,
CBV in ml/100 g, TTP and Tmax in s.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from strokelab.phantoms.anatomy import Anatomy
from strokelab.phantoms.fields import Volume, smooth_field
from strokelab.phantoms.head import FLUID, GREY, WHITE


@dataclass(frozen=True)
class Contrast:
    """Brightness of the tissues, and changes of it: a factor or an addition per share of a voxel that is affected."""

    fluid: float
    grey: float
    white: float
    damage: float = 0.0  # added where small vessels have damaged the white matter
    vessel: float = 0.0  # added in large vessels
    core_times: float = 1.0
    core_plus: float = 0.0
    halo_times: float = 1.0  # the whole perfusion lesion, core included
    halo_plus: float = 0.0
    noise: float = 0.03  # Gaussian, in the modality's own units


CONTRASTS = {
    "T1": Contrast(0.25, 0.62, 1.0, damage=-0.12, core_plus=-0.20),
    "T1c": Contrast(0.25, 0.60, 0.92, damage=-0.10, vessel=0.7, core_plus=-0.14),
    "T2": Contrast(1.0, 0.56, 0.40, damage=0.18, vessel=-0.25, core_plus=0.26),
    "FLAIR": Contrast(0.12, 0.62, 0.50, damage=0.34, core_plus=0.36),
    "DWI": Contrast(0.10, 0.50, 0.43, damage=0.06, core_plus=0.62, noise=0.035),
    "ADC": Contrast(3150.0, 850.0, 740.0, damage=260.0, core_times=0.52, noise=70.0),
    "CBF": Contrast(2.0, 58.0, 24.0, damage=-5.0, vessel=55.0, core_times=0.40, halo_times=0.50, noise=3.5),
    "CBV": Contrast(0.3, 4.2, 2.0, vessel=5.0, core_times=0.45, halo_times=0.92, noise=0.25),
    "TTP": Contrast(9.5, 8.0, 9.0, vessel=-1.5, core_plus=2.0, halo_plus=6.5, noise=0.75),
    "Tmax": Contrast(2.2, 1.4, 2.2, vessel=-0.8, core_plus=2.0, halo_plus=6.5, noise=0.55),
}


def site_contrasts(draw: np.random.Generator) -> dict[str, Contrast]:
    """The contrasts of one site's protocols: levels within an eighth of the table's, noise within a factor of two."""
    site = {}
    for name, table in CONTRASTS.items():
        grey, white = table.grey * (1 + draw.uniform(-0.12, 0.12)), table.white * (1 + draw.uniform(-0.12, 0.12))
        measured = name in ("ADC", "CBF", "CBV", "TTP", "Tmax")
        noise = table.noise * float(np.exp(draw.uniform(-0.5, 0.5)))
        site[name] = replace(table, noise=noise) if measured else replace(table, grey=grey, white=white, noise=noise)
    return site


@dataclass(frozen=True)
class Stricken:
    """A head with fresh strokes.

    Anatomy, and per voxel (X, Y, Z) the share of core, perfusion lesion, vessel, and glare
    (what air near the skull base adds to DWI).
    """

    anatomy: Anatomy
    core: Volume
    halo: Volume
    vessels: Volume
    glare: Volume
    age: float  # 0 = minutes old: bright on DWI alone; 1 = days: on T2 and FLAIR as well


def signal(contrast: Contrast, head: Stricken, modality: str) -> Volume:
    """Noise-free brightness (X, Y, Z) of a head in a modality."""
    tissue = head.anatomy.tissue
    # Fluid keeps its level a little above its mark: no voxel of an average brain is pure fluid.
    marks = (FLUID + 0.05, GREY, WHITE, 2.3)
    levels = (contrast.fluid, contrast.grey, contrast.white, contrast.white + 0.3 * (contrast.white - contrast.grey))
    image = np.interp(tissue, marks, levels).astype(np.float32)
    image += np.float32(contrast.damage) * head.anatomy.damage + np.float32(contrast.vessel) * head.vessels
    if modality == "DWI":
        image += np.float32(0.5) * head.glare
    old = np.float32(head.age if modality in ("T1", "T1c", "T2", "FLAIR") else 1.0)
    core, halo = old * head.core, head.halo
    image = image * (1 + np.float32(contrast.core_times - 1) * core) + np.float32(contrast.core_plus) * core
    image = image * (1 + np.float32(contrast.halo_times - 1) * halo) + np.float32(contrast.halo_plus) * halo
    return np.asarray(image, dtype=np.float32)


def draw_vessels(anatomy: Anatomy, draw: np.random.Generator) -> Volume:
    """Large vessels (X, Y, Z), 0..1: tubes, where two random sheets cross, near the brain's surface and fissures."""
    first, second = (smooth_field(draw, anatomy.axes, 24.0) for _ in range(2))
    tubes = np.exp(-((first / 0.09) ** 2) - (second / 0.09) ** 2)
    outside = ndimage.gaussian_filter((anatomy.tissue < 0.7).astype(np.float32), 3.0 / anatomy.grid.spacing[0])
    return np.asarray(tubes * np.clip(3 * outside, 0, 1) * anatomy.brain, dtype=np.float32)


def draw_glare(anatomy: Anatomy, draw: np.random.Generator) -> Volume:
    """Bright patches (X, Y, Z), 0..1, of the brain's surface on DWI, where air distorts the field; not a stroke."""
    patches = np.clip(smooth_field(draw, anatomy.axes, 32.0) - 1.1, 0, 1)
    outside = ndimage.gaussian_filter((~anatomy.brain).astype(np.float32), 3.0 / anatomy.grid.spacing[0])
    return np.asarray(patches * np.clip(2 * outside - 0.2, 0, 1) * anatomy.brain, dtype=np.float32)
