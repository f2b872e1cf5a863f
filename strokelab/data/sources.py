"""Where training samples come from: the labelled cohort, and sources beside it, in one stream or strictly in turn.

Knows cases, views and samples; reads no file itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, cast, get_args

from strokelab.contract import Case, MapLayout
from strokelab.data.making import Maker, Means, Wanted
from strokelab.data.mixed import JoinedSamples, MixedSamples
from strokelab.data.one_modality import OneModality
from strokelab.data.samples import Samples, SampleSet
from strokelab.data.split_file import Split
from strokelab.data.targets import check_classes
from strokelab.errors import ConfigError, DataError
from strokelab.preparation.store import StoredCase
from strokelab.sampling.alternate import Alternate, Ordered
from strokelab.sampling.boxes import Drawing, Part, Size
from strokelab.sampling.order import InOrder, Order
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
    """The cases of one source that train, prepared; or how its samples are made."""

    name: str
    cases: Sequence[StoredCase]
    view: View
    weight: float = 1.0
    made: Callable[[Size], SampleSet] | None = None
    layout: MapLayout | None = None


@dataclass
class Training:
    """Who trains, of which source; the split has them all in its training part.

    Args:
        split: of cohort and sources.
        sources: beside the cohort, by name.
        cases: of the sources beside the cohort, by source.
        weights: how often each case of the cohort is sampled, relative to the others; empty: all alike.
    """

    split: Split
    sources: Mapping[str, Source] = field(default_factory=dict)
    cases: dict[str, list[Case]] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

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

    @property
    def own(self) -> tuple[str, ...]:
        """Ids of the labelled cohort's cases that train."""
        further = {case.case_id for case in self.further}
        return tuple(case_id for case_id in self.split.train if case_id not in further)

    @property
    def makers(self) -> dict[str, Maker]:
        """The sources that make their samples, by name."""
        return {name: source for name, source in self.sources.items() if isinstance(source, Maker)}

    def wanted(self, name: str, part: Part, means: Means) -> Wanted:
        """What a source is asked for that makes its samples.

        Args:
            name: of the source.
            part: training or validation.
            means: to prepare cases with.
        """
        cases = [means.cases[case_id] for case_id in (self.own if part == "train" else self.split.val)]
        aside = [means.cases[case_id] for case_id in (*self.split.val, *self.split.test)]
        return Wanted(part, cases, aside, means, seed_of(means.seed, "source", name))

    def check(self, means: Means) -> None:
        """Before training: what samples are made of is there.

        Raises:
            StrokelabError: as ``Maker.check``.
        """
        for name, source in self.makers.items():
            for part in get_args(Part):
                source.check(self.wanted(name, part, means))

    def sourced(self, means: Means) -> list[Sourced]:
        """What trains by its source, the cohort's cases first."""
        found = self._cohort(means)
        for name, source in self.sources.items():
            seen = source.view_of(means.view)
            if isinstance(source, Maker):
                made = cast(Any, partial(source.made, self.wanted(name, "train", means)))
                found.append(Sourced(name, (), seen, source.weight, made, source.labels()))
            else:
                found.append(Sourced(name, means.prepare(self.cases[name], seen.preparation), seen, source.weight))
        return found

    def _cohort(self, means: Means) -> list[Sourced]:
        """The cohort's cases that train; those of each weight by themselves."""
        weights = sorted({self.weights.get(case_id, 1.0) for case_id in self.own})
        if len(weights) < 2:
            return [Sourced(COHORT, means.prepared(self.own), means.view)]
        own = [[case_id for case_id in self.own if self.weights.get(case_id, 1.0) == weight] for weight in weights]
        return [
            Sourced(COHORT, means.prepared(ids), means.view, weight) for ids, weight in zip(own, weights, strict=True)
        ]


def _weighed_by(sources: Sequence[Sourced]) -> str:
    """The setting by which cases are sampled more often than others: the cohort's own weights are its datasets'."""
    if len({source.weight for source in sources if source.name == COHORT}) > 1:
        return "data.datasets"
    other = next((source.name for source in sources if source.weight != 1 and source.name != COHORT), "pseudo")
    return f"data.{other}.weight" if other == "pseudo" else f"data.sources.{other}.weight"


def samples_of(
    cases: Sequence[StoredCase],
    part: Part,
    *,
    view: View,
    batch_size: int,
    sites: Mapping[str, int],
    seed: int,
    weights: Sequence[float] | None = None,
    weighed_by: str = "",
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
        weighed_by: the setting that says so.
        deferred: leave augmentation to the device, where it can be left (``samples.completed``).

    Raises:
        DataError: a case is not labelled, or there is no sample.
        ConfigError: cases or samples differ in form, or weights with a view that takes every sample in turn.
    """
    modality = OneModality(len(view.preparation.channels), seed, fixed=part == "val") if view.any_contrast else None
    return Samples(
        cases,
        view.sampler.places(cases, Drawing(part, seed, batch_size, weights, weighed_by)),
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
    _check_mixing(sources, mixing)
    view = sources[0].view
    settings: dict[str, Any] = {"batch_size": batch_size, "sites": sites, "deferred": deferred}
    _check_named(sources)
    if mixing is None:
        cases = [case for source in sources for case in source.cases]
        weights = [source.weight for source in sources for _ in source.cases]
        settings |= {"weights": weights, "weighed_by": _weighed_by(sources)}
        samples = samples_of(cases, "train", view=view, seed=seed, **settings)
        return samples, view.order_of("train")
    cohort = samples_of(sources[0].cases, "train", view=view, seed=seed, **settings)
    sets: list[SampleSet] = [cohort]
    orders = [Ordered(len(cohort), view.order_of("train"), cohort.sites, COHORT)]
    for source in sources[1:]:
        if source.made is not None:
            sets.append(source.made(cohort.places.size))
            orders.append(Ordered(None, InOrder(fixed=False), name=source.name))
            continue
        own = seed_of(seed, "source", source.name)
        sets.append(samples_of(source.cases, "train", view=source.view, seed=own, **settings))
        orders.append(Ordered(len(sets[-1]), source.view.order_of("train"), sets[-1].sites, source.name))
    order = mixing.over(orders, batch_size)
    return MixedSamples(sets, order), order


def validation_samples(
    real: Sequence[str],
    training: Training,
    means: Means,
    *,
    batch_size: int,
    sites: Mapping[str, int],
    seed: int,
) -> tuple[SampleSet, Order]:
    """The samples of the cohort's cases that curves are of, then those of every source that makes some to validate on.

    Args:
        real: ids of the cohort's cases.
        training: with its sources.
        means: to prepare cases with.
        batch_size: as ``samples_of``, like the arguments after it.
        sites: site name to index.
        seed: of the run.
    """
    view, order = means.view, means.view.order_of("val")
    samples = samples_of(means.prepared(real), "val", view=view, batch_size=batch_size, sites=sites, seed=seed)
    if not training.split.val:  # curves of cases that test, by which nothing is chosen
        return samples, order
    made = [
        source.made(training.wanted(name, "val", means), samples.places.size, length=len(samples))
        for name, source in training.makers.items()
    ]
    further = [one for one in made if one is not None]
    return (JoinedSamples([samples, *further]) if further else samples), order


def _check_named(sources: Sequence[Sourced]) -> None:
    """Every class of a view is one that some source is labelled with."""
    layouts: dict[str, MapLayout] = {}
    for source in sources:
        for case in source.cases:
            layouts |= case.maps
        layouts |= {} if source.layout is None else {source.name: source.layout}
    for classes in {tuple(source.view.classes) for source in sources if source.view.classes is not None}:
        check_classes(classes, layouts)


def _check_mixing(sources: Sequence[Sourced], mixing: Alternate | None) -> None:
    """Sources and mixing fit.

    Raises:
        ConfigError: they do not.
    """
    if mixing is not None and len(sources) == 1 < len(mixing.ratio):
        raise ConfigError(
            "data.mixing",
            found=f"{type(mixing).__name__} with the labelled cohort as the only source",
            expected="a source beside it, to be mixed with",
            remedy="leave data.mixing out, or add a source as data.sources.NAME",
        )
    if mixing is not None:
        if [source.name for source in sources].count(COHORT) > 1:
            raise ConfigError(
                "data.datasets",
                found="datasets of several weights, with sources in turn (data.mixing)",
                expected="one weight, since the turns say how often each source comes",
                remedy="leave the weights out",
            )
        return
    if apart := [source.name for source in sources if source.view != sources[0].view or source.made is not None]:
        raise ConfigError(
            "data.mixing",
            found=f"none, with sources that are seen otherwise than the cohort: {apart}",
            expected="one view for all cases of one stream",
            remedy="mix the sources in turn, as sampling.alternate.Alternate does",
        )
