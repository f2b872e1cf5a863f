"""Results by lesion size: quarters of the cases, and fixed bins (Tomita et al. 2020, table 4). Knows no HTML."""

from __future__ import annotations

import pandas as pd

from strokelab.report.cells import Cell, Table, count_cell, further, plain_number, with_infinity
from strokelab.report.material import Evaluation, digits, heading
from strokelab.report.results import bootstrap_note
from strokelab.report.summary import CLUSTER, HEADLINE, RESAMPLES, SEED, measured
from strokelab.statistics.aggregate import has_failed
from strokelab.statistics.bootstrap import format_interval
from strokelab.statistics.strata import EMPTY, UNKNOWN, by_size_bin, by_size_quartile, stratified

_VOLUME = "lesion_ml"


def size_tables(evaluation: Evaluation, cases: pd.DataFrame) -> list[Table]:
    """By quarters of the cases and by fixed bins in ml; none where no case was scored or no volume is known.

    Args:
        evaluation: what to report.
        cases: its cases ``with_sites``.
    """
    if not measured(cases, HEADLINE) or not measured(cases, [_VOLUME]):
        return []
    quarters, bins = by_size_quartile(cases, volume=_VOLUME), by_size_bin(cases, volume=_VOLUME)
    note = "Quarters of the cases by reference volume; sizes of the quarters differ by one case at most."
    edges = "Bins hold their lower edge: 1-5 ml holds 1 ml and not 5 ml."
    return [
        _table(evaluation, cases.assign(size=quarters), "By quarter of lesion size", note, name="by_size_quartile"),
        _table(evaluation, cases.assign(size=bins), "By lesion volume", edges, name="by_size_bin"),
    ]


def _table(evaluation: Evaluation, cases: pd.DataFrame, caption: str, note: str, *, name: str) -> Table:
    metrics = measured(cases, HEADLINE)
    found = stratified(cases, metrics, by=["model"], volume=_VOLUME, cluster=CLUSTER, resamples=RESAMPLES, seed=SEED)
    models, sizes = evaluation.models, list(cases["size"].cat.categories)
    found = found[found["statistic"] == "mean"]
    groups = {
        (sizes.index(str(size)), models.index(str(model))): own
        for (size, model), own in found.groupby(["size", "model"], observed=True)
    }
    rows = []
    for (size, model), lines in sorted(groups.items(), key=lambda pair: pair[0]):
        own = {line["metric"]: line for _, line in lines.iterrows()}
        cells = [Cell(sizes[size], heading=True), Cell(models[model]), *_described(lines.iloc[0])]
        rows.append((*cells, *(_interval(own[metric], digits(metric, evaluation.profile)) for metric in metrics)))
    notes = [note, bootstrap_note(cases)]
    if (cases["size"] == EMPTY).any():
        notes.append("Cases without a lesion in the reference stand apart: they score 1 or 0 by convention.")
    if (cases["size"] == UNKNOWN).any():
        notes.append(f"Size unknown: no run of the case could be scored ({int(has_failed(cases).sum())} failed rows).")
    header = ("Lesion size", "Model", "Cases", "Volume (ml)", *(heading(m, evaluation.profile) for m in metrics))
    return Table(f"{caption}: mean (95 % CI)", header, tuple(rows), notes=tuple(notes), name=name)


def _described(line: pd.Series) -> list[Cell]:
    failed = int(line["failed"])
    number = count_cell(int(line["cases"]))
    low, high = float(line["ml_min"]), float(line["ml_max"])
    ends = [plain_number(end, 2) for end in (low, high)]
    text = ends[0] if ends[0] == ends[1] else f"{ends[0]}–{ends[1]}"
    volume = Cell(text, None if pd.isna(low) else low, further=further(high=high))
    what = "failed" if line["rows"] == line["cases"] else f"of {line['rows']} rows failed"
    return [Cell(f"{number.text} ({failed} {what})", number.number) if failed else number, volume]


def _interval(line: pd.Series, places: int) -> Cell:
    # Failed rows stand once, beside the number of cases.
    estimate = float(line["estimate"])
    text = format_interval(pd.concat([line.drop("failed"), pd.Series({"failed": 0})]), places)
    ends = further(low=float(line["low"]), high=float(line["high"]))
    return Cell(with_infinity(text), None if pd.isna(estimate) else estimate, further=ends)
