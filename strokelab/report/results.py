"""What came out: mean ± SD per model, site, scanner, fold and run, and intervals. Knows no test and no HTML."""

from __future__ import annotations

import numpy as np
import pandas as pd

from strokelab.files import natural_key
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.report.cells import NOTHING, Cell, Table, count_cell, counted, further, with_infinity
from strokelab.report.material import Evaluation, digits, heading
from strokelab.report.outside import outside_notes
from strokelab.report.summary import CLUSTER, HEADLINE, MDSC, MDSC_COMMON, RESAMPLES, SEED, lines_of, told_apart
from strokelab.statistics.aggregate import format_mean_sd, has_failed, tally
from strokelab.statistics.bootstrap import MICRO_DICE, format_interval

_GROUP_TITLES = {"site": "Site by site", "scanner": "Scanner by scanner", "fold": "Fold by fold", "run": "Run by run"}
_SHARES = {MICRO_DICE: "Micro-Dice", MDSC: "Maximal Dice", MDSC_COMMON: "Maximal Dice, one threshold"}


def result_tables(evaluation: Evaluation, cases: pd.DataFrame, summary: pd.DataFrame) -> list[Table]:
    """Mean ± SD per model; then by site, scanner, fold and run where there are several.

    Args:
        evaluation: what to report.
        cases: its cases ``with_sites``.
        summary: its ``summary_table``.
    """
    tables = [_per_model(evaluation, cases, summary)]
    for key in _GROUP_TITLES:
        several_runs = len(evaluation.runs) > len(evaluation.models)
        if several_runs if key == "run" else told_apart(cases, key):
            tables.append(_per_group(evaluation, cases, summary, key))
    return tables


def interval_table(evaluation: Evaluation, cases: pd.DataFrame, summary: pd.DataFrame) -> Table:
    """Every metric with its 95 % bootstrap interval, one column per model; arguments as ``result_tables``."""
    lines = lines_of(summary, "model")
    known = {metric for _, _, metric in lines}
    rows = []
    for metric in ("dice", *_SHARES, *CASE_METRICS[1:], *evaluation.own_metrics):
        if metric not in known:
            continue
        own = [lines.get((model, model, metric)) for model in evaluation.models]
        title = f"{_SHARES[metric]}\u00a0↑" if metric in _SHARES else heading(metric, evaluation.profile)
        places = 3 if metric in _SHARES else digits(metric, evaluation.profile)
        rows.append((Cell(title, heading=True), *(_interval(line, places) for line in own)))
        if any(line is not None and line["infinite"] for line in own):
            title = f"{title[:-2]}, median{title[-2:]}"
            rows.append((Cell(title, heading=True), *(_interval(_median(line), places) for line in own)))
    return Table(
        "Mean and its 95 % bootstrap interval, over cases",
        ("Metric", *evaluation.models),
        tuple(rows),
        notes=_interval_notes(cases, known),
        name="intervals",
    )


def case_notes(cases: pd.DataFrame) -> list[str]:
    """What a reader has to know about the rows behind every mean: empty references, infinite distances, failures."""
    notes = []
    if (infinite := int(np.isinf(cases[["hd", "hd95", "assd"]].to_numpy(dtype=float)).any(axis=1).sum())) > 0:
        notes.append(
            "A surface distance is infinite when one of the two masks is empty "
            f"({counted(infinite, 'row')} here): means are over finite values, the number of infinite ones stands "
            "beside them."
        )
    if (empty := int((cases["lesion_ml"] == 0).sum())) > 0:
        notes.append(
            f"{counted(empty, 'row')} without a lesion in the reference "
            f"({counted(cases.loc[cases['lesion_ml'] == 0, 'case'].nunique(), 'case')}): scored 1 when nothing was "
            "predicted, else 0."
        )
    if (failed := int(has_failed(cases).sum())) > 0:
        notes.append(f"{counted(failed, 'row')} could not be scored; no mean, interval or test contains them.")
    return notes


def bootstrap_note(cases: pd.DataFrame) -> str:
    """How the intervals of a table were made."""
    good = cases[~has_failed(cases)]
    known = good[CLUSTER].notna()
    text = (
        f"95 % bootstrap intervals: {RESAMPLES} resamples, seed {SEED}; all rows of one subject are sampled together "
        f"({counted(len(good), 'row')} of {counted(good.loc[known, CLUSTER].nunique(), 'subject')})"
    )
    alone = good.loc[~known, "case"].nunique()
    return text + (f"; {counted(alone, 'case')} of unknown subject by themselves." if alone else ".")


def _per_model(evaluation: Evaluation, cases: pd.DataFrame, summary: pd.DataFrame) -> Table:
    lines = lines_of(summary, "model")
    units = ("site", "fold") if told_apart(cases, "fold") else ("site",)
    rows = []
    for model in evaluation.models:
        runs = sum(run.model == model for run in evaluation.runs)
        cells = [Cell(model, heading=True), count_cell(runs), _cases(cases[cases["model"] == model])]
        values = [_mean_sd(lines[model, model, metric], metric, evaluation.profile) for metric in HEADLINE]
        over = [_mean_sd(lines[model, model, "dice"], "dice", evaluation.profile, over=unit) for unit in units]
        rows.append((*cells, *values, *over))
    notes = ["SD is the sample SD (n - 1). ↑ higher is better, ↓ lower is better."]
    if cases.duplicated(["model", "case"]).any():
        notes.append("A case that several runs of a model (seeds) evaluated counts once for every run.")
    notes += [*case_notes(cases), *outside_notes(cases, "model")]
    return Table(
        f"Mean ± SD over cases, and over the means of {' and of '.join(f'{unit}s' for unit in units)}",
        ("Model", "Runs", "Cases", *_measures(evaluation), *(f"Dice, over\u00a0{unit}s\u00a0↑" for unit in units)),
        tuple(rows),
        notes=tuple(notes),
        name="results",
    )


def _per_group(evaluation: Evaluation, cases: pd.DataFrame, summary: pd.DataFrame, key: str) -> Table:
    groups = {(str(name), str(model)): own for (name, model), own in cases.groupby([key, "model"], sort=False)}
    lines = lines_of(summary, key)
    rows = []
    for name, model in sorted(groups, key=lambda pair: (natural_key(pair[0]), evaluation.models.index(pair[1]))):
        values = [_mean_sd(lines[name, model, metric], metric, evaluation.profile) for metric in HEADLINE]
        rows.append((Cell(name, heading=True), Cell(model), _cases(groups[name, model]), *values))
    header = (key.capitalize(), "Model", "Cases", *_measures(evaluation))
    return Table(f"{_GROUP_TITLES[key]}: mean ± SD over cases", header, tuple(rows), name=f"by_{key}")


def _measures(evaluation: Evaluation) -> tuple[str, ...]:
    return tuple(heading(metric, evaluation.profile) for metric in HEADLINE)


def _cases(rows: pd.DataFrame) -> Cell:
    failed, number = int(has_failed(rows).sum()), tally(rows).cases
    what = "failed" if len(rows) == number else f"of {len(rows)} rows failed"
    return Cell(f"{number}{f' ({failed} {what})' if failed else ''}", float(number))


def _mean_sd(line: pd.Series, metric: str, profile: str, *, over: str = "") -> Cell:
    # Failed rows stand once in the column of cases, not in every cell.
    line = pd.concat([line.drop("failed"), pd.Series({"failed": 0})])
    mean = float(line[f"{over}_mean" if over else "mean"])
    text = format_mean_sd(line, digits(metric, profile), sites=over == "site", folds=over == "fold")
    sd = float(line[f"{over}_sd" if over else "sd"])
    return Cell(with_infinity(text), None if np.isnan(mean) else mean, further=further(sd=sd))


def _median(line: pd.Series | None) -> pd.Series | None:
    if line is None:
        return None
    return pd.Series({"mean": line["median"], "low": line["median_low"], "high": line["median_high"]})


def _interval(line: pd.Series | None, places: int) -> Cell:
    if line is None:
        return Cell(NOTHING)
    estimate = float(line["mean"])
    left_out = {name: line.get(name, 0) for name in ("infinite", "undefined")}
    text = format_interval(
        pd.Series({"estimate": estimate, "low": line["low"], "high": line["high"], **left_out}), places
    )
    text = with_infinity(text)
    if pd.notna(threshold := line.get("threshold", np.nan)):
        text += f" at {threshold:.2f}"
    ends = further(low=float(line["low"]), high=float(line["high"]))
    return Cell(text, None if np.isnan(estimate) else estimate, further=ends)


def _interval_notes(cases: pd.DataFrame, known: set[str]) -> tuple[str, ...]:
    notes = [bootstrap_note(cases)]
    if MICRO_DICE in known:
        notes.append("Micro-Dice: Dice of the voxels of all cases pooled; large lesions dominate it.")
    if MDSC in known or MDSC_COMMON in known:
        notes.append(
            "Maximal Dice is an upper bound, not a result: the best of 99 thresholds is chosen knowing the reference, "
            "for each case anew, or one for all cases (the threshold stands beside it; chosen anew in every resample)."
        )
    return (*notes, *case_notes(cases))
