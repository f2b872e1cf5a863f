"""The exact null distribution of signed rank sums, with and without ties. Knows ranks; knows no cases."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def p_of_rank_sums(ranks: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Two-sided p of every possible sum of the positive ranks, when each sign is plus or minus with equal chance.

    Args:
        ranks: (n,) of the absolute differences, whole or half numbers (mean ranks of ties); n of at most 50 keeps the
            2**n sign patterns exact in float64.

    Returns:
        (2 * sum of ranks + 1,): entry 2 s belongs to the sum s.
    """
    doubled = np.rint(2 * np.asarray(ranks)).astype(np.intp)
    ways = np.ones(1)  # number of sign patterns by sum
    for rank in doubled:
        ways = np.append(ways, np.zeros(rank)) + np.append(np.zeros(rank), ways)
    at_most = np.cumsum(ways)
    at_least = np.cumsum(ways[::-1])[::-1]
    return np.minimum(2 * np.minimum(at_most, at_least) / 2.0 ** len(doubled), 1.0)
