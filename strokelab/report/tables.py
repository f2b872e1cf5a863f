"""The tables and sentences of a page, number by number as text. Knows the summary; knows no HTML and no figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from strokelab.files import natural_key
from strokelab.metrics.profiles import CASE_METRICS
from strokelab.report.material import VOLUMES, Evaluation, digits, heading
from strokelab.report.summary import line_of, with_sites
from strokelab.statistics.aggregate import format_mean_sd, has_failed

HEADLINE = ("dice", "recall", "precision", "lesion_f1", "hd95", "volume_difference")
NOTHING = "–"


@dataclass(frozen=True)
class Cell:
    """Text of a table cell, and the number it sorts by (None: sorts as text)."""

    text: str
    number: float | None = None
    ours: bool = False
    heading: bool = False
    words: bool = False  # may be broken into lines


@dataclass(frozen=True)
class Table:
    """A table of the page; ``sortable`` ones can be sorted and filtered in the browser."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    sortable: bool = False
    name: str = ""  # of its files tables/<name>.csv and .tex; "" = on the page only


def lead(evaluation: Evaluation, summary: pd.DataFrame) -> list[str]:
    """What was evaluated and what came out, in sentences; ``summary`` is the ``summary_table``."""
    cases = with_sites(evaluation.cases)
    held_out = sorted({run.held_out_site for run in evaluation.runs if run.held_out_site is not None}, key=natural_key)
    seeds = sorted({run.seed for run in evaluation.runs if run.seed is not None})
    sites = sorted(cases["site"].unique(), key=natural_key)
    sentences = [
        f"{_count(len(evaluation.runs), 'run')} of {_count(len(evaluation.models), 'model')} "
        f"({', '.join(evaluation.models)}) on {_count(cases['case'].nunique(), 'case')} of {evaluation.dataset}"
        + (f", {_noun(len(sites), 'site')} {', '.join(sites)}" if sites else "")
        + (f"; held out in training: {_noun(len(held_out), 'site')} {', '.join(held_out)}" if held_out else "")
        + (f"; {_noun(len(seeds), 'seed')} {', '.join(map(str, seeds))}" if seeds else "")
        + f". Scored on the images' own grids, metric profile “{evaluation.profile}”."
    ]
    lines = [(model, line_of(summary, level="model", model=model)) for model in evaluation.models]
    scored = sorted(((model, float(line["mean"])) for model, line in lines if line["n"]), key=lambda pair: -pair[1])
    if scored:
        sentences.append("Mean Dice over cases: " + ", ".join(f"{model} {mean:.3f}" for model, mean in scored) + ".")
    if len(scored) > 1:
        (first, high), (second, low) = scored[:2]
        sentences.append(
            f"{first} is ahead of {second} by {high - low:.3f}; whether that is more than chance is not tested."
        )
    if len({frozenset(rows["case"]) for _, rows in cases.groupby("model")}) > 1:
        sentences.append("The models were not evaluated on the same cases, so their means are of different things.")
    failed = int(has_failed(evaluation.cases).sum())
    if failed:
        sentences.append(f"{_count(failed, 'row')} could not be scored and count in no mean; see the case table.")
    return sentences


def result_tables(evaluation: Evaluation, summary: pd.DataFrame) -> list[Table]:
    """Headline per model, then per site, then per run where a model has several; ``summary`` as for ``lead``."""
    cases, profile = with_sites(evaluation.cases), evaluation.profile
    measures = tuple(heading(metric, profile) for metric in HEADLINE)

    def counted(rows: pd.DataFrame) -> Cell:
        failed = int(has_failed(rows).sum())
        return Cell(f"{rows['case'].nunique()}{f' ({failed} failed)' if failed else ''}")

    def values(**where: str) -> list[Cell]:
        return [_cell(line_of(summary, metric, **where), digits(metric, profile)) for metric in HEADLINE]

    models = []
    for model in evaluation.models:
        runs = sum(run.model == model for run in evaluation.runs)
        line = line_of(summary, level="model", model=model)
        cells = [Cell(model, heading=True), Cell(str(runs)), counted(cases[cases["model"] == model])]
        models.append((*cells, *values(level="model", model=model), _cell(line, 3, sites=True)))
    caption = "Mean ± SD over cases, and the macro mean ± SD over sites"
    header = ("Model", "Runs", "Cases", *measures, "Dice, over\u00a0sites\u00a0↑")
    tables = [Table(caption, header, tuple(models), notes=_result_notes(evaluation))]
    for key, wanted in (
        ("site", cases["site"].nunique() > 1),
        ("run", len(evaluation.runs) > len(evaluation.models)),
    ):
        if not wanted:
            continue
        groups = sorted(cases.groupby([key, "model"], sort=False), key=lambda pair: natural_key(str(pair[0][0])))
        rows = tuple(
            (
                Cell(str(name), heading=True),
                Cell(str(model)),
                counted(own),
                *values(level=key, model=str(model), **{key: str(name)}),
            )
            for (name, model), own in groups
        )
        title = key.capitalize()
        tables.append(Table(f"{title} by {key}: mean ± SD over cases", (title, "Model", "Cases", *measures), rows))
    return tables


def case_table(evaluation: Evaluation) -> Table:
    """Every row of the case table, in natural order of case and run."""
    several = len(evaluation.runs) > 1
    metrics = [metric for metric in (*CASE_METRICS, *VOLUMES) if evaluation.cases[metric].notna().any()]
    rows = with_sites(evaluation.cases).to_dict("records")
    rows.sort(key=lambda row: (natural_key(str(row["case"])), natural_key(str(row["run"]))))
    failed = any(_text(row["error"]) for row in rows)
    header = ["Case", *(["Run"] if several else []), "Site", *(heading(m, evaluation.profile) for m in metrics)]
    body = []
    for row in rows:
        cells = [Cell(str(row["case"]), heading=True), *([Cell(str(row["run"]))] if several else []), Cell(row["site"])]
        cells += [_number(row[m], digits(m, evaluation.profile, single=True)) for m in metrics]
        body.append((*cells, *([Cell(_text(row["error"]), words=True)] if failed else [])))
    return Table(
        "One row per case and run" if several else "One row per case",
        (*header, *(["Error"] if failed else [])),
        tuple(body),
        sortable=True,
    )


def run_list(evaluation: Evaluation) -> Table:
    """Where every number comes from."""
    rows = tuple(
        (
            Cell(run.name, heading=True),
            Cell(run.model),
            Cell(run.dataset),
            Cell(run.split or NOTHING),
            Cell(", ".join(run.sites) or NOTHING),
            Cell(NOTHING if run.seed is None else str(run.seed)),
            Cell(run.folder or NOTHING),
        )
        for run in evaluation.runs
    )
    return Table("Runs", ("Run", "Model", "Trained on", "Split", "Training sites", "Seed", "Folder"), rows)


def _result_notes(evaluation: Evaluation) -> tuple[str, ...]:
    cases = evaluation.cases
    notes = ["SD is the sample SD (n - 1). ↑ higher is better, ↓ lower is better."]
    if cases[["hd", "hd95", "assd"]].isin([float("inf")]).any(axis=None):
        notes.append(
            "A surface distance is infinite when one of the two masks is empty: means are over finite values, "
            "the number of infinite ones stands beside them."
        )
    empty = int((cases["lesion_ml"] == 0).sum())
    if empty:
        notes.append(
            f"{_count(empty, 'row')} without a lesion in the reference: scored 1 when nothing was predicted, else 0."
        )
    return tuple(notes)


def _cell(line: pd.Series, places: int, *, sites: bool = False) -> Cell:
    # Failed rows stand once in the column of cases, not in every cell.
    return Cell(
        format_mean_sd(pd.concat([line.drop("failed"), pd.Series({"failed": 0})]), places, sites=sites),
        float(line["site_mean" if sites else "mean"]),
    )


def _number(value: float, places: int) -> Cell:
    return Cell(plain_number(float(value), places), None if math.isnan(value) else float(value))


def plain_number(value: float, places: int) -> str:
    """A number as text: "–" for NaN, "∞" for infinity."""
    if math.isnan(value):
        return NOTHING
    return f"{value:.{places}f}" if math.isfinite(value) else "∞"


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {_noun(number, noun)}"


def _noun(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
