"""Runs whose scores may look better than they are, in words. Knows what runs say of their training; scores nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from strokelab import runs
from strokelab.evaluation.entries import Entry


def doubts(entries: Sequence[Entry], part: str) -> tuple[str, ...]:
    """What a reader of the tables must know of their runs, one sentence per reason.

    Args:
        entries: the runs that are evaluated.
        part: of their splits, ``"test"`` or another.
    """
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        pseudo: Any = (entry.settings.get("cohort") or {}).get("pseudo_labels")
        tested = set(entry.split.test) & {case.case_id for case in entry.cohort.cases}
        if not entry.split.train and not entry.split.val:
            reasons.setdefault("nobody wrote down whom it was trained on; it may have seen these cases", []).append(
                entry.label
            )
        elif part == "test" and tested and isinstance(pseudo, dict) and pseudo.get("honest") is False:
            reasons.setdefault("it learned from masks by models that had seen its test cases", []).append(entry.label)
        if part == "test" and tested & runs.trained_on_test(entry.folder):
            reasons.setdefault("it started from weights that its test cases had trained", []).append(entry.label)
        if part == "test" and tested and entry.tuning and entry.tuning.tested:
            words = "its threshold and smallest component were found on cases that it is tested on"
            reasons.setdefault(words, []).append(entry.label)
        if said := runs.nothing_found(entry.folder):
            reasons.setdefault(said, []).append(entry.label)
    return tuple(f"{', '.join(labels)}: {reason}." for reason, labels in reasons.items())
