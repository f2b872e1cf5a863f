"""``strokelab score`` from end to end: files are found, scored, written and told. Knows the console, no metric."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from strokelab.errors import ConfigError, DataError
from strokelab.files import make_folder
from strokelab.metrics.profiles import CASE_METRICS, find_profile
from strokelab.report.terminal import results_table
from strokelab.scoreboard.entries import (
    Entries,
    entries_of_table,
    matched_entries,
    methods_of,
    with_participants,
)
from strokelab.scoreboard.masks import about_grids
from strokelab.scoreboard.page import Written, failed_rows, write_scoreboard
from strokelab.scoreboard.references import references_in, references_of
from strokelab.scoreboard.score import Rules, score_entries
from strokelab.scoring.tables import Scores
from strokelab.statistics.aggregate import has_failed, summarize, tally

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
    found, scores, written = scored(sources, rules, out, workers=workers, console=console)
    methods = list(dict.fromkeys(entry.method for entry in found.entries))
    title = f"{', '.join(methods)}: {tally(scores.cases.drop_duplicates('case'))}, profile {rules.profile}"
    console.print(results_table(scores.cases, title=title))
    for note in (*(f"Note: {note}" for note in found.notes), *about_grids(scores.cases)):
        console.print(
            note if note.startswith("Warning:") else f"Note: {note}", markup=False, highlight=False, soft_wrap=True
        )
    for title, path in (("Cases", written.cases), ("Summary", written.summary), ("Report", written.report)):
        console.print(f"{title + ':':9}{path}", markup=False, highlight=False, soft_wrap=True)
    refuse_failed(scores, written)
    return written


def scored(
    sources: Sources, rules: Rules, out: Path, *, workers: int | None, console: Console
) -> tuple[Entries, Scores, Written]:
    """Find, score and write; what was found, what came out, and the files.

    Raises:
        ConfigError: as ``score_masks``.
        DataError: files do not match or cannot be read.
    """
    find_profile(rules.profile)
    found = find_entries(sources, rules)
    make_folder(out)
    scores = score_entries(found.entries, rules, workers=workers, console=console)
    return found, scores, write_scoreboard(found, scores, rules, out, command=" ".join(["strokelab", *sys.argv[1:]]))


def refuse_failed(scores: Scores, written: Written) -> None:
    """Raise when rows failed.

    Raises:
        DataError: naming the first of them.
    """
    failed = failed_rows(scores.cases)
    if failed:
        more = f"\n  and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        raise DataError(
            written.cases,
            found=f"{len(failed)} of {len(scores.cases)} rows failed:\n  " + "\n  ".join(failed[:_NAMED]) + more,
            expected="a prediction and a reference for every case",
            remedy="mend these cases; the others are scored, and every table counts the failed ones",
        )


def as_json(found: Entries, scores: Scores, rules: Rules, written: Written) -> dict[str, Any]:
    """What ``strokelab score --json`` prints (``docs/json.md``): means per method, one row per case, notes, files."""
    cases = scores.cases
    metrics = [name for name in CASE_METRICS if name in cases.columns]
    lines = summarize(cases, metrics, by=["run"]).to_dict("records") if metrics else []
    methods = [
        {
            "name": name,
            "cases": tally(cases[cases["run"] == name]).cases,
            "failed": int(has_failed(cases[cases["run"] == name]).sum()),
            "metrics": {
                str(line["metric"]): {key: line[key] for key in ("n", "mean", "sd", "median", "infinite", "undefined")}
                for line in lines
                if line["run"] == name
            },
        }
        for name in dict.fromkeys(cases["run"])
    ]
    files = {"cases": written.cases, "summary": written.summary, "report": written.report}
    return {
        "profile": rules.profile,
        "methods": methods,
        "cases": cases.to_dict("records"),
        "notes": [*found.notes, *about_grids(cases)],
        "files": {name: str(path) for name, path in files.items()},
    }


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
            references = references_of(sources.dataset, Path(sources.references), values=rules.reference.labels)
        graded = rules.prediction.threshold is not None
        found = matched_entries(methods, references, graded=graded, allow_extra=sources.allow_extra)
    return found if sources.participants is None else with_participants(found, sources.participants)


def _refuse_own_rules(sources: Sources, rules: Rules) -> None:
    if sources.images is not None or rules.reference.threshold is not None:
        raise ConfigError(
            "--dataset",
            found="--images or --reference-threshold beside it",
            expected="the dataset's own images and its own rule for masks, or --reference-labels",
            remedy="leave these options away, or leave --dataset away and name the folder of the masks",
        )
