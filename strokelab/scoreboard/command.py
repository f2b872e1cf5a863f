"""``strokelab score`` from end to end: files are found, scored, written and told. Knows the console, no metric."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from strokelab.errors import ConfigError, DataError
from strokelab.files import make_folder
from strokelab.metrics.profiles import find_profile
from strokelab.report.terminal import results_table
from strokelab.scoreboard.entries import (
    Entries,
    entries_of_table,
    matched_entries,
    methods_of,
    with_participants,
)
from strokelab.scoreboard.masks import MaskRule
from strokelab.scoreboard.page import Written, failed_rows, write_scoreboard
from strokelab.scoreboard.references import references_in, references_of
from strokelab.scoreboard.score import Rules, score_entries

_NAMED = 10  # failed rows that the last message names


@dataclass(frozen=True)
class Sources:
    """What is scored, as it is typed."""

    predictions: str | None = None  # file, folder or pattern
    references: str | None = None
    pairs: Path | None = None  # a table instead of both
    dataset: str | None = None  # ``references`` is the folder of this dataset
    name: str | None = None  # of the first method
    beside: Sequence[str] = ()  # NAME=PLACE of further ones
    images: Path | None = None  # scans for the ground under overlays
    participants: Path | None = None
    allow_extra: bool = False


def score_masks(sources: Sources, rules: Rules, out: Path, *, workers: int | None, console: Console) -> Written:
    """Find, score, write and print.

    Args:
        sources: what to score.
        rules: how.
        out: where tables and report go.
        workers: processes; None: one per core.
        console: where progress, results and notes are printed.

    Raises:
        ConfigError: options contradict each other.
        DataError: files do not match or cannot be read, or rows failed; these are written and printed first.
    """
    find_profile(rules.profile)
    found = find_entries(sources, rules)
    make_folder(out)
    scores = score_entries(found.entries, rules, workers=workers, console=console)
    written = write_scoreboard(found, scores, rules, out, command=" ".join(["strokelab", *sys.argv[1:]]))
    methods = list(dict.fromkeys(entry.method for entry in found.entries))
    cases = scores.cases["case"].nunique()
    title = f"{', '.join(methods)}: {cases} cases, profile {rules.profile}"
    console.print(results_table(scores.cases, title=title))
    for note in found.notes:
        console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
    for title, path in (("Cases", written.cases), ("Summary", written.summary), ("Report", written.report)):
        console.print(f"{title + ':':9}{path}", markup=False, highlight=False, soft_wrap=True)
    failed = failed_rows(scores.cases)
    if failed:
        more = f"\n  and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise DataError(
            written.cases,
            found=f"{len(failed)} of {len(scores.cases)} rows failed:\n  " + "\n  ".join(failed[:_NAMED]) + more,
            expected="a prediction and a reference for every case",
            remedy="mend these cases; the others are scored, and every table counts the failed ones",
        )
    return written


def find_entries(sources: Sources, rules: Rules) -> Entries:
    """What is scored, from a table of pairs or by matching names.

    Raises:
        ConfigError: options contradict each other.
        DataError: files are missing or do not match.
    """
    if sources.pairs is not None:
        clashing = [sources.predictions, sources.references, sources.dataset, sources.images, *sources.beside]
        if any(one is not None for one in clashing):
            raise ConfigError(
                "--pairs",
                found="a table of pairs together with folders, --dataset, --images or --beside",
                expected="one of the two ways",
                remedy="put images and further methods into the table: columns image and method",
            )
        found = entries_of_table(sources.pairs, method=sources.name)
    elif sources.predictions is None or sources.references is None:
        raise ConfigError(
            "strokelab score",
            found="no references" if sources.predictions else "nothing to score",
            expected="PREDICTIONS REFERENCES, or --pairs FILE.csv",
            remedy="name two files or folders; strokelab score --help shows everything",
        )
    else:
        methods = methods_of(sources.predictions, sources.name, sources.beside)
        if sources.dataset is None:
            graded = rules.reference.threshold is not None
            references = references_in(sources.references, graded=graded, images=sources.images)
        else:
            _refuse_own_rules(sources, rules)
            references = references_of(sources.dataset, Path(sources.references))
        graded = rules.prediction.threshold is not None
        found = matched_entries(methods, references, graded=graded, allow_extra=sources.allow_extra)
    return found if sources.participants is None else with_participants(found, sources.participants)


def _refuse_own_rules(sources: Sources, rules: Rules) -> None:
    if sources.images is not None or rules.reference != MaskRule():
        raise ConfigError(
            "--dataset",
            found="--images, --reference-threshold or --reference-labels beside it",
            expected="the dataset's own images and its own rule for masks",
            remedy="leave these options away, or leave --dataset away and name the folder of the masks",
        )
