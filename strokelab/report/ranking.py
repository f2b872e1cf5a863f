"""Who comes first over all metrics, and how firmly: the challenge-style ranking as a table. Knows no HTML."""

from __future__ import annotations

import pandas as pd

from strokelab.metrics.profiles import METRICS
from strokelab.report.cells import Cell, Table, counted, number_cell, plain_number
from strokelab.report.material import Evaluation
from strokelab.report.summary import CLUSTER, HEADLINE, RESAMPLES, SEED, measured
from strokelab.statistics.ranking import rank


def ranking_table(evaluation: Evaluation, cases: pd.DataFrame) -> Table | None:
    """Mean rank, place and its stability under the bootstrap; None for one model, or where they share no case.

    Args:
        evaluation: what to report.
        cases: its cases ``with_sites``.
    """
    metrics = measured(cases, HEADLINE)
    if len(evaluation.models) < 2 or not metrics:
        return None
    found = rank(cases, metrics, cluster=CLUSTER, resamples=RESAMPLES, seed=SEED)
    if not found["cases"].iloc[0]:
        return None
    rows = []
    for _, line in found.iterrows():
        rows.append(
            (
                Cell(str(line["model"]), heading=True),
                number_cell(float(line["place"]), 0 if float(line["place"]).is_integer() else 1),
                number_cell(float(line["mean_rank"]), 2),
                *(number_cell(float(line[f"rank_{metric}"]), 2) for metric in metrics),
                _range(float(line["place_low"]), float(line["place_high"])),
                _percent(float(line["holds_place"])),
                _percent(float(line["first_share"])),
            )
        )
    header = ("Model", "Place", "Mean rank", *(f"Rank by {METRICS[metric].title}" for metric in metrics))
    return Table(
        f"Ranking on the {counted(int(found['cases'].iloc[0]), 'case')} that every model has",
        (*header, "Place, 95 % interval", "Holds its place", "In first place"),
        tuple(rows),
        notes=_notes(found),
        name="ranking",
    )


def _notes(found: pd.DataFrame) -> tuple[str, ...]:
    notes = [
        "Models are ranked within each case (1 = best, ties share the mean rank), ranks are averaged over cases, then "
        "over metrics. A model that failed on a case is last there; an infinite distance is worse than any finite one.",
        f"Stability: {RESAMPLES} bootstrap resamples of the cases, seed {SEED}.",
    ]
    for column, words in (("not_shared", "not ranked because another model lacks them"), ("failed", "failed")):
        if found[column].any():
            named = (f"{model} {number}" for model, number in zip(found["model"], found[column], strict=True) if number)
            notes.append(f"Cases {words}: {', '.join(named)}.")
    return tuple(notes)


def _range(low: float, high: float) -> Cell:
    ends = [plain_number(end, 0 if end.is_integer() else 1) for end in (low, high)]
    return Cell(ends[0] if ends[0] == ends[1] else f"{ends[0]}–{ends[1]}", low)


def _percent(share: float) -> Cell:
    return Cell(f"{100 * share:.0f} %", share)
