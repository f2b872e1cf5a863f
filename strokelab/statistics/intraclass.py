"""How much of the spread of measurements lies between things rather than between those who measured: the ICC.

Knows a table of numbers, one row per thing, one column per rater or occasion; knows no masks and no case table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from strokelab.errors import DataError

_NAN = float("nan")


@dataclass(frozen=True)
class Intraclass:
    """ICC of absolute agreement of single measurements, with its interval."""

    n: int  # things measured by all
    left_out: int  # things with an undefined or infinite measurement
    icc: float = _NAN  # 1 = all agree; NaN with fewer than two things, or where nothing varies
    low: float = _NAN
    high: float = _NAN


def absolute_agreement(measurements: ArrayLike, *, level: float = 0.95) -> Intraclass:
    """ICC(A,1) of K. O. McGraw, S. P. Wong, Psychological Methods 1996: two-way, absolute agreement, one measurement.

    With the mean squares of things (R), of raters (C) and the residual (E) of n things and k raters it is
    (R - E) / (R + (k - 1) E + k (C - E) / n): ICC(2,1) of Shrout and Fleiss 1979, whose formula is the same for raters
    seen as a sample and as all there are. The interval follows McGraw and Wong's table 7.

    Args:
        measurements: (things, raters).
        level: of the interval.

    Raises:
        DataError: not a table with two raters or more.
    """
    table = np.asarray(measurements, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] < 2:
        raise DataError(
            "intraclass correlation",
            found=f"measurements of shape {table.shape}",
            expected="one row per thing, one column per rater, two or more",
            remedy="pair the measurements first",
        )
    whole = np.isfinite(table).all(axis=1)
    rated = table[whole]
    n, k = rated.shape
    left_out = int((~whole).sum())
    if n < 2 or np.ptp(rated) == 0:
        return Intraclass(n, left_out)
    mean = rated.mean()
    of_things, of_raters = rated.mean(axis=1), rated.mean(axis=0)
    r = k * float(((of_things - mean) ** 2).sum()) / (n - 1)
    c = n * float(((of_raters - mean) ** 2).sum()) / (k - 1)
    e = float(((rated - of_things[:, None] - of_raters + mean) ** 2).sum()) / ((n - 1) * (k - 1))
    spread = r + (k - 1) * e + k * (c - e) / n
    if spread <= 0:
        return Intraclass(n, left_out)
    icc = (r - e) / spread
    if c == 0 and e == 0:
        return Intraclass(n, left_out, icc, icc, icc)
    low, high = _interval(r, c, e, shape=(n, k), icc=icc, level=level)
    return Intraclass(n, left_out, icc, low, high)


def _interval(r: float, c: float, e: float, *, shape: tuple[int, int], icc: float, level: float) -> tuple[float, float]:
    n, k = shape
    # Satterthwaite's degrees of freedom; multiplied by 1 - icc throughout, so that a perfect icc divides by nothing.
    a, b = k * icc, n * (1 - icc) + k * icc * (n - 1)
    if a * c + b * e == 0:
        return _NAN, _NAN
    v = (a * c + b * e) ** 2 / ((a * c) ** 2 / (k - 1) + (b * e) ** 2 / ((n - 1) * (k - 1)))
    tail = (1 - level) / 2
    below, above = float(stats.f.isf(tail, n - 1, v)), float(stats.f.isf(tail, v, n - 1))
    mixed = k * c + (k * n - k - n) * e
    low = n * (r - below * e) / (below * mixed + n * r)
    high = n * (above * r - e) / (mixed + n * above * r)
    return low, high
