"""Which cases of a dataset a training looks at, labelled or not. Knows readers; opens no image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.data.cohort_checks import check_modalities, check_not_empty, of_sites
from strokelab.data.subjects import first_subjects


@dataclass(frozen=True)
class CaseFilter:
    """The settings that choose cases.

    Args:
        dataset: a reader's name.
        modalities: that every case must have.
        options: the reader's own; those that are None are its defaults.
        exclude: case or subject ids to leave out.
        labelled_only: leave out cases without a lesion mask.
        only_sites: keep the cases of these sites alone; None = all.
        limit_per_site: only the first subjects of each site; None = all.
    """

    dataset: str
    modalities: tuple[str, ...]
    options: Mapping[str, Any]
    exclude: tuple[str, ...] = ()
    labelled_only: bool = False
    only_sites: Sequence[str] | None = None
    limit_per_site: int | None = None

    @property
    def reader_options(self) -> dict[str, Any]:
        """The reader's options as chosen, with what the other settings add to them."""
        chosen = {name: value for name, value in self.options.items() if value is not None}
        if self.exclude:
            chosen["exclude"] = list(self.exclude)
        if self.dataset in ("bids", "folder"):  # which images there are is for the user to say
            chosen.setdefault("modalities", list(self.modalities))
        return chosen

    def cases(self, root: Path) -> list[Case]:
        """The cohort in a folder, without what was left out.

        Raises:
            DataError: the folder holds no such dataset, nothing is left, a case is incomplete or lacks a modality.
            ConfigError: an unknown dataset, option, site or excluded id.
        """
        cases: list[Case] = read_cases(self.dataset, root, **self.reader_options)
        cases = [case for case in cases if case.labelled or not self.labelled_only]
        cases = self._limited(cases if self.only_sites is None else of_sites(cases, self.only_sites))
        check_not_empty(cases, root)
        check_modalities(cases, self.modalities)
        return cases

    def unlabelled(self, root: Path) -> list[Case]:
        """The cases without a lesion mask, also where the release keeps them apart; there may be none.

        Raises:
            DataError: as ``cases``, but where nothing is left.
        """
        cases: list[Case] = read_cases(self.dataset, root, **self.reader_options | _unlabelled_too(self.dataset))
        cases = [case for case in cases if not case.labelled]
        cases = self._limited([case for case in cases if self.only_sites is None or case.site in self.only_sites])
        check_modalities(cases, self.modalities)
        return cases

    def _limited(self, cases: list[Case]) -> list[Case]:
        return cases if self.limit_per_site is None else first_subjects(cases, self.limit_per_site)


def _unlabelled_too(dataset: str) -> dict[str, Any]:
    """By which options a reader reads the cases without masks as well; none where that is what it does."""
    if dataset in ("atlas_v2", "isles2015_siss", "isles2015_spes"):
        return {"subset": "all"}
    return {"include_unlabelled": True} if dataset in ("atlas_v1", "isles2022") else {}
