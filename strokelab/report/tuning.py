"""Threshold and smallest component per model: one pair of all folds, and the nested figure beside it. Looks up alone.

Every number comes from the searches of the runs (``inference.tune.Found``): nothing is predicted. "One pair" is the
protocol of SUNet's paper: the pair of the highest score over the very cases that are reported. "Nested" takes for every
run the pair of the other runs, found without its cases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from strokelab.inference.tune import Pair, Search, at_pair, best_pair, pair_scores
from strokelab.metrics.combined import combined_score
from strokelab.report.cells import NOTHING, Cell, Table, count_cell, further, number_cell, p_value, plain_number
from strokelab.report.drawing import new_figure
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.paper_tables import Number, PaperRow
from strokelab.report.pictures import Picture, Section, file_name, stored
from strokelab.report.significance import comparisons

ANCHOR, TITLE = "tuning", "Threshold and smallest component"
TESTED = ("dice", "precision", "recall", "hd_voxels")
_PLACES = {"dice": 3, "precision": 3, "recall": 3, "hd_voxels": 1, "hd_mm": 1}
_HEADINGS = {"dice": "Dice ↑", "precision": "Precision ↑", "recall": "Recall ↑", "hd_voxels": "HD (voxels) ↓"}
_UNITS = {"min_voxels": "voxels", "min_size_mm3": "mm³"}


@dataclass(frozen=True, eq=False)
class Tuned:
    """The searches of one model's runs on one dataset.

    Args:
        model: as tables call it.
        dataset: that the runs are of.
        published: what published tables call the model.
        search: of all its runs.
        table: ``run``, ``case``, ``subject`` and the columns of the search: a row per run, case and pair.
        tested: the cases of the searches are those that test.
    """

    model: str
    dataset: str
    published: str
    search: Search
    table: pd.DataFrame
    tested: bool

    @property
    def pair(self) -> Pair:
        """The one pair over all runs."""
        return best_pair(self.table, self.search)

    def pooled(self) -> pd.DataFrame:
        """Every run and case at the one pair."""
        return at_pair(self.table, self.search, self.pair)

    def nested(self) -> pd.DataFrame | None:
        """Every run's cases at the pair of the other runs, found on other cases; None: a run has no such others."""
        rows = []
        for _, own in self.table.groupby("run", sort=False):
            others = self.table[~self.table["case"].isin(own["case"])]
            if others.empty:
                return None
            rows.append(at_pair(own, self.search, best_pair(others, self.search)))
        return pd.concat(rows, ignore_index=True)


def tuned_models(evaluation: Evaluation) -> list[Tuned]:
    """The models whose runs have searches, in order of appearance; runs of one search each, on one dataset."""
    groups: dict[tuple[str, str, Search], list[RunMaterial]] = {}
    for run in evaluation.runs:
        if run.tuning is not None:
            groups.setdefault((run.model, run.dataset, run.tuning.search), []).append(run)
    return [
        Tuned(
            model,
            dataset,
            runs[0].published or model,
            search,
            pd.concat([_table(run) for run in runs], ignore_index=True),
            all(_are_tested(run) for run in runs),
        )
        for (model, dataset, search), runs in groups.items()
    ]


def tuning_tables(evaluation: Evaluation) -> list[Table]:
    """Pairs and figures per model beside the paper's, tests against the first variant, and the score of every pair."""
    models = tuned_models(evaluation)
    if not models:
        return []
    tests = test_table(models, evaluation)
    return [pair_table(models, evaluation), *([tests] if tests else []), *(_score_table(one) for one in models)]


def tuning_section(evaluation: Evaluation) -> Section | None:
    """The heatmaps that stand beside ``tuning_tables``; None where there is no search."""
    models = tuned_models(evaluation)
    if not models:
        return None
    return Section(ANCHOR, TITLE, tuple(map(_picture, models)), tuple(map(_sentence, models)))


def pair_table(models: Sequence[Tuned], evaluation: Evaluation) -> Table:
    """Per model the one pair and the nested figure, each with mean ± population SD, beside the paper's rows."""
    rows = [row for one in models for row in _rows(one, evaluation)]
    notes = [
        "Mean ± population SD over cases, on the cases of the searches. HD: over the cases that have one; a case of "
        "which one mask is empty has none. Score: DSC h / (DSC + h), h = 1 - HD / HD max, from the means; at most 0.5.",
        "One pair: the best over the very cases that are reported (the paper's protocol), which flatters. Nested: each "
        "run's cases at the pair that the other runs found without them.",
        "Looked up in the runs' tuning.csv; nothing was predicted for it.",
    ]
    if others := [one.model for one in models if not one.tested]:
        notes.append(
            f"{', '.join(others)}: these cases are not those that are tested (a validation part chose the pairs)."
        )
    sizes = ", ".join(dict.fromkeys(_UNITS[one.search.size] for one in models))
    measures = tuple(_HEADINGS[metric] for metric in TESTED)
    header = (
        "Model",
        "Pair",
        "Cases",
        "Threshold",
        f"Smallest component ({sizes})",
        *measures,
        "Score ↑",
        "Without HD",
    )
    return Table("One pair for all folds, and nested", header, tuple(rows), notes=tuple(notes), name="tuning")


def test_table(models: Sequence[Tuned], evaluation: Evaluation) -> Table | None:
    """Every model against the first variant of its dataset at their one pairs: two-sided Wilcoxon signed-rank test."""
    rows: list[tuple[Cell, ...]] = []
    for dataset in dict.fromkeys(one.dataset for one in models):
        own = [one for one in models if one.dataset == dataset]
        first = _baseline(own, evaluation)
        for one in own:
            if one is not first:
                rows += _tests(first, one)
    if not rows:
        return None
    header = ("Model − first", "Metric", "Cases", "Mean, model", "Mean, first", "Difference", "Wilcoxon p")
    notes = (
        "Each model at its own one pair. Two-sided, not corrected for several comparisons; cases that have no HD with "
        "one of the two are left out.",
    )
    return Table("Against the first variant, at one pair each", header, tuple(rows), notes=notes, name="tuning_tests")


def score_map(one: Tuned) -> Figure:
    """The score of every pair, thresholds upwards, smallest components to the right; the one pair is framed."""
    scores = _grid(one)
    figure, axes = new_figure(0.9 + 0.3 * len(scores.index))
    shown = axes.imshow(scores.to_numpy(), origin="lower", aspect="auto", cmap="viridis")
    axes.set_xticks(range(len(scores.columns)), [f"{size:g}" for size in scores.columns])
    axes.set_yticks(range(len(scores.index)), [f"{threshold:g}" for threshold in scores.index])
    middle = (float(np.min(scores.to_numpy())) + float(np.max(scores.to_numpy()))) / 2
    for (row, column), score in np.ndenumerate(scores.to_numpy()):
        ink = "white" if score <= middle else "black"
        axes.text(column, row, f"{score:.3f}", ha="center", va="center", color=ink, fontsize=6.5)
    pair = one.pair
    column, row = (
        list(axis).index(value) for axis, value in ((scores.columns, pair.size), (scores.index, pair.threshold))
    )
    for colour, width in (("white", 3.6), ("#D55E00", 2.0)):
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=colour, linewidth=width))
    axes.set(xlabel=f"Smallest component ({_UNITS[one.search.size]})", ylabel="Threshold")
    figure.colorbar(shown, ax=axes, label="Score ↑").ax.tick_params(labelsize=8)
    return figure


def _rows(one: Tuned, evaluation: Evaluation) -> Iterator[tuple[Cell, ...]]:
    nested = one.nested()
    kinds = {"one pair": one.pooled()} | ({} if nested is None else {"nested": nested})
    for kind, cases in kinds.items():
        yield _row(one, kind, cases)
    yield from (_paper_row(row) for row in _printed(one.dataset, evaluation) if one.published in row.models)


def _row(one: Tuned, kind: str, cases: pd.DataFrame) -> tuple[Cell, ...]:
    values = {metric: cases[metric].to_numpy(dtype=float) for metric in TESTED}
    means = {
        metric: float(np.nanmean(found)) if np.isfinite(found).any() else np.nan for metric, found in values.items()
    }
    far = np.inf if np.isnan(means["hd_voxels"]) else means["hd_voxels"]
    score = combined_score(means["dice"], far, one.search.hd_max)
    measured = [
        _mean_sd(means[metric], float(np.nanstd(found)) if np.isfinite(found).any() else np.nan, metric)
        for metric, found in values.items()
    ]
    undefined = int(np.isnan(values["hd_voxels"]).sum())
    return (
        Cell(one.model, heading=True),
        Cell(kind),
        count_cell(cases["case"].nunique()),
        _several(cases["threshold"]),
        _several(cases[one.search.size]),
        *measured,
        number_cell(score, 4),
        count_cell(undefined),
    )


def _several(values: pd.Series) -> Cell:
    """One number, or those of the folds in their order."""
    known = list(dict.fromkeys(values))
    return Cell(", ".join(f"{value:g}" for value in known), float(known[0]) if len(known) == 1 else None)


def _mean_sd(mean: float, sd: float, metric: str) -> Cell:
    places = _PLACES[metric]
    text = f"{plain_number(mean, places)} ± {plain_number(sd, places)}"
    return Cell(text, None if np.isnan(mean) else mean, further=further(sd=sd))


def _printed(dataset: str, evaluation: Evaluation) -> list[PaperRow]:
    """The printed rows about a dataset that name the pair they were made with."""
    tables = [table for table in evaluation.papers if {"threshold", "min_voxels"} <= set(table.columns)]
    return [row for table in tables for row in table.rows if row.where.get("dataset", dataset) == dataset]


def _paper_row(row: PaperRow) -> tuple[Cell, ...]:
    def cell(name: str, places: int | None = None) -> Cell:
        value = row.values.get(name)
        if not isinstance(value, Number):
            return Cell(value or NOTHING)
        text = f"{value.mean:g}" if places is None else plain_number(value.mean, places)
        return Cell(text if value.sd is None else f"{text} ± {plain_number(value.sd, places or 0)}", value.mean)

    measured = [cell(metric, 1 if metric == "hd_voxels" else 2) for metric in TESTED]
    name = Cell(f"{row.method}, {row.where.get('dataset', '')}".rstrip(", "), heading=True)
    pair = (cell("threshold"), cell("min_voxels"))
    return (name, Cell("paper says"), Cell(NOTHING), *pair, *measured, cell("combined_score", 4), Cell(NOTHING))


def _baseline(models: Sequence[Tuned], evaluation: Evaluation) -> Tuned:
    """The model of the first printed row that one of them has, else the first of them."""
    for row in _printed(models[0].dataset, evaluation):
        for one in models:
            if one.published in row.models:
                return one
    return models[0]


def _tests(first: Tuned, other: Tuned) -> Iterator[tuple[Cell, ...]]:
    cases = pd.concat([one.pooled().assign(model=one.model, error="") for one in (other, first)], ignore_index=True)
    for _, row in comparisons(cases, metrics=TESTED).iterrows():
        places = _PLACES[str(row["metric"])]
        yield (
            Cell(f"{row['first']} − {row['second']}", heading=True),
            Cell(_HEADINGS[str(row["metric"])]),
            count_cell(int(row["n"])),
            *(number_cell(float(row[name]), places) for name in ("mean_first", "mean_second", "difference")),
            Cell(p_value(float(row["p"])), None if np.isnan(row["p"]) else float(row["p"])),
        )


def _grid(one: Tuned) -> pd.DataFrame:
    """Scores, thresholds by sizes."""
    return pair_scores(one.table, one.search).pivot(index="threshold", columns=one.search.size, values="score")


def _score_table(one: Tuned) -> Table:
    scores, pair = _grid(one), one.pair

    def cell(threshold: float, size: float, score: float) -> Cell:
        chosen = (threshold, size) == (pair.threshold, pair.size)
        return Cell(f"{score:.4f}{' ◀' if chosen else ''}", score, ours=chosen)

    sizes = [float(size) for size in scores.columns]
    rows = []
    for threshold, values in zip(map(float, scores.index), scores.to_numpy(), strict=True):
        line = [cell(threshold, size, float(score)) for size, score in zip(sizes, values, strict=True)]
        rows.append((Cell(f"{threshold:g}", heading=True), *line))
    header = ("Threshold", *(f"{size:g} {_UNITS[one.search.size]}" for size in scores.columns))
    notes = (f"◀ the one pair. Over {pair.cases} rows of cases, {pair.undefined} of them without HD at it.",)
    name = f"tuning_scores_{file_name(one.model)}_{file_name(one.dataset)}"
    return Table(f"Score of every pair: {one.model}", header, tuple(rows), notes=notes, name=name)


def _picture(one: Tuned) -> Picture:
    pair = one.pair
    return stored(
        f"tuning_{file_name(one.model)}_{file_name(one.dataset)}",
        score_map(one),
        caption=f"{one.model}: score of threshold and smallest component over {pair.cases} rows of cases; framed: the "
        "one pair.",
        alt=f"Heatmap of the score for {one.model}, best at threshold {pair.threshold:g} and {pair.size:g}.",
    )


def _sentence(one: Tuned) -> str:
    pair, unit = one.pair, _UNITS[one.search.size]
    return (
        f"{one.model}: lesion above {pair.threshold:g}, components of at least {pair.size:g} {unit}; score "
        f"{pair.score:.4f} over {pair.cases} rows of cases, {pair.undefined} without a Hausdorff distance"
        f"{'' if one.tested else '; these cases are not those that are tested'}."
    )


def _table(run: RunMaterial) -> pd.DataFrame:
    assert run.tuning is not None
    subjects: Mapping[str, object] = dict(zip(run.cases["case"], run.cases["subject"], strict=True))
    table = run.tuning.table
    return table.assign(run=run.name, subject=table["case"].map(lambda case: subjects.get(case)))


def _are_tested(run: RunMaterial) -> bool:
    assert run.tuning is not None
    return set(run.tuning.table["case"]) == set(run.cases["case"])
