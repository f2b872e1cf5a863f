"""Where training samples come from: the labelled cohort, and sources beside it, in one stream or strictly in turn.

Knows cases, views and samples; reads no file itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from strokelab.contract import Batch, Case, MapLayout
from strokelab.data.one_modality import OneModality
from strokelab.data.samples import Samples, SampleSet
from strokelab.data.split_file import Split
from strokelab.data.targets import check_classes
from strokelab.errors import ConfigError, DataError
from strokelab.preparation.store import StoredCase
from strokelab.sampling.alternate import Alternate, Ordered
from strokelab.sampling.boxes import Drawing, Part
from strokelab.sampling.order import Key, Order
from strokelab.seeding import seed_of
from strokelab.view import View

COHORT = "cohort"
"""The source that is always there: the labelled cases of the split."""


class Source(Protocol):
    """Cases that train beside the labelled cohort: ``data.pseudo``, or a node of ``data.sources``."""

    @property
    def weight(self) -> float:
        """How often a case is sampled for each time that one of the cohort is, where sources share one stream."""

    def joined(self, unlabelled: Callable[[], Sequence[Case]], split: Split) -> tuple[list[Case], Split]:
        """The cases, and the split with them in its training part and nowhere else.

        Args:
            unlabelled: gives the cohort's cases without a mask.
            split: of the cohort.
        """

    def view_of(self, view: View) -> View:
        """How its cases are seen; usually as the cohort's."""

    def described(self, split: Split, cases: Sequence[Case]) -> dict[str, Any]:
        """What a run folder says of it, as plain data.

        Args:
            split: with its cases.
            cases: its own, of the training part.
        """


@dataclass(frozen=True)
class Sourced:
    """The cases of one source that train, prepared."""

    name: str
    cases: Sequence[StoredCase]
    view: View
    weight: float = 1.0


@dataclass
class Training:
    """Who trains, of which source; the split has them all in its training part.

    Args:
        split: of cohort and sources.
        sources: beside the cohort, by name.
        cases: of the sources beside the cohort, by source.
    """

    split: Split
    sources: Mapping[str, Source] = field(default_factory=dict)
    cases: dict[str, list[Case]] = field(default_factory=dict)

    @classmethod
    def of(cls, sources: Mapping[str, Source], unlabelled: Callable[[], Sequence[Case]], split: Split) -> Training:
        """Let the sources join a split, one after the other.

        Raises:
            ConfigError: a source is called as the cohort itself.
            DataError: two sources have a case of the same id.
            StrokelabError: as a source does whose cases do not fit.
        """
        if COHORT in sources:
            raise ConfigError(
                f"data.sources.{COHORT}",
                found="the name of the labelled cohort itself",
                expected="a name of its own",
                remedy="call the source by another name",
            )
        training = cls(split, sources)
        for name, source in sources.items():
            before = {*training.split.train, *training.split.val, *training.split.test}
            training.cases[name], training.split = source.joined(unlabelled, training.split)
            if twice := sorted(before & {case.case_id for case in training.cases[name]}):
                raise DataError(
                    f"data.sources.{name}",
                    found=f"{len(twice)} case ids that the cohort or another source has: {twice[:3]}",
                    expected="ids of its own",
                    remedy="give its cases other ids",
                )
        return training

    @property
    def further(self) -> list[Case]:
        """The cases of all sources beside the cohort."""
        return [case for cases in self.cases.values() for case in cases]

    def sourced(self, view: View, prepare: Callable[[Sequence[str], View], Sequence[StoredCase]]) -> list[Sourced]:
        """The cases that train by their source, the cohort's first.

        Args:
            view: of the cohort.
            prepare: brings cases by their ids onto the grid of a view.
        """
        further = {case.case_id for case in self.further}
        own = [case_id for case_id in self.split.train if case_id not in further]
        found = [Sourced(COHORT, prepare(own, view), view)]
        for name, source in self.sources.items():
            seen, ids = source.view_of(view), [case.case_id for case in self.cases[name]]
            found.append(Sourced(name, prepare(ids, seen), seen, source.weight))
        return found


def samples_of(
    cases: Sequence[StoredCase],
    part: Part,
    *,
    view: View,
    batch_size: int,
    sites: Mapping[str, int],
    seed: int,
    weights: Sequence[float] | None = None,
    deferred: bool = False,
) -> Samples:
    """The samples of these cases, as the view sees them; only training ones are augmented.

    Args:
        cases: of the part.
        part: training or validation.
        view: how samples are taken.
        batch_size: samples per step, over all processes.
        sites: site name to index.
        seed: of the run.
        weights: how often each case is sampled, relative to the others; None: all alike.
        deferred: leave augmentation to the device, where it can be left (``samples.completed``).

    Raises:
        DataError: a case is not labelled, or there is no sample.
        ConfigError: cases or samples differ in form, or weights with a view that takes every sample in turn.
    """
    modality = OneModality(len(view.preparation.channels), seed, fixed=part == "val") if view.any_contrast else None
    return Samples(
        cases,
        view.sampler.places(cases, Drawing(part, seed, batch_size, weights)),
        sites=sites,
        seed=seed,
        augment=view.augment if part == "train" else None,
        deferred=deferred,
        classes=view.classes,
        modality=modality,
    )


def training_samples(
    sources: Sequence[Sourced],
    mixing: Alternate | None,
    *,
    batch_size: int,
    sites: Mapping[str, int],
    seed: int,
    deferred: bool = False,
) -> tuple[SampleSet, Order]:
    """The samples of all sources and the order in which an epoch visits them.

    Args:
        sources: the cohort first.
        mixing: None: all cases in one stream, sampled by weight; else a stream for each source.
        batch_size: as ``samples_of``, like the arguments after it.
        sites: site name to index.
        seed: of the run.
        deferred: as ``samples_of``.

    Raises:
        StrokelabError: as ``samples_of``; or sources and mixing do not fit.
    """
    view = sources[0].view
    settings: dict[str, Any] = {"batch_size": batch_size, "sites": sites, "deferred": deferred}
    layouts: dict[str, MapLayout] = {}
    for case in (case for source in sources for case in source.cases):
        layouts |= case.maps
    for classes in {tuple(source.view.classes) for source in sources if source.view.classes is not None}:
        check_classes(classes, layouts)
    if mixing is not None and len(sources) == 1:
        raise ConfigError(
            "data.mixing",
            found=f"{type(mixing).__name__} with the labelled cohort as the only source",
            expected="a source beside it, to be mixed with",
            remedy="leave data.mixing out, or add a source as data.sources.NAME",
        )
    if mixing is None:
        if apart := [source.name for source in sources if source.view != view]:
            raise ConfigError(
                "data.mixing",
                found=f"none, with sources that are seen otherwise than the cohort: {apart}",
                expected="one view for all cases of one stream",
                remedy="mix the sources in turn, as sampling.alternate.Alternate does",
            )
        cases = [case for source in sources for case in source.cases]
        weights = [source.weight for source in sources for _ in source.cases]
        samples = samples_of(cases, "train", view=view, seed=seed, weights=weights, **settings)
        return samples, view.order_of("train")
    sets = [
        samples_of(
            source.cases,
            "train",
            view=source.view,
            seed=seed if source.name == COHORT else seed_of(seed, "source", source.name),
            **settings,
        )
        for source in sources
    ]
    orders = [
        Ordered(len(samples), source.view.order_of("train"), samples.sites)
        for samples, source in zip(sets, sources, strict=True)
    ]
    order = mixing.over(orders, batch_size)
    return MixedSamples(sets, len(order)), order


class MixedSamples(Dataset[Batch]):
    """The samples of several sets, numbered one set after the other; every batch is of one of them.

    Args:
        sets: the cohort's first.
        length: samples of an epoch.
    """

    def __init__(self, sets: Sequence[SampleSet], length: int) -> None:
        self.sets, self.length = list(sets), length
        self.cases = [case for samples in sets for case in samples.cases]
        self._ends = np.cumsum([len(samples) for samples in sets])

    def __len__(self) -> int:
        """Samples of one epoch."""
        return self.length

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
        number, own = self._own(keys)
        before = sum(len(samples.cases) for samples in self.sets[:number])
        return [before + row for row in self.sets[number].rows_of(own)]

    def __getitem__(self, key: Key) -> dict[str, Any]:
        """One sample."""
        number, own = self._own([key])
        return self.sets[number][own[0]]

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these samples, which are of one set."""
        number, own = self._own(keys)
        return self.sets[number].__getitems__(own)

    def _own(self, keys: Sequence[Key]) -> tuple[int, list[Key]]:
        """The set that keys are of, and the keys as it numbers them."""
        numbers = set(np.searchsorted(self._ends, [index for _, index in keys], side="right").tolist())
        if len(numbers) != 1:
            raise ValueError(f"a batch of samples of the sets {sorted(numbers)}: expected one")
        number = numbers.pop()
        first = int(self._ends[number - 1]) if number else 0
        return number, [(epoch, index - first) for epoch, index in keys]
