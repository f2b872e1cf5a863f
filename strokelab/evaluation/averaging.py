"""Which runs make an ensemble, and which of them count for a case. Reads nothing and predicts nothing.

In cross-validation a case is averaged over the runs that tested it, so that no member has seen it; of data that no
run trained on, over all. Both follow from one rule: the members of a case are the runs that are evaluated on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from strokelab.configuration import Settings
from strokelab.contract import Case
from strokelab.errors import ConfigError
from strokelab.evaluation.entries import Entry
from strokelab.runs.ensemble import WEIGHTS, Weights

PLAIN = "plain"
"""The row that bears the ensemble's own name; the others add theirs."""


@dataclass(frozen=True)
class Averaging:
    """How runs are averaged: the settings of ``conf/ensemble``.

    Args:
        name: of the rows in tables.
        rows: name -> post-processing node; every row is scored from the same mean map.
        schemes: the models that are averaged, as tables call them; None: all that are evaluated.
        weights: see ``runs.load_ensemble``.
        missing: what becomes of a case for which a scheme has fewer runs than another.
        alone: leave the members' own rows out.
        disagreement: save the members' standard deviation with predictions.
        memory_gb: see ``runs.load_ensemble``.

    Raises:
        ConfigError: no row, or a choice that does not exist.
    """

    name: str
    rows: Mapping[str, Mapping[str, Any]]
    schemes: Sequence[str] | None = None
    weights: Weights = "per_map"
    missing: Literal["refuse", "report"] = "refuse"
    alone: bool = False
    disagreement: bool = False
    memory_gb: float = 4.0

    def __post_init__(self) -> None:
        for key, choices in (("weights", WEIGHTS), ("missing", ("refuse", "report"))):
            if getattr(self, key) not in choices:
                raise ConfigError(
                    f"ensemble.{key}",
                    found=repr(getattr(self, key)),
                    expected=f"one of {', '.join(choices)}",
                    remedy=f"set ensemble.{key}={choices[0]}",
                )
        if not self.rows or not all(isinstance(node, Mapping) and "_target_" in node for node in self.rows.values()):
            raise ConfigError(
                "ensemble.rows",
                found=str(self.rows),
                expected="names with a post-processing each",
                remedy="choose one by postprocess@ensemble.rows.plain=threshold",
            )

    def label(self, row: str) -> str:
        """How tables call a row."""
        return self.name if row == PLAIN else f"{self.name} + {row}"


@dataclass(frozen=True)
class CaseRuns:
    """A case and the runs whose mean it gets."""

    case: Case
    members: tuple[Entry, ...]


@dataclass(frozen=True)
class Assignment:
    """Every case of an ensemble with its members, in the order the runs name them."""

    entries: tuple[Entry, ...]
    cases: tuple[CaseRuns, ...]
    notes: tuple[str, ...] = ()
    checkpoints: str = "1"  # of each run

    @property
    def words(self) -> str:
        """Of how many runs each case is the mean, e.g. ``"mean of 4 of 20 runs"``."""
        counts = sorted({len(one.members) for one in self.cases})
        each = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        of_all = f" of {len(self.entries)}" if counts != [len(self.entries)] else ""
        several = f", {self.checkpoints} checkpoints of each" if self.checkpoints != "1" else ""
        return f"mean of {each}{of_all} runs{several}"


def assign(entries: Sequence[Entry], averaging: Averaging, checkpoints: str = "1") -> Assignment:
    """Who is averaged for which case.

    Args:
        entries: the runs that are evaluated.
        averaging: how.
        checkpoints: how many of each run, e.g. ``2`` or ``2 to 3``.

    Raises:
        ConfigError: a scheme is not among the runs, no run has its data here, or, unless it is only to be reported,
            a scheme has fewer runs of a case than another.
    """
    chosen = _chosen(entries, averaging)
    members: dict[tuple[str, str], list[Entry]] = {}
    cases: dict[tuple[str, str], Case] = {}
    for entry in chosen:
        for case in entry.cohort.cases:
            key = (case.dataset, case.case_id)
            cases.setdefault(key, case)
            members.setdefault(key, []).append(entry)
    away = [entry for entry in chosen if not entry.cohort.cases]
    if away:
        raise ConfigError(
            away[0].folder,
            found=f"no data at {away[0].cohort.absent}",
            expected="the scans: the mean is made of maps, not of scores",
            remedy="restore the data, or name a dataset with data=...",
        )
    planned = tuple(CaseRuns(case, tuple(members[key])) for key, case in cases.items())
    gaps = _gaps(chosen, planned)
    if gaps and averaging.missing == "refuse":
        raise ConfigError(
            f"ensemble {averaging.name}",
            found="; ".join(gaps),
            expected="as many runs of every scheme for every case",
            remedy="train what is missing (strokelab sweep DIR --resume), name whole schemes with "
            "ensemble.schemes=[...], or average what there is with ensemble.missing=report",
        )
    gaps += _folds_without_run(chosen)
    assignment = Assignment(tuple(chosen), planned, checkpoints=checkpoints)
    said = (
        f"{averaging.name}: every case is the {assignment.words}, those that are evaluated on it ({averaging.weights})."
    )
    return replace(assignment, notes=(said, *(f"{averaging.name}: {gap}." for gap in gaps)))


def shared(settings: Sequence[Settings], *keys: str) -> Any:
    """The value of a nested setting where all have the same, else None."""
    values = []
    for node in settings:
        value: Any = node
        for key in keys:
            value = (value or {}).get(key)
        values.append(value)
    return values[0] if values and all(value == values[0] for value in values) else None


def _chosen(entries: Sequence[Entry], averaging: Averaging) -> list[Entry]:
    if averaging.schemes is None:
        return list(entries)
    known = list(dict.fromkeys(entry.model for entry in entries))
    unknown = [name for name in averaging.schemes if name not in known]
    if unknown or not averaging.schemes:
        raise ConfigError(
            "ensemble.schemes",
            found=", ".join(unknown) or "none",
            expected=f"some of the models that are evaluated: {', '.join(known)}",
            remedy="correct the names, or leave ensemble.schemes out to average all",
        )
    return [entry for entry in entries if entry.model in averaging.schemes]


def _gaps(entries: Sequence[Entry], planned: Sequence[CaseRuns]) -> list[str]:
    """Which scheme lacks runs of which cases, in words."""
    schemes = list(dict.fromkeys(entry.model for entry in entries))
    lacking: dict[str, list[CaseRuns]] = {}
    for one in planned:
        counts = Counter(entry.model for entry in one.members)
        most = max(counts.values())
        for scheme in schemes:
            if counts[scheme] < most:
                lacking.setdefault(scheme, []).append(one)
    return [
        f"{scheme} has fewer runs than other schemes for {len(cases)} of {len(planned)} cases, first "
        f"{cases[0].case.case_id} (run by {_runs(cases[0].members)})"
        for scheme, cases in lacking.items()
    ]


def _folds_without_run(entries: Sequence[Entry]) -> list[str]:
    """Folds of the cross-validations that no run is of: their cases are in no row, or have fewer members."""
    splits = [entry.settings.get("split") or {} for entry in entries]
    there = {split.get("fold") for split in splits}
    folds = {split.get("folds") for split in splits}
    (count,) = folds if len(folds) == 1 else (None,)
    missing = sorted(set(range(count)) - there) if isinstance(count, int) else []
    words = ", ".join(map(str, missing))
    return [f"no run of fold {words} of {count}"] if missing else []


def _runs(members: Sequence[Entry]) -> str:
    folds = [(member.settings.get("split") or {}).get("fold") for member in members]
    return ", ".join(
        f"{member.model} fold {fold}" if fold is not None else member.label
        for member, fold in zip(members, folds, strict=True)
    )
