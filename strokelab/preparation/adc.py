"""Brings the units of quantitative maps to one; knows voxels and a brain mask, no files.

ISLES 2022 holds apparent diffusion coefficients in three units (mm^2/s, 10^-3 mm^2/s, 10^-6 mm^2/s) without saying
which; the perfusion maps of ISLES 2015 SPES have outliers far beyond physiology.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from strokelab.errors import DataError

PERFUSION = frozenset({"cbf", "cbv", "ttp", "tmax"})


def adc_factor(voxels: NDArray[np.float32], brain: NDArray[np.bool_], where: str) -> float:
    """The factor that brings an ADC map (X, Y, Z) to 10^-6 mm^2/s.

    Decided by the 99.9th percentile q inside the brain, which lies at 3200 to 4600 x 10^-6 mm^2/s in every case of
    ISLES 2022 (free water at body temperature): q < 0.1 means mm^2/s, q < 100 means 10^-3 mm^2/s.

    Args:
        voxels: the map.
        brain: where to look; not empty.
        where: the file, for the error message.

    Raises:
        DataError: q is not positive, so the map is no ADC map.
    """
    q = float(np.percentile(voxels.T[brain.T], 99.9))
    if q <= 0:
        raise DataError(
            where,
            found=f"an ADC map whose 99.9th percentile inside the brain is {q:g}",
            expected="positive diffusion coefficients (mm^2/s, 10^-3 mm^2/s or 10^-6 mm^2/s)",
            remedy="check that the file is the ADC map, or leave the case out with data.exclude",
        )
    return 1e6 if q < 0.1 else 1e3 if q < 100 else 1.0


def clip_outliers(voxels: NDArray[np.float32], brain: NDArray[np.bool_]) -> None:
    """Clip a perfusion map (X, Y, Z) in place to its 1st to 99th percentile inside the brain."""
    low, high = np.percentile(voxels.T[brain.T], (1, 99))
    np.clip(voxels, np.float32(low), np.float32(high), out=voxels)
