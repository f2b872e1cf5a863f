"""The mean of many maps and how far they disagree, streamed: one map at a time. Knows arrays; knows no model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class RunningMean:
    """The weighted mean of maps (X, Y, Z) that come one by one; memory does not grow with their number.

    Sums are kept in double precision: up to 2^29 equal maps have exactly their own value as mean, and the order in
    which maps come is no matter beyond the last bit of single precision.

    Args:
        disagreement: also keep what the standard deviation needs.
    """

    disagreement: bool = False
    weight: float = 0.0  # of all maps so far
    _sum: NDArray[np.float64] | None = field(default=None, repr=False)
    _squares: NDArray[np.float64] | None = field(default=None, repr=False)

    def add(self, probability: NDArray[Any], weight: float = 1.0) -> None:
        """Take in one map (X, Y, Z).

        Raises:
            ValueError: it has another shape than those before, or the weight is not a positive number.
        """
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weight {weight}: expected a positive number")
        if self._sum is None:
            self._sum = np.zeros(probability.shape)
            self._squares = np.zeros(probability.shape) if self.disagreement else None
        if self._sum.shape != probability.shape:
            raise ValueError(f"a map of {probability.shape} after maps of {self._sum.shape}: expected one grid")
        term = probability.astype(np.float64)
        if self._squares is not None:
            self._squares += weight * np.square(term)
        if weight != 1:
            term *= weight
        self._sum += term
        self.weight += weight

    def mean(self) -> NDArray[np.float32]:
        """The mean (X, Y, Z) so far.

        Raises:
            ValueError: there was no map.
        """
        if self._sum is None:
            raise ValueError("the mean of no map")
        return (self._sum / self.weight).astype(np.float32)

    def deviation(self) -> NDArray[np.float32]:
        """The maps' weighted standard deviation (X, Y, Z) about their mean: 0 where all agree, 0.5 at most.

        Raises:
            ValueError: there was no map, or it was not asked for.
        """
        if self._sum is None or self._squares is None:
            raise ValueError("the disagreement of no map, or not asked for")
        variance = self._squares / self.weight - np.square(self._sum / self.weight)
        return np.sqrt(np.maximum(variance, 0)).astype(np.float32)
