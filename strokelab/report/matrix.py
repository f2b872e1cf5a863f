"""The page of a matrix: train by test, contrast by contrast, site by site, and the paired tests. Predicts nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from strokelab.files import natural_key
from strokelab.report.cells import NOTHING, Cell, Table, between, count_cell, counted, further, listed, plain_number
from strokelab.report.heatmap import heatmap
from strokelab.report.html import write_page
from strokelab.report.listings import namesakes
from strokelab.report.material import Evaluation, digits, heading
from strokelab.report.pictures import Section, file_name, stored
from strokelab.report.significance import comparison_table, comparisons, with_nested_intervals
from strokelab.report.summary import RESAMPLES, SEED
from strokelab.report.tables import PHANTOM
from strokelab.report.train_by_test import ENSEMBLE, Matrix, cell_lines, main_line
from strokelab.scoring.tables import write_table


def write_matrix(matrix: Matrix, folder: Path) -> Path:
    """Write ``report.html``, ``figures/``, ``tables/`` and ``matrix.csv``, the long form of every cell.

    Args:
        matrix: to report.
        folder: created when absent; files of the same name are replaced.

    Returns:
        The path of the page.

    Raises:
        DataError: the folder cannot be written to.
    """
    lines, sites = cell_lines(matrix), cell_lines(matrix, by=["site"], metrics=["dice"])
    sections = [
        Section("matrix", "Train by test", _heatmap(matrix, lines), (), (_train_by_test(matrix, lines),)),
        Section("contrasts", "Contrast by contrast", (), (), (_by_contrast(matrix, lines),)),
        Section("sites", "Site by site", (), (), (_by_site(matrix, sites),)),
        *_compared(matrix),
        Section("runs", "Who was tested on what", (), (), (_tested(matrix),)),
    ]
    if matrix.phantom:
        sections = [
            replace(one, tables=tuple(replace(table, notes=(*table.notes, PHANTOM)) for table in one.tables))
            for one in sections
        ]
    about = "; ".join(f"{name}: {words}" for name, words in matrix.datasets.items())
    evaluation = Evaluation(
        title=f"{', '.join(matrix.models)} on {', '.join(matrix.datasets)}",
        dataset=about,
        runs=(),
        phantom=matrix.phantom,
        protocol={"metric profile": matrix.profile, "scored on": "the grid of each case"},
        profile=matrix.profile,
        versions=matrix.versions,
        created=matrix.created,
        command=matrix.command,
        notes=matrix.notes,
        members=matrix.members,
    )
    page = write_page(
        evaluation, [one for one in sections if one.tables or one.pictures], folder, lead=_lead(matrix, lines)
    )
    write_table(lines, folder / "matrix.csv")
    return page


def _lead(matrix: Matrix, lines: pd.DataFrame) -> list[str]:
    runs = len({one.run for one in matrix.tested})
    models, datasets = len(matrix.models), len(matrix.datasets)
    empty = sum(bool(one.reason) for one in matrix.tested)
    sentences = [
        f"{counted(runs, 'run')} of {counted(models, 'model')} on {counted(datasets, 'dataset')}"
        + (
            f"; {counted(empty, 'cell')} of {len(matrix.tested)} without a number, each with its reason."
            if empty
            else "."
        )
    ]
    for dataset in matrix.datasets:
        found = [(model, main_line(lines, model, dataset)) for model in matrix.models]
        scored = [(model, line) for model, line in found if line is not None and line["n"]]
        if scored:
            model, line = max(scored, key=lambda pair: float(pair[1]["estimate"]))
            sentences.append(f"Best mean Dice on {dataset}: {model}, {_number(line, 'dice', matrix.profile)}.")
    return sentences


def _number(line: pd.Series, metric: str, profile: str) -> str:
    places = digits(metric, profile)
    ends = between(float(line["low"]), float(line["high"]), places)
    text = plain_number(float(line["estimate"]), places) + (f" ({ends})" if ends else "")
    return f"{text}, {int(line['infinite'])} infinite" if line["infinite"] else text


def _value(line: pd.Series | None, metric: str, profile: str, *, ours: bool = False, more: str = "") -> Cell:
    if line is None:
        return Cell(NOTHING)
    estimate = float(line["estimate"])
    numbers = further(low=float(line["low"]), high=float(line["high"]))
    known = None if np.isnan(estimate) else estimate
    return Cell(_number(line, metric, profile) + more, known, ours=ours, further=numbers)


def _train_by_test(matrix: Matrix, lines: pd.DataFrame) -> Table:
    rows = []
    for model in matrix.models:
        own = [one for one in matrix.tested if one.model == model]
        trained = list(dict.fromkeys(one.trained_on for one in own))
        cells = [_cell(matrix, lines, model, dataset) for dataset in matrix.datasets]
        rows.append((Cell(model, heading=True), Cell(listed(trained), words=True), *cells))
    return Table(
        f"Mean {heading('dice', matrix.profile)} over cases (95 % bootstrap interval), train by test",
        ("Model", "Trained on", *matrix.datasets),
        tuple(rows),
        notes=_rules(matrix),
        name="matrix",
    )


def _cell(matrix: Matrix, lines: pd.DataFrame, model: str, dataset: str) -> Cell:
    tested = [one for one in matrix.tested if (one.model, one.dataset) == (model, dataset)]
    line = main_line(lines, model, dataset)
    if line is None:
        unscored = sum(one.cases for one in tested)
        told = dict.fromkeys(one.reason for one in tested if one.reason)
        return Cell("; ".join(told) or f"{counted(unscored, 'case')} that failed", words=True)
    contrasts = {name for name in lines.loc[lines["dataset"] == dataset, "modality"]}
    which = f", {line['modality']}" if len(contrasts) > 1 else ""
    failed = f", {int(line['failed'])} failed" if line["failed"] else ""
    more = f", n\u00a0=\u00a0{int(line['n'])}{which}{failed}"
    return _value(line, "dice", matrix.profile, ours=any(one.own for one in tested), more=more)


def _rules(matrix: Matrix) -> tuple[str, ...]:
    notes = [
        f"Interval: {RESAMPLES} resamples of the subjects, seed {SEED}; rows of one case (seeds, folds of a model) are "
        "averaged first. n: cases with a Dice.",
        "Marked: the dataset of the model's own training, where cases of subjects that trained or validated are left "
        "out, as they are everywhere; how many stands under “Who was tested on what”.",
        "A model of one contrast is applied to every image of a case alone. What stands for it here is the contrast "
        f"that it was trained on, where the dataset has it, else the mean over the images (“{ENSEMBLE}”); a model of "
        "any contrast has the mean.",
    ]
    if any(one.reason for one in matrix.tested):
        notes.append("A cell without a number says why.")
    return tuple(notes)


def _by_contrast(matrix: Matrix, lines: pd.DataFrame) -> Table:
    metrics = list(dict.fromkeys(lines["metric"]))
    means = lines[lines["statistic"] == "mean"]
    rows = []
    for (model, dataset, contrast), own in means.groupby(["model", "dataset", "modality"], sort=False):
        first, by_metric = own.iloc[0], {str(line["metric"]): line for _, line in own.iterrows()}
        cells = [_value(by_metric.get(metric), metric, matrix.profile) for metric in metrics]
        told = (Cell(str(dataset)), Cell(f"{contrast}{' *' if first['main'] else ''}"))
        rows.append((Cell(str(model), heading=True), *told, count_cell(int(first["runs"])), _n(by_metric), *cells))
    note = "* stands for the model in “Train by test”. Means are over finite values; infinite distances are counted."
    header = ("Model", "Tested on", "Contrast", "Runs", "n", *(heading(metric, matrix.profile) for metric in metrics))
    caption = "Every model on every dataset and contrast: mean over cases (95 % bootstrap interval)"
    return Table(caption, header, tuple(rows), notes=(note,), sortable=True, name="by_contrast")


def _n(by_metric: Mapping[str, pd.Series]) -> Cell:
    line = by_metric.get("dice")
    return count_cell(int(line["n"])) if line is not None else Cell(NOTHING)


def _by_site(matrix: Matrix, lines: pd.DataFrame) -> Table:
    means = lines[(lines["statistic"] == "mean") & (lines["metric"] == "dice") & lines["main"].astype(bool)]
    found = {(line["dataset"], line["site"], line["model"]): line for _, line in means.iloc[::-1].iterrows()}
    places = sorted({(dataset, site) for dataset, site, _ in found}, key=lambda key: natural_key(str(key[1])))
    rows = []
    for dataset in matrix.datasets:
        for site in [site for name, site in places if name == dataset]:
            own = [found.get((dataset, site, model)) for model in matrix.models]
            cells = [
                _value(line, "dice", matrix.profile, more="" if line is None else f", n\u00a0=\u00a0{int(line['n'])}")
                for line in own
            ]
            rows.append((Cell(f"{dataset} {site}", heading=True), *cells))
    return Table(
        f"Mean {heading('dice', matrix.profile)} of each site (95 % bootstrap interval)",
        ("Site", *matrix.models),
        tuple(rows),
        name="by_site",
    )


def _compared(matrix: Matrix) -> list[Section]:
    """The paired tests between models, dataset by dataset, of the rows that stand for them."""
    tables = []
    for dataset in matrix.datasets:
        if matrix.cases.empty:
            break
        rows = matrix.cases[(matrix.cases["dataset"] == dataset) & matrix.cases["main"].astype(bool)]
        rows = rows.drop(columns="modality")
        found = with_nested_intervals(comparisons(rows), rows) if len(rows) else pd.DataFrame()
        if len(found):
            table = comparison_table(found, matrix.profile)
            caption = f"On {dataset}: paired comparison of the models, on the cases both have"
            tables.append(replace(table, caption=caption, name=f"comparisons_{file_name(dataset)}"))
    return [Section("comparison", "Comparison of the models", (), (), tuple(tables))] if tables else []


def _tested(matrix: Matrix) -> Table:
    rows = [
        (
            Cell(one.run, heading=True),
            Cell(one.trained_on, words=True),
            Cell(one.dataset),
            count_cell(one.cases),
            Cell(f"{counted(one.seen, 'case')} of {counted(one.seen_subjects, 'subject')}" if one.seen else NOTHING),
            count_cell(one.lacking),
            Cell(one.reason or NOTHING, words=True),
        )
        for one in matrix.tested
    ]
    header = (
        "Run",
        "Trained on",
        "Tested on",
        "Cases",
        "Left out, seen in training",
        "Without its contrasts",
        "Why none",
    )
    notes = (
        "Seen: the subject of the case trained or validated; ATLAS v1.2 subjects are found in v2.0 by its metadata.",
        *(f"{name}: {words}." for name, words in matrix.datasets.items()),
        *namesakes(matrix.tested),
    )
    return Table("Every run on every dataset", header, tuple(rows), notes=notes, name="tested")


def _heatmap(matrix: Matrix, lines: pd.DataFrame) -> tuple:  # type: ignore[type-arg]
    found = [[main_line(lines, model, dataset) for dataset in matrix.datasets] for model in matrix.models]
    values = np.array([[np.nan if line is None else float(line["estimate"]) for line in row] for row in found])
    if not np.isfinite(values).any():
        return ()
    own = {(one.model, one.dataset) for one in matrix.tested if one.own}
    marked = np.array([[(model, dataset) in own for dataset in matrix.datasets] for model in matrix.models])
    figure = heatmap(values, matrix.models, list(matrix.datasets), label=heading("dice", matrix.profile), marked=marked)
    caption = "Mean Dice, train by test. Framed: the dataset of the model's own training. Hatched: no number."
    alt = f"Heatmap of mean Dice of {', '.join(matrix.models)} on {', '.join(matrix.datasets)}."
    return (stored("matrix", figure, caption=caption, alt=alt, wide=True),)
