"""Several streams of samples in strict turn, by optimiser step. Knows indices; knows no samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.sampling.order import Order

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Ordered:
    """One stream: how many samples its epoch has, in which order, and their sites (N,), -1 = unknown.

    Without a length it has as many samples as an epoch asks for, in the order of their numbers: they are made, not
    chosen.
    """

    length: int | None
    order: Order
    sites: Integers | None = None
    name: str = ""


@buildable(training="data", most={"ratio": 64, "steps": 10_000_000})
@dataclass(frozen=True)
class Alternate:
    """Steps of the first source, then of the second, and so on, strictly in turn (Chalcroft 2024, SynthStroke: 1:1).

    A step is of one source on all processes.

    Args:
        ratio: steps of each source before the next one's turn, the labelled cohort's first; 0: the source is left out.
        steps: optimiser steps of an epoch. Every source begins anew, in another order and with other random crops and
            augmentation, where its own epoch is shorter. None: an epoch visits every sample of the first source that
            has a turn, as its order has them; the others give as many steps as belong to these, and repeat the samples
            of this epoch where their own is shorter.
        first: the name of the source whose turn is first; None: the labelled cohort's.

    Raises:
        ConfigError: not whole numbers of at least 0, one of them positive; no step.
    """

    ratio: tuple[int, ...] = (1, 1)
    steps: int | None = None
    first: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ratio", tuple(self.ratio))
        if not any(self.ratio) or not all(type(steps) is int and steps >= 0 for steps in self.ratio):
            raise _ratio(self.ratio, "whole numbers of at least 0, one for each source, not all 0")
        if self.steps is not None and (type(self.steps) is not int or self.steps < 1):
            raise ConfigError(
                "data.mixing.steps",
                found=repr(self.steps),
                expected="a whole number of at least 1, or null",
                remedy="set data.mixing.steps=500, or null to follow the labelled cohort",
            )

    def over(self, streams: Sequence[Ordered], batch_size: int) -> Alternation:
        """The order of these streams' samples, which are numbered one stream after the other.

        Args:
            streams: the cohort's first.
            batch_size: samples per step, over all processes.

        Raises:
            ConfigError: other than one number for each stream, ``first`` is none of them, or no stream says how long
                an epoch is.
        """
        if len(streams) != len(self.ratio):
            raise _ratio(self.ratio, f"{len(streams)} numbers: the labelled cohort's, then those of the other sources")
        names = [stream.name for stream in streams]
        if self.first is not None and self.first not in names:
            raise ConfigError(
                "data.mixing.first",
                found=repr(self.first),
                expected=f"one of {', '.join(names)}",
                remedy="correct data.mixing.first, or leave it out",
            )
        if self.steps is None and self._leading(streams).length is None:
            raise ConfigError(
                "data.mixing.steps",
                found="none, and no labelled cases have a turn that would say how long an epoch is",
                expected="the optimiser steps of an epoch",
                remedy="set data.mixing.steps=500",
            )
        return Alternation(self, tuple(streams), batch_size)

    def pattern(self, names: Sequence[str]) -> Integers:
        """The source of each step of one whole turn, by its place among ``names``."""
        begin = 0 if self.first is None else list(names).index(self.first)
        turn = np.roll(np.arange(len(self.ratio)), -begin)
        return np.repeat(turn, np.asarray(self.ratio)[turn])

    def _leading(self, streams: Sequence[Ordered]) -> Ordered:
        return next(stream for stream, steps in zip(streams, self.ratio, strict=True) if steps)


@dataclass(frozen=True)
class Alternation:
    """``Alternate`` for some streams: an ``Order``."""

    settings: Alternate
    streams: tuple[Ordered, ...]
    batch_size: int

    @property
    def fixed(self) -> bool:
        """False: each epoch has its own order."""
        return False

    def __len__(self) -> int:
        """Samples of an epoch, whole steps."""
        return len(self._kinds) * self.batch_size

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """The number of each stream's first sample, and the end of the last: later passes are numbered on."""
        lengths = [
            wanted if stream.length is None else stream.length * self._passes(stream, wanted)
            for stream, wanted in zip(self.streams, self._wanted, strict=True)
        ]
        return tuple(np.cumsum([0, *lengths]).tolist())

    def arrange(self, sites: Integers, rng: np.random.Generator) -> Integers:
        """Indices (N,); the sites are the streams' own."""
        found = np.empty((len(self._kinds), self.batch_size), dtype=np.int64)
        for number, (stream, first) in enumerate(zip(self.streams, self.starts[:-1], strict=True)):
            own = self._indices(stream, self._wanted[number], rng)
            found[self._kinds == number] = (first + own).reshape(-1, self.batch_size)
        return found.reshape(-1)

    @cached_property
    def _kinds(self) -> Integers:
        """The stream of each step of an epoch."""
        pattern = self.settings.pattern([stream.name for stream in self.streams])
        if self.settings.steps is not None:
            return np.resize(pattern, self.settings.steps)
        leading = self.settings._leading(self.streams)
        steps = math.ceil((leading.length or 0) / self.batch_size)
        turns = math.ceil(steps / next(filter(None, self.settings.ratio)))
        return np.tile(pattern, turns)

    @cached_property
    def _wanted(self) -> list[int]:
        """Samples of each stream in an epoch."""
        return [int((self._kinds == number).sum()) * self.batch_size for number in range(len(self.streams))]

    def _passes(self, stream: Ordered, wanted: int) -> int:
        return 1 if self.settings.steps is None else max(1, math.ceil(wanted / (stream.length or 1)))

    def _indices(self, stream: Ordered, wanted: int, rng: np.random.Generator) -> Integers:
        if stream.length is None:
            return np.arange(wanted, dtype=np.int64)
        sites = np.full(stream.length, -1, dtype=np.int64) if stream.sites is None else stream.sites
        passes = [
            stream.order.arrange(sites, rng) + number * stream.length for number in range(self._passes(stream, wanted))
        ]
        return np.resize(np.concatenate(passes), wanted)


def _ratio(found: object, expected: str) -> ConfigError:
    return ConfigError(
        "data.mixing.ratio", found=str(found), expected=expected, remedy="correct data.mixing.ratio, e.g. [1,1]"
    )
