"""The order of samples as a pure function of (seed, epoch, rank), and the batch sampler that serves it.

Knows indices; knows no voxels. Lightning finds ``set_epoch`` through the attribute ``sampler``, and a resumed run
skips the batches its interrupted epoch already saw, without losing or repeating one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from strokelab.buildable import buildable
from strokelab.errors import ConfigError
from strokelab.seeding import stream

Key = tuple[int, int]
"""(epoch, index of the sample): what a dataset is asked for, so that it can draw what belongs to this epoch."""


class Order(Protocol):
    """In which order an epoch visits its samples."""

    @property
    def fixed(self) -> bool:
        """Whether every epoch is the same; its keys then say epoch 0."""

    def arrange(self, sites: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """As many indices as there are samples; ``sites`` (N,) holds the site of each sample, -1 = unknown."""


@buildable("view")
@dataclass(frozen=True)
class Shuffle:
    """Every sample once, in random order."""

    @property
    def fixed(self) -> bool:
        """False: each epoch has its own order."""
        return False

    def arrange(self, sites: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A random permutation of 0..N-1."""
        return rng.permutation(len(sites))


@buildable("view")
@dataclass(frozen=True)
class InOrder:
    """Every sample once, first to last.

    Args:
        fixed: whether the samples of all epochs are those of epoch 0: validation. False: each epoch has its own, for
            samples that are random.
    """

    fixed: bool = True

    def arrange(self, sites: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """0..N-1."""
        return np.arange(len(sites), dtype=np.int64)


class EpochBatchSampler:
    """Batches of (epoch, index) for one process of one or several.

    The order of an epoch is cut into steps of ``batch_size`` samples, however many processes there are; each rank takes
    every ``world_size``-th of a step. Ranks are disjoint, cover everything and take equally many steps, and together
    they see in each step what one process would. Only a last step with fewer samples than ranks is joined to the one
    before it.

    Args:
        dataset_len: number of samples N.
        batch_size: samples per step, over all ranks.
        seed: of the run.
        order: ``Shuffle()``, ``InOrder()``, ``site_balanced.SiteBalanced()``.
        sites: (N,) site index of each sample, -1 = unknown; None: all unknown.
        drop_last: leave out a last step that is not full.
        same_every_epoch: serve the batches of the first epoch again and again (``trainer.overfit_batches``).
        rank: this process.
        world_size: number of processes.

    Raises:
        ConfigError: no step comes out of these numbers.
    """

    def __init__(
        self,
        dataset_len: int,
        batch_size: int,
        seed: int,
        *,
        order: Order | None = None,
        sites: NDArray[np.int64] | None = None,
        drop_last: bool = False,
        same_every_epoch: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < world_size:
            raise ConfigError(
                "data.batch_size",
                found=f"{batch_size} for {world_size} process(es)",
                expected="at least one sample per process",
                remedy=f"set data.batch_size={world_size} or more",
            )
        self.batch_size = batch_size
        self.seed = seed
        self.order: Order = Shuffle() if order is None else order
        self.rank, self.world_size = rank, world_size
        self.same_every_epoch = same_every_epoch
        self.sites = np.full(dataset_len, -1, dtype=np.int64) if sites is None else np.asarray(sites, dtype=np.int64)
        if len(self.sites) != dataset_len:
            raise ValueError(f"{len(self.sites)} sites for {dataset_len} samples")
        self.epoch = 0
        self._resumed: tuple[int, int] = (0, 0)
        self.bounds = _steps(dataset_len, batch_size, world_size, drop_last)
        if not self.bounds:
            raise ConfigError(
                "data.batch_size",
                found=f"{dataset_len} samples for batches of {batch_size} shared by {world_size} process(es)",
                expected="at least one batch"
                + (" that is full (drop_last)" if drop_last else ", a sample per process"),
                remedy="set a smaller data.batch_size, or use more cases",
            )

    @property
    def sampler(self) -> EpochBatchSampler:
        """Itself: Lightning calls ``set_epoch`` on ``loader.batch_sampler.sampler``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """The epoch that the next iteration serves."""
        self.epoch = epoch

    def resume(self, epoch: int, skip: int) -> None:
        """Start in ``epoch``, of which the first ``skip`` steps were seen before; later epochs are whole."""
        self.epoch = epoch
        self._resumed = (epoch, skip)

    def __len__(self) -> int:
        """Steps of a whole epoch, also where some are skipped: Lightning counts those as done."""
        return len(self.bounds)

    def __iter__(self) -> Iterator[list[Key]]:
        epoch = self.epoch
        skip = self._resumed[1] if epoch == self._resumed[0] else 0
        served = 0 if self.same_every_epoch else epoch
        label = 0 if self.order.fixed else served
        indices = self.order.arrange(self.sites, stream(self.seed, "order", served))
        for begin, end in self.bounds[skip:]:
            yield [(label, int(index)) for index in indices[begin + self.rank : end : self.world_size]]


def _steps(length: int, step: int, world_size: int, drop_last: bool) -> list[tuple[int, int]]:
    ends = list(range(step, length + 1, step))
    rest = length - (ends[-1] if ends else 0)
    if rest and not drop_last:
        if rest >= world_size:
            ends.append(length)
        elif ends:
            ends[-1] = length
    return list(zip([0, *ends[:-1]], ends, strict=True)) if ends else []
