"""What a source is asked for that makes its samples instead of giving cases. Knows cases and views; makes nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from strokelab.contract import Case, MapLayout
from strokelab.data.samples import SampleSet
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import StoredCase
from strokelab.sampling.boxes import Part, Size
from strokelab.view import View

Prepare = Callable[[Sequence[Case], Preparation], list[StoredCase]]
"""Brings cases of any cohort onto the grid of a preparation, or finds them in the store."""


@dataclass(frozen=True)
class Means:
    """What sources are made to samples with.

    Args:
        view: of the cohort.
        cases: all there are, by id.
        prepare: these, or others.
        store: folder of the prepared store.
        seed: of the run.
        workers: processes that prepare.
    """

    view: View
    cases: Mapping[str, Case]
    prepare: Prepare
    store: Path
    seed: int
    workers: int = 1

    def prepared(self, ids: Sequence[str]) -> list[StoredCase]:
        """Cases by id, on the grid of the view."""
        return self.prepare([self.cases[case_id] for case_id in ids], self.view.preparation)


@dataclass(frozen=True)
class Wanted:
    """Whose samples a source is to make.

    Args:
        part: training or validation.
        cases: the cohort's labelled cases of this part.
        aside: its cases that validate or test.
        means: to prepare them with.
        seed: of the stream of samples.
    """

    part: Part
    cases: Sequence[Case]
    aside: Sequence[Case]
    means: Means
    seed: int


@runtime_checkable
class Maker(Protocol):
    """A ``sources.Source`` that makes samples (``data.synthetic``)."""

    def labels(self) -> MapLayout:
        """The classes that its samples are labelled with, beside background and lesion."""

    def check(self, wanted: Wanted) -> None:
        """Before training: all that its samples are made of is there, and fits.

        Raises:
            StrokelabError: it does not.
        """

    def made(self, wanted: Wanted, size: Size, *, length: int | None = None) -> SampleSet | None:
        """Its samples, in the form of the cohort's.

        Args:
            wanted: whose.
            size: voxels of a sample along (x, y, z); 1 along an axis: slices.
            length: samples of an epoch, where its settings do not say; None: as many as are asked for.

        Returns:
            None: it makes none for validation.
        """
