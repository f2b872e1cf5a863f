"""How large a difference this many cases could have shown, so that nobody reads "not significant" as "equal".

Knows differences between pairs; knows no case table.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from strokelab.statistics.rank_sums import p_of_rank_sums

EFFICIENCY = 3 / np.pi
"""Of the Wilcoxon signed-rank test relative to the t-test: 0.955 for normal differences, never below 0.864 (Pitman)."""

_EXACT_UP_TO = 50  # pairs; beyond, the exact test's steps in p are too small to matter


def detectable_difference(differences: ArrayLike, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true mean difference that the paired test would probably have found.

    The power of a t-test with 0.955 n pairs (noncentral t) stands for that of the two-sided Wilcoxon test with n, at
    the level the exact test really has (0.031 instead of 0.05 for 6 pairs). Right for normal differences, careful (too
    large) for most with heavy tails. Not corrected for several comparisons.

    Args:
        differences: one per pair; their spread is taken as the true one. Infinite and undefined ones are left out.
        alpha: level of the test.
        power: the probability with which the difference would have been found.

    Returns:
        In the unit of the differences; 0 when all are equal; ``inf`` with so few pairs that the Wilcoxon test never
        reaches ``alpha`` (fewer than 6 for 0.05); NaN for fewer than 2 pairs.
    """
    values = np.asarray(differences, dtype=np.float64)
    values = values[np.isfinite(values)]
    if len(values) < 2:
        return float("nan")
    level = _attainable_level(len(values), alpha)
    if level == 0:
        return float("inf")
    # Rounded as in the Wilcoxon test: 0.3 - 0.2 and 0.2 - 0.1 are one difference.
    values = np.round(values, 10)
    return float(values.std(ddof=1)) * _standardised(len(values), level, power) if np.ptp(values) else 0.0


@lru_cache
def _attainable_level(pairs: int, alpha: float) -> float:
    """The largest p not above alpha that the exact test of so many untied pairs can give; 0 if there is none."""
    if pairs > _EXACT_UP_TO:
        return alpha
    possible = p_of_rank_sums(np.arange(1.0, pairs + 1))
    return float(max(possible[possible <= alpha], default=0.0))


@lru_cache
def _standardised(pairs: int, level: float, power: float) -> float:
    """Detectable difference in standard deviations of the differences."""
    effective = EFFICIENCY * pairs
    freedom = effective - 1
    critical = float(stats.t.isf(level / 2, freedom))

    def surplus(shift: float) -> float:
        return float(stats.nct.sf(critical, freedom, shift)) - power  # found, and with the right sign

    beyond = critical
    while surplus(beyond) < 0:
        beyond *= 1.5
    return float(optimize.brentq(surplus, 0.0, beyond) / np.sqrt(effective))
