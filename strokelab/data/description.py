"""A cohort and its use in words and numbers, for the run folder. Knows cases and parts; opens no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from strokelab.contract import Case
from strokelab.data.making import Maker
from strokelab.data.sources import Training
from strokelab.data.split_file import PARTS


def described_use(cohort: Sequence[Case], training: Training | None, sites: Mapping[str, int]) -> dict[str, Any]:
    """How many cases train, validate and test, and how many scans of each site train; nothing where none is split.

    Args:
        cohort: the labelled cases.
        training: who trains, of which source.
        sites: the training sites, in their order.
    """
    if training is None:
        return {"cases": {}, "training_scans": {}}
    split = training.split
    train = set(split.train)
    scans = [case.site for case in (*cohort, *training.further) if case.case_id in train]
    use: dict[str, Any] = {"cases": {part: len(getattr(split, part)) for part in PARTS}}
    for name, source in training.sources.items():
        told = replace(split, train=training.own) if isinstance(source, Maker) else split
        use |= source.described(told, training.cases[name])
    return use | {"training_scans": {site: scans.count(site) for site in sites}}
