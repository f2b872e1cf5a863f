"""The mean of many scores and how far they disagree, streamed: one member at a time. Knows arrays; knows no model."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from strokelab.inference.scores import Scores

Key = TypeVar("Key", bound=Hashable)


@dataclass
class RunningMean:
    """The weighted mean of maps (X, Y, Z) or (K, X, Y, Z) that come one by one; memory does not grow with their number.

    Sums are kept in double precision: up to 2^29 equal maps have exactly their own value as mean, and the order in
    which maps come is no matter beyond the last bit of single precision.

    Args:
        disagreement: also keep what the standard deviation needs.
        dtype: of the sums, where they must round as those of an earlier version did.
    """

    disagreement: bool = False
    dtype: DTypeLike = np.float64
    weight: float | NDArray[Any] = 0.0  # of all maps so far; (X, Y, Z) where some leave voxels out
    _sum: NDArray[Any] | None = field(default=None, repr=False)
    _squares: NDArray[Any] | None = field(default=None, repr=False)

    def add(self, probability: NDArray[Any], weight: float = 1.0, seen: NDArray[np.bool_] | None = None) -> None:
        """Take in one map.

        Args:
            probability: its values.
            weight: how much it counts.
            seen: the voxels (X, Y, Z) at which it counts; None: all.

        Raises:
            ValueError: it has another shape than those before, or the weight is not a positive number.
        """
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(f"weight {weight}: expected a positive number")
        if self._sum is None:
            self._sum = np.zeros(probability.shape, self.dtype)
            self._squares = np.zeros(probability.shape, self.dtype) if self.disagreement else None
        if self._sum.shape != probability.shape:
            raise ValueError(f"a map of {probability.shape} after maps of {self._sum.shape}: expected one grid")
        term = probability.astype(self.dtype)
        if seen is not None:
            term *= seen
        if self._squares is not None:
            self._squares += weight * np.square(term)
        if weight != 1:
            term *= weight
        self._sum += term
        self.weight = self.weight + (weight if seen is None else weight * seen)

    def mean(self) -> NDArray[np.float32]:
        """The mean so far.

        Raises:
            ValueError: there was no map.
        """
        if self._sum is None:
            raise ValueError("the mean of no map")
        return (self._sum / self._counts()).astype(np.float32, copy=False)

    def deviation(self) -> NDArray[np.float32]:
        """The maps' weighted standard deviation about their mean: 0 where all agree, of probabilities 0.5 at most.

        Raises:
            ValueError: there was no map, or it was not asked for.
        """
        if self._sum is None or self._squares is None:
            raise ValueError("the disagreement of no map, or not asked for")
        counts = self._counts()
        variance = self._squares / counts - np.square(self._sum / counts)
        return np.sqrt(np.maximum(variance, 0)).astype(np.float32)

    def _counts(self) -> float | NDArray[Any]:
        """The weights by which sums are divided; 1 where no map counts, whose sum is 0."""
        return self.weight if isinstance(self.weight, float) else np.where(self.weight > 0, self.weight, 1.0)


def means_of(
    scores: Iterable[tuple[Key, Scores]],
    groups: Mapping[str, Mapping[Key, float]],
    *,
    disagreement: bool = False,
    dtype: DTypeLike = np.float64,
) -> Iterator[tuple[str, Scores]]:
    """The mean scores of groups of members, each as soon as its last member has come.

    A member's scores are made once, whatever number of groups it is in; in memory are the sums of the groups of which
    some members have come and some have not.

    Args:
        scores: member -> its scores, of one kind and on one grid.
        groups: name -> its members, and how much each counts.
        disagreement: also the standard deviation of the members' lesion probabilities.
        dtype: as for ``RunningMean``.

    Raises:
        ValueError: scores of different shapes.
    """
    open_: dict[str, MeanScores] = {}
    left = {name: len(weights) for name, weights in groups.items()}
    for member, found in scores:
        for name, weights in groups.items():
            if member not in weights:
                continue
            mean = open_.setdefault(name, MeanScores(found, disagreement, dtype))
            mean.add(found, weights[member])
            left[name] -= 1
            if not left[name]:
                yield name, open_.pop(name).scores()


class MeanScores:
    """A running mean of scores, and of the members' lesion probabilities where these are other numbers.

    Args:
        first: of the scores, which all others are like; ``add`` takes it in, too.
        disagreement: as for ``means_of``.
        dtype: as for ``RunningMean``.
    """

    def __init__(self, first: Scores, disagreement: bool = False, dtype: DTypeLike = np.float64) -> None:
        self._like = first
        same = first.values.ndim == 3 and first.kind == "probabilities"
        self._total = RunningMean(disagreement and same, dtype)
        self._lesion = RunningMean(True, dtype) if disagreement and not same else None

    def add(self, scores: Scores, weight: float = 1.0) -> None:
        """Take in one member's scores; voxels that its image does not cover (``seen``) are left to the others."""
        self._total.add(scores.values, weight, scores.seen)
        if self._lesion is not None:
            self._lesion.add(scores.finished(classes=False).lesion, weight, scores.seen)

    def scores(self) -> Scores:
        """The mean so far; what no member covers is as in the first."""
        spread = self._lesion or self._total
        deviation = spread.deviation() if spread.disagreement else None
        values, counted = self._total.mean(), self._total.weight
        if not isinstance(counted, float):
            values = np.where(counted > 0, values, self._like.values)
        return replace(self._like, values=values, disagreement=deviation, seen=None)
