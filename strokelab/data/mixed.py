"""Several sets of samples served as one: in turn for training, one after the other for validation. Knows indices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from strokelab.contract import Batch
from strokelab.data.samples import SampleSet
from strokelab.sampling.alternate import Alternation
from strokelab.sampling.order import Key

_PASS = 2**32  # no epoch is as late: the samples of a further pass of an epoch are those of such a number


class Together(Dataset[Batch]):
    """What a loader asks of several sets (``samples.SampleSet``).

    Args:
        sets: the cohort's first.
    """

    def __init__(self, sets: Sequence[SampleSet]) -> None:
        self.sets = list(sets)
        self.cases = [case for samples in sets for case in samples.cases]

    @property
    def sites(self) -> NDArray[np.int64] | None:
        """None: the order has them."""
        return None

    @property
    def sample_bytes(self) -> int:
        """Of the largest."""
        return max(samples.sample_bytes for samples in self.sets)

    @property
    def in_thread(self) -> bool:
        """Where all may be."""
        return all(samples.in_thread for samples in self.sets)

    @property
    def deferred(self) -> bool:
        """Whether any leaves augmentation to the device."""
        return any(samples.deferred for samples in self.sets)

    def rows_of(self, keys: Sequence[Key]) -> list[int]:
        """The case of each sample, by its place in ``cases``."""
        before = np.cumsum([0, *(len(samples.cases) for samples in self.sets)])
        found = [self._own(key) for key in keys]
        return [int(before[number]) + self.sets[number].rows_of([own])[0] for number, own in found]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample."""
        number, own = self._own(key)
        return self.sets[number][own]

    def _own(self, key: Key) -> tuple[int, Key]:
        """The set that a key is of, and the key as it numbers them."""
        raise NotImplementedError


class MixedSamples(Together):
    """The samples of several sets in turn; every batch is of one of them.

    Args:
        sets: as the streams of the order.
        order: whose numbers the samples have.
    """

    def __init__(self, sets: Sequence[SampleSet], order: Alternation) -> None:
        super().__init__(sets)
        self.order = order

    def __len__(self) -> int:
        """Samples of one epoch."""
        return len(self.order)

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples, which are of one set."""
        found = [self._own(key) for key in keys]
        numbers = {number for number, _ in found}
        if len(numbers) != 1:
            raise ValueError(f"a batch of samples of the sets {sorted(numbers)}: expected one")
        return self.sets[numbers.pop()].__getitems__([own for _, own in found])

    def _own(self, key: Key) -> tuple[int, Key]:
        epoch, index = key
        number = int(np.searchsorted(self.order.starts[1:], index, side="right"))
        index -= self.order.starts[number]
        length = self.order.streams[number].length
        again, index = (0, index) if length is None else divmod(index, length)
        return number, (epoch + again * _PASS, index)


class JoinedSamples(Together):
    """The samples of several sets, one set after the other; a batch may hold some of each. Nothing is deferred.

    Args:
        sets: with samples of one shape.
    """

    def __init__(self, sets: Sequence[SampleSet]) -> None:
        super().__init__(sets)
        self._ends = np.cumsum([len(samples) for samples in sets])

    def __len__(self) -> int:
        """Samples of one epoch."""
        return int(self._ends[-1])

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples: the maps that all of them have."""
        found = [self._own(key) for key in keys]
        numbers = sorted({number for number, _ in found})
        parts = [self.sets[number].__getitems__([own for of, own in found if of == number]) for number in numbers]
        if len(parts) == 1:
            return parts[0]
        order = np.argsort([place for number in numbers for place, (of, _) in enumerate(found) if of == number])
        return _joined(parts, order)

    def _own(self, key: Key) -> tuple[int, Key]:
        epoch, index = key
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, (epoch, index - (int(self._ends[number - 1]) if number else 0))


def _joined(parts: Sequence[Batch], order: NDArray[np.int64]) -> Batch:
    """Batches as one, in another order; what some lack of the labelled classes is labelled there."""
    if any("labelled_classes" in part for part in parts):
        parts = [{"labelled_classes": torch.ones(part["target"].shape[:2], dtype=torch.bool), **part} for part in parts]
    joined: Batch = {}
    for name in (name for name in parts[0] if all(name in part for part in parts)):
        values = [part[name] for part in parts]
        if isinstance(values[0], Tensor):
            joined[name] = torch.cat(values)[torch.from_numpy(order)]
        elif isinstance(values[0], list):
            every = [item for value in values for item in value]
            joined[name] = [every[place] for place in order]
    return joined
