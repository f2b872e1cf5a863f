"""A cohort and its use in words and numbers, for the run folder. Knows cases and parts; opens no file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from strokelab.contract import Case
from strokelab.data.pseudo import PseudoLabels
from strokelab.data.split_file import PARTS, Split


def described_use(
    cases: Iterable[Case], split: Split | None, sites: Mapping[str, int], *, pseudo: PseudoLabels | None
) -> dict[str, Any]:
    """How many cases train, validate and test, and how many scans of each site train; nothing where none is split.

    Args:
        cases: the labelled and the pseudo-labelled.
        split: of them.
        sites: the training sites, in their order.
        pseudo: by which masks they were joined.
    """
    if split is None:
        return {"cases": {}, "training_scans": {}}
    train = set(split.train)
    trained: Sequence[Case] = [case for case in cases if case.case_id in train]
    scans = [case.site for case in trained]
    use: dict[str, Any] = {"cases": {part: len(getattr(split, part)) for part in PARTS}}
    if pseudo is not None:
        labels = pseudo.chosen(split)
        own = [case for case in trained if "pseudo" in case.meta]
        use["pseudo_labels"] = {
            "masks": labels.name,
            "cases": len(own),
            "teachers": list(labels.teachers),
            "honest": labels.is_honest_for(split),  # or its test cases are known to who drew the masks
        }
    return use | {"training_scans": {site: scans.count(site) for site in sites}}
