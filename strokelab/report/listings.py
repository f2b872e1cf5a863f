"""What the numbers were made from, row by row: cases, runs, members of a sweep. Knows no statistics and no HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import pandas as pd

from strokelab.files import natural_key
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.report.cells import NOTHING, Cell, Table, count_cell, number_cell
from strokelab.report.material import VOLUMES, Evaluation, RunMaterial, digits, heading
from strokelab.report.summary import MDSC, measured

_SPLITS = {
    "LeaveOneSiteOut": "leave one site out",
    "KFold": "k-fold",
    "SizeBalancedKFold": "size-balanced k-fold",
    "HoldOut": "hold-out",
    "FromFile": "from a file",
    "All": "all cases",
}


class Named(Protocol):
    """A run, as far as its model's name goes."""

    @property
    def model(self) -> str:
        """How tables call its model."""

    @property
    def differs(self) -> str:
        """Settings that tell its model from its namesakes, where its name does not say them."""


def case_table(evaluation: Evaluation, cases: pd.DataFrame) -> Table:
    """Every row of the case table, in natural order of case and run.

    Args:
        evaluation: what to report.
        cases: its cases ``with_sites``.
    """
    several = len(evaluation.runs) > 1
    metrics = measured(cases, (*CASE_METRICS, MDSC, *evaluation.own_metrics, *VOLUMES))
    places = {metric: digits(metric, evaluation.profile, single=True) for metric in metrics}
    extra = [name for name in ("scanner", "fold") if name in cases.columns and cases[name].nunique() > 1]
    rows = cases.to_dict("records")
    rows.sort(key=lambda row: (natural_key(str(row["case"])), natural_key(str(row["run"]))))
    failed = any(_text(row["error"]) for row in rows)
    labels = [*(["run"] if several else []), "site", *extra]
    body = []
    for row in rows:
        cells = [Cell(str(row["case"]), heading=True), *(Cell(str(row[label])) for label in labels)]
        cells += [number_cell(float(row[metric]), places[metric]) for metric in metrics]
        body.append((*cells, *([Cell(_text(row["error"]), words=True)] if failed else [])))
    header = ["Case", *(label.capitalize() for label in labels), *(heading(m, evaluation.profile) for m in metrics)]
    return Table(
        "One row per case and run" if several else "One row per case",
        (*header, *(["Error"] if failed else [])),
        tuple(body),
        sortable=True,
    )


def run_list(evaluation: Evaluation) -> Table:
    """Where every number comes from, and in what models differ whose names do not say it."""
    rows = tuple(
        (
            Cell(run.name, heading=True),
            Cell(run.model),
            Cell(run.dataset),
            Cell(_split(run) or NOTHING, words=True),
            Cell(", ".join(run.sites) or NOTHING),
            Cell(NOTHING) if run.seed is None else count_cell(run.seed),
            count_cell(run.cases["case"].nunique()),
            Cell(run.folder or NOTHING),
        )
        for run in evaluation.runs
    )
    header = ("Run", "Model", "Trained on", "Split", "Training sites", "Seed", "Cases", "Folder")
    return Table("Runs", header, rows, notes=namesakes(evaluation.runs), name="runs")


def namesakes(runs: Sequence[Named]) -> tuple[str, ...]:
    """One line a model that a folder tells from its namesakes: the settings in which they differ."""
    return tuple(dict.fromkeys(f"{run.model}: {run.differs}" for run in runs if run.differs))


def member_list(evaluation: Evaluation) -> Table | None:
    """Every member of the sweep with what became of it, those without a result first; None without a sweep."""
    if not evaluation.members:
        return None
    ordered = sorted(evaluation.members, key=lambda member: (member.state == "finished", natural_key(member.name)))
    rows = tuple(
        (
            Cell(member.name, heading=True),
            Cell(member.state),
            Cell(member.overrides or NOTHING, words=True),
            Cell(member.error or NOTHING, words=True),
        )
        for member in ordered
    )
    return Table("Members of the sweep", ("Member", "State", "Overrides", "Error"), rows, name="members")


def _split(run: RunMaterial) -> str:
    words = _SPLITS.get(run.split, run.split)
    if words and run.held_out_site is not None and "held out" not in words:
        return f"{words}, site {run.held_out_site} held out"
    return words


def _text(value: object) -> str:
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    return "" if missing else str(value)
