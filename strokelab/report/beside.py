"""Which of our runs stands beside a published row, and its numbers in the table's terms. Draws no table.

The statistic is the paper's (mean with SD, with interval, alone; over cases, sites or models), the metrics are in its
conventions, seeds of one case are averaged first, so that a spread is one of cases and never one of repeats.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from strokelab.metrics.combined import combined_score
from strokelab.metrics.profiles import METRICS
from strokelab.report.conventions import in_terms_of
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.paper_tables import Number, PaperRow, PaperTable, site_number
from strokelab.statistics.aggregate import has_failed, over_sites, summarize
from strokelab.statistics.bootstrap import MICRO_DICE, POOLED, bootstrap_intervals
from strokelab.statistics.nested import nested_differences
from strokelab.statistics.repeats import average_repeats
from strokelab.statistics.strata import by_size_quartile

SAME_AS = {"f1": "dice"}
"""Columns under another name: voxel F1 and Dice are one number."""
COMBINED = "combined_score"

_ONE = "group"  # the column by which ``average_repeats`` keeps everything together


@dataclass(frozen=True, eq=False)
class Ours:
    """What stands beside a paper's row: column -> number, and what it is made of."""

    values: Mapping[str, Number]
    basis: str  # in words, e.g. "27 cases, 3 runs"
    cases: pd.DataFrame  # the rows it was computed from


@dataclass(frozen=True, eq=False)
class Candidate:
    """A run on one of the table's datasets, its cases in the table's conventions."""

    run: RunMaterial
    cases: pd.DataFrame
    remarks: Mapping[str, str] = field(default_factory=dict)  # metric -> how it was brought over
    postprocess: str = ""
    unlike: tuple[str, ...] = ()  # what the table's recipe has otherwise
    seen: bool = False  # the model was trained on the sites of these cases, though the table wants unseen ones


def candidates(table: PaperTable, evaluation: Evaluation) -> list[Candidate]:
    """The runs that can have a number in a table, with the cases that count there.

    Where the paper tests on unseen sites, only a run's cases from sites it was not trained on are taken; a run that
    has none is taken whole and marked ``seen``.
    """
    found = []
    for run in evaluation.runs:
        if run.dataset not in table.datasets:
            continue
        cases, remarks = in_terms_of(run.cases, table.protocol.profile, assumed=evaluation.profile)
        if {"assd", "hd_penalised"} <= {*cases.columns}:  # of an infinite distance the penalty is the grid's diagonal
            penalised = cases["assd"].where(~np.isinf(cases["assd"].astype(float)), cases["hd_penalised"])
            cases = cases.assign(assd_penalised=penalised)
        unseen = cases[~cases["site"].isin(run.sites)]
        seen = table.protocol.unseen_sites and unseen.empty
        if table.protocol.unseen_sites and not seen:
            cases = unseen
        found.append(
            Candidate(run, cases, remarks, _postprocess(run, evaluation), run.unlike.get(table.name, ()), seen)
        )
    return found


def fits(row: PaperRow, candidate: Candidate) -> bool:
    """Whether a run is of the row's kind and its paper's recipe; its cases may still be of other sites or folds."""
    return not candidate.unlike and is_kind(row, candidate)


def is_kind(row: PaperRow, candidate: Candidate) -> bool:
    """Whether a run has the parts or the model that a row is about, by whatever recipe it was trained."""
    if candidate.seen or (row.postprocess and row.postprocess != candidate.postprocess):
        return False
    if row.parts is not None:
        return candidate.run.parts == row.parts
    return (candidate.run.published or candidate.run.model) in row.models


def ours(table: PaperTable, where: Mapping[str, str], chosen: Sequence[Candidate]) -> Ours | None:
    """Our numbers for what a row is about, from the runs beside it; None when there is nothing to print.

    Args:
        table: the published table.
        where: the row's group, keys of ``paper_tables.GROUPS``.
        chosen: the runs that stand beside the row.
    """
    kept = [(c, rows) for c in chosen if len(rows := _within(c, where))]
    if not kept:
        return None
    together = pd.concat([rows.dropna(axis="columns", how="all") for _, rows in kept], ignore_index=True)
    values = _numbers(table, together, where.get("quarter"))
    values |= {
        column: Number(float(cost)) for column in table.columns if (cost := kept[0][0].run.cost.get(column)) is not None
    }
    if not values:
        return None
    used = _quarter(together, where["quarter"]) if "quarter" in where else together
    return Ours(values, _basis(used, kept, where), used)


def difference(
    table: PaperTable, where: Mapping[str, str], first: Sequence[Candidate], second: Sequence[Candidate]
) -> Ours | None:
    """First minus second on the cases both have, seeds nested; None when there is nothing to compare.

    Args:
        table: the published table.
        where: the row's group.
        first: the runs beside the first row.
        second: those beside the second.
    """
    sides = {"first": first, "second": second}
    parts = [
        rows.assign(**{_ONE: side, "seed": c.run.seed})
        for side, chosen in sides.items()
        for c in chosen
        if len(rows := _within(c, where))
    ]
    if not parts:
        return None
    together = pd.concat([part.dropna(axis="columns", how="all") for part in parts], ignore_index=True)
    together = _quarter(together, where["quarter"]) if "quarter" in where else together
    metrics = [name for column in table.columns if (name := metric_of(column)) is not None]
    known = [name for name in metrics if name in together or (name == MICRO_DICE and {*POOLED} <= {*together})]
    lines = nested_differences(together, known, first="first", second="second", column=_ONE).to_dict("records")
    numbers = {
        line["metric"]: Number(
            line["difference"], low=_known(line["low"]), high=_known(line["high"]), infinite=int(line["infinite"])
        )
        for line in lines
        if line["n"]
    }
    found = {column: number for column in table.columns if (number := numbers.get(metric_of(column) or "")) is not None}
    if not found:
        return None
    n = max(line["n"] for line in lines)
    return Ours(found, f"{n} case{'' if n == 1 else 's'} in pairs, {together['run'].nunique()} runs", together)


def metric_of(column: str) -> str | None:
    """The metric a table's column holds; None for costs, settings and words."""
    name = SAME_AS.get(column, column)
    return name if name in METRICS or name == COMBINED else None


def _postprocess(run: RunMaterial, evaluation: Evaluation) -> str:
    """The bare name of a run's post-processing, from its case table or the evaluation's protocol."""
    column = run.cases["postprocessing"].dropna() if "postprocessing" in run.cases.columns else pd.Series(dtype=object)
    text = str(column.iloc[0]) if len(column) else evaluation.protocol.get("post-processing", "")
    named = re.search(r"postprocess\.(\w+)", text)
    return named[1] if named else text


def _within(candidate: Candidate, where: Mapping[str, str]) -> pd.DataFrame:
    rows = candidate.cases
    if "modality" in rows.columns and "modality" not in where and rows["modality"].nunique() > 1:
        return rows.iloc[:0]  # each modality is a prediction of its own; their mean is nobody's result
    for key, wanted in where.items():
        if key == "dataset":
            rows = rows if candidate.run.dataset == wanted else rows.iloc[:0]
        elif key == "site":
            rows = rows[rows["site"].map(lambda name: site_number(None if pd.isna(name) else str(name))) == wanted]
        elif key != "quarter":  # quarters are cut over all cases beside a row, not run by run
            known = rows[key] if key in rows.columns else pd.Series(index=rows.index, dtype=object)
            named = known.astype(str)
            rows = rows[(named == wanted) | ((key == "modality") & (named == f"{wanted}w"))]  # T1w is the paper's T1
    return rows


def _quarter(rows: pd.DataFrame, number: str) -> pd.DataFrame:
    if "lesion_ml" not in rows.columns:
        return rows.iloc[:0]
    k = int(number)
    return rows[by_size_quartile(rows, volume="lesion_ml").astype(str) == f"{25 * (k - 1)}-{25 * k} %"]


def _basis(used: pd.DataFrame, kept: Sequence[tuple[Candidate, pd.DataFrame]], where: Mapping[str, str]) -> str:
    counts = [(used["case"].nunique(), "case"), (used["site"].nunique() if "site" in used else 0, "site")]
    if "site" in where or counts[1][0] == 0:
        del counts[1]
    text = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in (*counts, (len(kept), "run")))
    protocols = dict.fromkeys(c.run.protocol for c, _ in kept if c.run.protocol)
    text += f", protocol {' and '.join(protocols)}" if protocols else ""
    failed = int(has_failed(used).sum())
    notes = [f"{failed} failed"] * (failed > 0) + ["sites seen in training"] * any(c.seen for c, _ in kept)
    return f"{text} ({', '.join(notes)})" if notes else text


def _numbers(table: PaperTable, rows: pd.DataFrame, quarter: str | None) -> dict[str, Number]:
    metrics = [name for column in table.columns if (name := metric_of(column)) is not None]
    if COMBINED in metrics:
        metrics += ["dice", "hd_voxels"]
    pooled = MICRO_DICE in metrics and set(POOLED) <= set(rows.columns)
    known = list(dict.fromkeys(name for name in metrics if name in rows.columns and name != MICRO_DICE))
    if not table.over or not (known or pooled):
        return {}
    if table.over == "models":
        found = _over_models(rows, known)
    else:
        kept = ("site", "lesion_ml")
        cases = average_repeats(
            rows.assign(**{_ONE: "", **{name: None for name in kept if name not in rows}}),
            [*known, *(POOLED if pooled else ())],
            column=_ONE,
            keep=kept,
        ).reset_index()
        cases = cases[cases["good"] > 0]
        if quarter is not None:
            cases = _quarter(cases, quarter)
        found = _described(table, cases, [*known, *([MICRO_DICE] if pooled else [])])
    if COMBINED in metrics and {"dice", "hd_voxels"} <= set(found):
        found[COMBINED] = Number(combined_score(found["dice"].mean, found["hd_voxels"].mean))
    named = {column: found.get(metric_of(column) or "") for column in table.columns}
    return {column: number for column, number in named.items() if number is not None and not np.isnan(number.mean)}


def _over_models(rows: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Number]:
    means = summarize(rows, metrics, by=["run"]).pivot_table(index="run", columns="metric", values="mean")
    return _mean_sd(means.reset_index().rename(columns={"run": "case"}), list(means.columns))


def _described(table: PaperTable, cases: pd.DataFrame, metrics: Sequence[str]) -> dict[str, Number]:
    """``table.statistic`` of every metric, from one row per case."""
    plain = [name for name in metrics if name != MICRO_DICE]
    if table.over == "sites":
        lines = over_sites(cases.assign(error=""), plain)
        return {
            line["metric"]: _spread(line["site_mean"], line["site_sd"], line["sites_infinite"])
            for line in lines.to_dict("records")
        }
    if table.statistic == "mean_ci":
        lines = bootstrap_intervals(cases.assign(error=""), metrics, cluster="cluster")
        lines = lines[lines["statistic"] != "median"]
        return {
            line["metric"]: Number(
                line["estimate"], low=_known(line["low"]), high=_known(line["high"]), infinite=int(line["infinite"])
            )
            for line in lines.to_dict("records")
        }
    return _mean_sd(cases, plain, spread=table.statistic != "mean", population=table.statistic == "mean_population_sd")


def _mean_sd(
    cases: pd.DataFrame, metrics: Sequence[str], *, spread: bool = True, population: bool = False
) -> dict[str, Number]:
    found = {}
    for line in summarize(cases.assign(error=""), metrics).to_dict("records"):
        n, sd = line["n"], line["sd"] if spread else float("nan")
        if population and n:
            sd = sd * np.sqrt((n - 1) / n) if n > 1 else 0.0
        found[line["metric"]] = _spread(line["mean"], sd, line["infinite"])
    return found


def _spread(mean: float, sd: float, infinite: float) -> Number:
    return Number(float(mean), sd=_known(sd), infinite=int(infinite))


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
