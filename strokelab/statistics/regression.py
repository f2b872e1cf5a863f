"""A metric against the logarithm of lesion volume: a straight line, its R² and p. Knows numbers, no case table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from strokelab.errors import DataError


@dataclass(frozen=True)
class Fit:
    """Value = intercept + slope * log10(volume), by ordinary least squares."""

    slope: float  # per tenfold volume; the same in every unit of volume
    intercept: float  # at one unit of volume
    r2: float  # share of the values' variance; NaN for constant values
    p: float  # of the slope, two-sided; NaN for fewer than 3 cases or constant values
    n: int
    left_out: int = 0  # cases without lesion, or with an undefined or infinite value


def fit_log(volume: ArrayLike, values: ArrayLike) -> Fit:
    """Fit of e.g. Dice on lesion volume (Tomita et al. 2020, figure 3: R² = 0.34).

    Args:
        volume: (cases,) of the true lesion, in ml or voxels; volume 0 has no logarithm and is left out.
        values: (cases,) of the metric.

    Returns:
        The line; all NaN without two different volumes.

    Raises:
        DataError: the two do not have the same length.
    """
    volumes, metric = np.asarray(volume, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if volumes.shape != metric.shape:
        raise DataError(
            "fit on lesion volume",
            found=f"{volumes.size} volumes and {metric.size} values",
            expected="a volume and a value per case",
            remedy="take both columns from one case table",
        )
    good = np.isfinite(metric) & np.isfinite(volumes) & (volumes > 0)
    n, left_out = int(good.sum()), int((~good).sum())
    x, y = np.log10(volumes[good]), metric[good]
    nan = float("nan")
    if n < 2 or np.ptp(x) == 0:
        return Fit(nan, nan, nan, nan, n, left_out)
    if np.ptp(y) == 0:
        return Fit(0.0, float(y[0]), nan, nan, n, left_out)
    line = stats.linregress(x, y)
    p = float(line.pvalue) if n > 2 else nan
    return Fit(float(line.slope), float(line.intercept), float(line.rvalue) ** 2, p, n, left_out)
