"""How far two measurements of the same things lie apart: Bland-Altman limits of agreement.

Knows pairs of numbers, e.g. lesion volumes of two raters; knows no masks and no case table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from strokelab.errors import DataError

Interval = tuple[float, float]

_NONE: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True)
class Agreement:
    """Differences a - b, in the unit of the measurements; intervals at 95 %."""

    n: int  # pairs
    left_out: int  # pairs with an undefined or infinite side
    bias: float  # mean difference; NaN without pairs
    sd: float  # of the differences, n - 1; NaN for one pair
    lower: float  # limits of agreement, bias - 1.96 sd
    upper: float  # bias + 1.96 sd
    bias_interval: Interval = _NONE
    lower_interval: Interval = _NONE
    upper_interval: Interval = _NONE
    slope: float = float("nan")  # of the difference on the mean of the two: proportional bias
    slope_p: float = float("nan")


def limits_of_agreement(a: ArrayLike, b: ArrayLike) -> Agreement:
    """Bias of two measurements and the limits between which 95 % of their differences are expected.

    J. M. Bland, D. G. Altman, Lancet 1986: limits at 1.96 standard deviations, intervals from Student's t with n - 1
    degrees of freedom; exact for the bias, and for the limits with the standard error sqrt(3 sd^2 / n), an
    approximation for n of 30 or more. Differences that grow with size (a slope with small p) want logarithms of the
    measurements instead.

    Args:
        a: one measurement per thing.
        b: the other, in the same order.

    Returns:
        Bias, limits and their intervals; NaN where there are too few pairs (2 for limits, 3 for the slope).

    Raises:
        DataError: the two do not have the same length.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise DataError(
            "limits of agreement",
            found=f"{first.size} measurements against {second.size}",
            expected="pairs, both measurements of each case",
            remedy="pair the measurements by case id",
        )
    both = np.isfinite(first) & np.isfinite(second)
    differences, averages = (first - second)[both], (first + second)[both] / 2
    n, left_out = len(differences), int((~both).sum())
    if n < 2:
        return Agreement(n, left_out, float(differences[0]) if n else float("nan"), *(float("nan"),) * 3)
    bias, sd = float(differences.mean()), float(differences.std(ddof=1))
    lower, upper = bias - 1.96 * sd, bias + 1.96 * sd
    t = float(stats.t.isf(0.025, n - 1))
    of_bias, of_limit = t * sd / math.sqrt(n), t * sd * math.sqrt(3 / n)
    slope, slope_p = _slope(averages, differences)
    return Agreement(
        n,
        left_out,
        bias,
        sd,
        lower,
        upper,
        bias_interval=(bias - of_bias, bias + of_bias),
        lower_interval=(lower - of_limit, lower + of_limit),
        upper_interval=(upper - of_limit, upper + of_limit),
        slope=slope,
        slope_p=slope_p,
    )


def _slope(averages: NDArray[np.float64], differences: NDArray[np.float64]) -> tuple[float, float]:
    if len(averages) < 3 or np.ptp(averages) == 0 or np.ptp(differences) == 0:
        return _NONE
    line = stats.linregress(averages, differences)
    return float(line.slope), float(line.pvalue)
