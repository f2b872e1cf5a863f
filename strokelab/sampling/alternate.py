"""Several streams of samples in strict turn, by optimiser step. Knows indices; knows no samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.sampling.order import Order


@dataclass(frozen=True)
class Ordered:
    """One stream: how many samples its epoch has, in which order, and their sites (N,), -1 = unknown."""

    length: int
    order: Order
    sites: NDArray[np.int64] | None = None


@buildable(training="data", most={"ratio": 64})
@dataclass(frozen=True)
class Alternate:
    """Steps of the first source, then of the second, and so on, strictly in turn (Chalcroft 2024, SynthStroke: 1:1).

    A step is of one source on all processes. An epoch visits every sample of the first source, as its order has them;
    the others give as many steps as belong to these, and begin anew where their own epoch is shorter.

    Args:
        ratio: steps of each source before the next one's turn.

    Raises:
        ConfigError: not a whole number of at least 1 for each of two sources or more.
    """

    ratio: tuple[int, ...] = (1, 1)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", tuple(self.ratio))
        if len(self.ratio) < 2 or not all(type(steps) is int and steps >= 1 for steps in self.ratio):
            raise _ratio(self.ratio, "whole numbers of at least 1, for two sources or more")

    def over(self, streams: Sequence[Ordered], batch_size: int) -> Alternation:
        """The order of these streams' samples, which are numbered one stream after the other.

        Args:
            streams: the cohort's first.
            batch_size: samples per step, over all processes.

        Raises:
            ConfigError: other than one number for each stream.
        """
        if len(streams) != len(self.ratio):
            raise _ratio(self.ratio, f"{len(streams)} numbers: the labelled cohort's, then those of the other sources")
        return Alternation(self.ratio, tuple(streams), batch_size)


@dataclass(frozen=True)
class Alternation:
    """``Alternate`` for some streams: an ``Order``."""

    ratio: tuple[int, ...]
    streams: tuple[Ordered, ...]
    batch_size: int

    @property
    def fixed(self) -> bool:
        """False: each epoch has its own order."""
        return False

    def __len__(self) -> int:
        """Samples of an epoch, whole steps."""
        return self._turns * sum(self.ratio) * self.batch_size

    @property
    def _turns(self) -> int:
        steps = math.ceil(self.streams[0].length / self.batch_size)
        return math.ceil(steps / self.ratio[0])

    def arrange(self, sites: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices (N,); the sites are the streams' own."""
        columns, first = [], 0
        for steps, stream in zip(self.ratio, self.streams, strict=True):
            wanted = self._turns * steps * self.batch_size
            unknown = np.full(stream.length, -1, dtype=np.int64)
            own = stream.order.arrange(unknown if stream.sites is None else stream.sites, rng)
            columns.append(first + np.resize(own, wanted).reshape(self._turns, steps * self.batch_size))
            first += stream.length
        return np.concatenate(columns, axis=1).reshape(-1)


def _ratio(found: object, expected: str) -> ConfigError:
    return ConfigError(
        "data.mixing.ratio", found=str(found), expected=expected, remedy="correct data.mixing.ratio, e.g. [1,1]"
    )
