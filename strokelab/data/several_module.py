"""``data=several``: the datamodule of several datasets, split each by itself, sampled by weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from strokelab.buildable import buildable
from strokelab.contract import Case
from strokelab.data import SEVERAL
from strokelab.data.datamodule import CohortDataModule, SplitRule
from strokelab.data.several import members_of
from strokelab.data.sources import Training
from strokelab.data.split_file import Split
from strokelab.data.subjects import Volumes
from strokelab.phantoms.naming import is_phantom


@dataclass(frozen=True)
class EachDataset:
    """A rule of splitting applied to each dataset by itself; those that share subjects are split together.

    Args:
        rule: one that says ``whole`` divides all cases at once: by their sites, or by a file.
    """

    rule: SplitRule

    def __call__(self, cases: Sequence[Case], volumes: Volumes | None = None) -> Split:
        """Split all datasets.

        Raises:
            StrokelabError: as the rule does.
        """
        if getattr(self.rule, "whole", False):
            return self.rule(cases, volumes)
        part: dict[str, str] = {}
        for group in _apart(cases):
            own = self.rule(group, volumes)
            part |= {case_id: name for name in ("train", "val", "test") for case_id in getattr(own, name)}
        return Split.of(cases, part)


@buildable(training="data")
class Several(CohortDataModule):
    """Several datasets in one training.

    Args:
        datasets: names, or name -> settings of each (``several.members_of``).
        modalities: the channels, by names that each dataset has or names in ``contrasts``.
        root: below which datasets without a root of their own lie.
        **settings: as ``CohortDataModule``.
    """

    def __init__(
        self,
        datasets: Sequence[str] | Mapping[str, Any],
        modalities: Sequence[str],
        root: str | Path = "data",
        **settings: Any,
    ) -> None:
        self.members = members_of(datasets, Path(root).expanduser().resolve())
        options = {"datasets": {one.name: one.plain() for one in self.members}, **(settings.pop("options", None) or {})}
        super().__init__(SEVERAL, root, modalities, options=options, **settings)
        if self.split is not None:
            self.split = EachDataset(self.split)

    @cached_property
    def training(self) -> Training:
        """As ``CohortDataModule``; cases of the cohort have the weights of their datasets."""
        weights = {member.name: member.weight for member in self.members}
        training = super().training
        training.weights = {case.case_id: weights[str(case.meta["dataset"])] for case in self.cases}
        return training

    def describe(self) -> dict[str, Any]:
        """As ``CohortDataModule``; synthetic where all datasets are."""
        return super().describe() | {"phantom": all(is_phantom(member.root) for member in self.members)}

    def _root(self) -> Path:
        return Path(self.root or ".").expanduser().resolve()


def _apart(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases of each dataset; of datasets that share a subject together, in the order of the cases."""
    group: dict[str, int] = {}
    for case in cases:
        group.setdefault(str(case.meta["dataset"]), len(group))
    first: dict[str, str] = {}
    for case in cases:
        name = str(case.meta["dataset"])
        low, high = sorted((group[name], group[first.setdefault(case.subject_id, name)]))
        if low != high:
            group |= {one: low for one, number in group.items() if number == high}
    return [
        [case for case in cases if group[str(case.meta["dataset"])] == number] for number in sorted({*group.values()})
    ]
