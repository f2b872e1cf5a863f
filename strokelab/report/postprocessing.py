"""What a post-processing did to the same maps, by how much lesion there is. Knows case rows; knows no voxels.

The size classes are MAPPING's (Huo 2022): whether the scan has much lesion decides whether components are merged and
dropped, or split. The figures are its motive: how large lesions are, and into how many components they fall.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from strokelab.metrics.profiles import find_profile
from strokelab.report.cells import Cell, Table, count_cell, number_cell
from strokelab.report.drawing import COLOURS, PALE, log_axis, new_figure
from strokelab.report.material import Evaluation, RunMaterial, digits, heading
from strokelab.report.pictures import Picture, Section, stored
from strokelab.statistics.aggregate import has_failed

ANCHOR, TITLE = "postprocessing", "Effect of the post-processing"
SIZE_LIMIT_MM3 = 3000.0  # of MAPPING, where the recipe names none
METRICS_SHOWN = ("dice", "lesion_f1", "lesion_count_difference", "volume_difference", "hd95")

_MAPPING = ".postprocess.mapping"


@dataclass(frozen=True, eq=False)
class Effect:
    """Two runs whose maps are the same and whose post-processing is not.

    Args:
        without: model name of the run that stands for the plain masks.
        finished: of the run with MAPPING's post-processing.
        limit_mm3: between the size classes.
        cases: one row per case: for each of ``METRICS_SHOWN`` its value ``without`` and ``finished`` (columns
            ``dice_without``, ``dice_finished`` ...), ``small`` (bool) and ``changed`` (bool).
    """

    without: str
    finished: str
    limit_mm3: float
    cases: pd.DataFrame


def effects(evaluation: Evaluation) -> list[Effect]:
    """Every pair of runs that differ in nothing but MAPPING's post-processing, on the cases both were scored on."""
    return [
        effect for first, second in permutations(evaluation.runs, 2) if (effect := _effect(first, second)) is not None
    ]


def effect_tables(evaluation: Evaluation) -> list[Table]:
    """The means without and with the post-processing in both size classes; none where no pair of runs tells it."""
    every = effects(evaluation)
    rows = [row for effect in every for row in _rows(effect, evaluation.profile)]
    if not rows:
        return []
    header = ["Predicted volume", "Masks", "Cases", *(heading(metric, evaluation.profile) for metric in METRICS_SHOWN)]
    notes = (
        "Size classes by the volume of the mask without post-processing, on the grid of the case. Means over cases "
        "with a finite value on both sides, their number in brackets where they are fewer.",
        "The usual constants were chosen by the method's authors, on the cross-validation of ATLAS v2.0 that their "
        "paper reports.",
    )
    return [Table("Without and with post-processing", tuple(header), tuple(rows), notes=notes, name="postprocessing")]


def postprocessing_section(evaluation: Evaluation) -> Section | None:
    """The figures that stand beside ``effect_tables``; None where there is no such table."""
    if not effects(evaluation):
        return None
    cases = evaluation.cases
    once = cases[~has_failed(cases)].drop_duplicates("case")
    return Section(ANCHOR, TITLE, tuple(_pictures(once, find_profile(evaluation.profile).neighbours)))


def size_histogram(cases: pd.DataFrame) -> Figure:
    """How many cases have how much lesion, on a logarithmic axis (Huo 2022, Fig. 2).

    Args:
        cases: one row per case with ``lesion_ml`` above 0.
    """
    volumes = cases["lesion_ml"].to_numpy(dtype=float)
    # A third of a decade each; the last edge lies above the largest lesion.
    first, last = (np.floor(3 * np.log10(volumes.min())), np.floor(3 * np.log10(volumes.max())) + 1)
    edges = 10 ** (np.arange(first, last + 1) / 3)
    figure, axes = new_figure(3.0)
    counts, *_ = axes.hist(volumes, bins=edges.tolist(), color=COLOURS[0], edgecolor="white", linewidth=0.6)
    axes.set_ylim(0, 1.2 * float(np.max(counts)))  # room for the median's name
    median = float(np.median(volumes))
    axes.axvline(median, color="black", linewidth=1.2, linestyle="--")
    axes.annotate(
        f"median {median:.3g} ml",
        (median, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -9),
        textcoords="offset points",
        fontsize=8,
    )
    log_axis(axes, "x")
    axes.set(xlabel="Lesion volume (ml, logarithmic)", ylabel="Cases")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def count_scatter(cases: pd.DataFrame, neighbours: int) -> Figure:
    """Components of the annotated lesion against its volume, a dot per case.

    Args:
        cases: one row per case with ``lesion_ml`` above 0 and ``truth_lesions_N``.
        neighbours: N, of the metric profile.
    """
    figure, axes = new_figure(3.0)
    axes.plot(
        cases["lesion_ml"],
        cases[f"truth_lesions_{neighbours}"],
        linestyle="",
        marker="o",
        markersize=4.5,
        alpha=0.55,
        color=COLOURS[0],
        markeredgewidth=0,
    )
    log_axis(axes, "x")
    axes.set_yscale("log", base=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="Lesion volume (ml, logarithmic)", ylabel="Lesions (components)")
    axes.grid(color=PALE, linewidth=0.7)
    return figure


def _pictures(cases: pd.DataFrame, neighbours: int) -> Iterator[Picture]:
    known = cases[cases["lesion_ml"] > 0]
    if known.empty:
        return
    empty = len(cases) - len(known)
    note = f" {empty} without a lesion are not shown." if empty else ""
    yield stored(
        "lesion_sizes",
        size_histogram(known),
        caption=f"Volume of the annotated lesion in {len(known)} cases.{note}",
        alt=f"Histogram of lesion volumes of {len(known)} cases.",
    )
    column = f"truth_lesions_{neighbours}"
    if column in known and known[column].notna().any():
        yield stored(
            "lesion_counts_by_size",
            count_scatter(known[known[column] > 0], neighbours),
            caption=f"Connected components ({neighbours} neighbours) of the annotated lesion against its volume, one "
            "dot per case.",
            alt="Scatter of the number of lesions against lesion volume.",
        )


def _effect(first: RunMaterial, second: RunMaterial) -> Effect | None:
    needed = {"weights", "postprocessing", *METRICS_SHOWN}
    if not all(needed <= set(run.cases.columns) for run in (first, second)):
        return None
    if not _is_mapping(second.cases) or _is_mapping(first.cases):
        return None
    columns = ["case", "weights", "prediction_ml", "tp", "fp", *METRICS_SHOWN]
    left, right = (run.cases.loc[~has_failed(run.cases)].reindex(columns=columns) for run in (first, second))
    both = left.merge(right, on=["case", "weights"], suffixes=("_without", "_finished"))
    if both.empty or both["weights"].isna().all():
        return None
    limit = _limit(second.cases)
    same = (both["tp_without"] == both["tp_finished"]) & (both["fp_without"] == both["fp_finished"])
    both = both.assign(small=both["prediction_ml_without"] * 1000 < limit, changed=~same)
    return Effect(first.model, second.model, limit, both)


def _rows(effect: Effect, profile: str) -> Iterator[tuple[Cell, ...]]:
    """Per size class the means without, with, and of the differences."""
    limit = f"{effect.limit_mm3 / 1000:g} ml"
    classes = {
        f"below {limit}": effect.cases[effect.cases["small"]],
        f"{limit} and more": effect.cases[~effect.cases["small"]],
        "all": effect.cases,
    }
    for name, cases in classes.items():
        changed = int(cases["changed"].sum())
        counts = [count_cell(len(cases)), count_cell(len(cases)), Cell(f"{changed} changed", float(changed))]
        lines = [[Cell(name, heading=True), Cell(model)] for model in (effect.without, effect.finished, "difference")]
        for line, count in zip(lines, counts, strict=True):
            line.append(count)
        for metric in METRICS_SHOWN:
            pair = cases[[f"{metric}_without", f"{metric}_finished"]].to_numpy(dtype=float)
            finite = pair[np.isfinite(pair).all(axis=1)]
            before, after = finite.mean(axis=0) if len(finite) else (np.nan, np.nan)
            note = f" (n={len(finite)})" if len(finite) < len(pair) else ""
            for line, value in zip(lines, (before, after, after - before), strict=True):
                cell = number_cell(float(value), digits(metric, profile))
                sign = "+" if line is lines[2] and float(value) > 0 else ""
                line.append(Cell(f"{sign}{cell.text}{note}", cell.number))
        yield from (tuple(line) for line in lines)


def _is_mapping(cases: pd.DataFrame) -> bool:
    return not cases.empty and bool(cases["postprocessing"].astype(str).str.contains(_MAPPING, regex=False).all())


def _limit(cases: pd.DataFrame) -> float:
    try:
        return float(json.loads(str(cases["postprocessing"].iloc[0])).get("size_limit", SIZE_LIMIT_MM3))
    except (ValueError, TypeError, AttributeError):  # a table from somewhere else
        return SIZE_LIMIT_MM3
