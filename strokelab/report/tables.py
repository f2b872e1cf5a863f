"""The tables and sentences of a page, number by number as text. Knows the summary; knows no HTML and no figure."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

from strokelab.files import natural_key
from strokelab.report.material import METRIC_COLUMNS, METRICS, VOLUME_COLUMNS, Evaluation
from strokelab.report.paper_tables import PaperRow, PaperTable
from strokelab.report.summary import Ours, Statistic, macro, with_sites, without_site

HEADLINE = ("dice", "recall", "precision", "lesion_f1", "hd95", "volume_difference")
CASE_METRICS = (*METRIC_COLUMNS, *VOLUME_COLUMNS)
_TUNED_SITE = "5"  # the site the SG-Net paper chose its settings on
_PAPER_SCORES = (*METRIC_COLUMNS, "f1")  # printed with four digits, costs with two
_NOTHING = "–"


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


def lead(evaluation: Evaluation) -> list[str]:
    """What was evaluated and what came out, in sentences."""
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
    means = [(model, Statistic.of(cases.loc[cases["model"] == model, "dice"])) for model in evaluation.models]
    scored = sorted(((model, value) for model, value in means if value.n), key=lambda pair: -pair[1].mean)
    if scored:
        sentences.append(
            "Mean Dice over cases: " + ", ".join(f"{model} {value.mean:.3f}" for model, value in scored) + "."
        )
    if len(scored) > 1:
        gap = scored[0][1].mean - scored[1][1].mean
        sentences.append(
            f"{scored[0][0]} is ahead of {scored[1][0]} by {gap:.3f}; whether that is more than chance is not tested."
        )
    if len({frozenset(rows["case"]) for _, rows in cases.groupby("model")}) > 1:
        sentences.append("The models were not evaluated on the same cases, so their means are of different things.")
    failed = evaluation.cases[evaluation.cases["error"].map(_text) != ""]
    if len(failed):
        sentences.append(f"{_count(len(failed), 'row')} could not be scored and count in no mean; see the case table.")
    return sentences


def result_tables(evaluation: Evaluation) -> list[Table]:
    """Headline per model, then per site, then per run where a model has several."""
    cases = with_sites(evaluation.cases)
    measures = tuple(METRICS[metric].label for metric in HEADLINE)
    rows = []
    for model in evaluation.models:
        own = cases[cases["model"] == model]
        runs = [run for run in evaluation.runs if run.model == model]
        rows.append(
            (
                Cell(model, heading=True),
                Cell(str(len(runs))),
                Cell(str(own["case"].nunique())),
                *(_statistic(Statistic.of(own[metric]), metric) for metric in HEADLINE),
                _statistic(macro(own, "dice"), "dice"),
            )
        )
    tables = [
        Table(
            "Mean ± SD over cases, and the macro mean ± SD over sites",
            ("Model", "Runs", "Cases", *measures, "Dice, over sites ↑"),
            tuple(rows),
            notes=_result_notes(evaluation),
        )
    ]
    if cases["site"].nunique() > 1:
        tables.append(_grouped(cases, ["site", "model"], "Site by site: mean ± SD over cases", ("Site", "Model")))
    if len(evaluation.runs) > len(evaluation.models):
        tables.append(_grouped(cases, ["run", "model"], "Run by run: mean ± SD over cases", ("Run", "Model")))
    return tables


def comparison(evaluation: Evaluation, table: PaperTable, rows: list[tuple[PaperRow, Ours | None]]) -> Table:
    """A published table with our numbers beside it; columns that we have nothing for are left out."""
    columns = [key for key in table.columns if any(own and key in own.values for _, own in rows)]
    header = ["Method"] + ["Site"] * any(row.site for row, _ in rows)
    for key in columns:
        header += [f"{table.columns[key]}, paper", f"{table.columns[key]}, ours"]
    body = []
    for row, own in rows:
        cells = [Cell(row.method, heading=True)]
        if "Site" in header:
            cells.append(Cell(str(row.site or _NOTHING)))
        for key in columns:
            printed, mine = row.values.get(key), own.values.get(key) if own else None
            digits = 4 if key in _PAPER_SCORES else 2
            cells += [Cell(_mean_sd(printed, digits)), Cell(_mean_sd(mine, digits), ours=mine is not None)]
        body.append((*cells, Cell(own.basis if own else _NOTHING, words=True)))
    scanners = dict.fromkeys(f"Site {row.site}: {row.site_note}" for row, _ in rows if row.site and row.site_note)
    ours_protocol = "; ".join(f"{key}: {value}" for key, value in evaluation.protocol.items())
    notes = [f"Paper: {table.citation}. Protocol: {'; '.join((*table.protocol, *scanners))}."]
    notes.append(f"Ours: {evaluation.dataset}{'; ' + ours_protocol if ours_protocol else ''}.")
    if table.over == "sites":
        notes += [
            f"{model} over the sites other than Site {_TUNED_SITE}: Dice {_mean_sd((rest.mean, rest.sd), 4)}."
            for model in evaluation.models
            if (rest := without_site(evaluation, model, _TUNED_SITE)) is not None
        ]
    return Table(table.title, (*header, "Ours is made of"), tuple(body), notes=(*notes, *table.footnotes))


def case_table(evaluation: Evaluation) -> Table:
    """Every row of the case table, in natural order of case and run."""
    several = len(evaluation.runs) > 1
    metrics = [metric for metric in CASE_METRICS if evaluation.cases[metric].notna().any()]
    rows = with_sites(evaluation.cases).to_dict("records")
    rows.sort(key=lambda row: (natural_key(str(row["case"])), natural_key(str(row["run"]))))
    failed = any(_text(row["error"]) for row in rows)
    header = ["Case", *(["Run"] if several else []), "Site", *(METRICS[m].label for m in metrics)]
    body = []
    for row in rows:
        cells = [Cell(str(row["case"]), heading=True), *([Cell(str(row["run"]))] if several else []), Cell(row["site"])]
        cells += [_number(row[m], 0 if METRICS[m].whole else METRICS[m].digits) for m in metrics]
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
            Cell(run.split or _NOTHING),
            Cell(", ".join(run.sites) or _NOTHING),
            Cell(_NOTHING if run.seed is None else str(run.seed)),
            Cell(run.folder or _NOTHING),
        )
        for run in evaluation.runs
    )
    return Table("Runs", ("Run", "Model", "Trained on", "Split", "Training sites", "Seed", "Folder"), rows)


def _grouped(cases: pd.DataFrame, keys: list[str], caption: str, titles: tuple[str, ...]) -> Table:
    groups = [([str(value) for value in values], own) for values, own in cases.groupby(keys, sort=False)]
    rows = [
        (
            *(Cell(value, heading=not index) for index, value in enumerate(values)),
            Cell(str(own["case"].nunique())),
            *(_statistic(Statistic.of(own[metric]), metric) for metric in HEADLINE),
        )
        for values, own in sorted(groups, key=lambda pair: natural_key(pair[0][0]))
    ]
    return Table(caption, (*titles, "Cases", *(METRICS[metric].label for metric in HEADLINE)), tuple(rows))


def _result_notes(evaluation: Evaluation) -> tuple[str, ...]:
    cases = evaluation.cases
    notes = ["SD is the sample SD (n - 1). ↑ higher is better, ↓ lower is better."]
    infinite = sum(Statistic.of(cases[metric]).infinite for metric in ("hd", "hd95", "assd"))
    if infinite:
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


def _statistic(value: Statistic, metric: str) -> Cell:
    text = _mean_sd((value.mean, value.sd), METRICS[metric].digits)
    extra = [f"{n} {word}" for n, word in ((value.infinite, "inf"), (value.missing, "missing")) if n]
    return Cell(f"{text} ({', '.join(extra)})" if extra else text, value.mean)


def _mean_sd(value: tuple[float, float | None] | None, digits: int) -> str:
    if value is None:
        return _NOTHING
    mean, sd = value
    spread = "" if sd is None or math.isnan(sd) else f" ± {_plain(sd, digits)}"
    return _plain(mean, digits) + spread


def _number(value: float, digits: int) -> Cell:
    return Cell(_plain(float(value), digits), None if math.isnan(value) else float(value))


def _plain(value: float, digits: int) -> str:
    if math.isnan(value):
        return _NOTHING
    return f"{value:.{digits}f}" if math.isfinite(value) else "∞"


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {_noun(number, noun)}"


def _noun(number: int, noun: str) -> str:
    return noun if number == 1 else f"{noun}s"
