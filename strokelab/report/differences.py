"""One model against another on the same cases, drawn. Knows case rows; the p-values stand in the tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from strokelab.metrics.profiles import METRICS
from strokelab.report.cells import signed_number
from strokelab.report.drawing import COLOURS, GREY, PALE, broken, legend_below, new_figure
from strokelab.report.material import Evaluation, finite
from strokelab.report.pictures import Section, stored
from strokelab.report.significance import comparisons
from strokelab.statistics.repeats import average_repeats

ANCHOR, TITLE = "comparison", "Comparison of the models"
MOST_PAIRS = 6
_METRIC = "dice"
_LETTERS = 36  # of a name in a line


@dataclass(frozen=True, eq=False)
class Difference:
    """Two models on the cases both have a finite value for."""

    first: str
    second: str
    values: NDArray[np.float64]  # (n,), first - second per case, repeats of a case averaged, by case id
    mean: float
    low: float  # of the 95 % bootstrap interval of the mean
    high: float


def difference_section(evaluation: Evaluation) -> Section:
    """The figure of all pairs of models (the best one's, where they are many), or why there is none."""
    if len(evaluation.models) < 2:
        return Section(ANCHOR, TITLE, sentences=("One model only, so there is nothing to compare.",))
    cases = evaluation.cases
    pairs = paired_differences(cases, _METRIC)
    if not pairs:
        return Section(ANCHOR, TITLE, sentences=("No two models share a scored case.",))
    shown = foremost(pairs, cases, _METRIC)
    sentences = []
    if len(shown) < len(pairs):
        sentences.append(
            f"{len(pairs)} pairs of models in all; plotted are those of the model with the highest mean Dice, at most "
            f"{MOST_PAIRS}. The table of comparisons has every pair."
        )
    picture = stored(
        "paired_differences",
        difference_figure(shown, _METRIC),
        caption="Dice of one model minus Dice of the other on the same case: a dot per case (repeats averaged), mean "
        "with its 95 % bootstrap interval beneath. An interval that leaves out zero speaks for the model on its side.",
        alt="Differences in Dice per case for each pair of models. " + " ".join(_in_words(pair) for pair in shown),
        wide=True,
    )
    return Section(ANCHOR, TITLE, (picture,), tuple(sentences))


def paired_differences(cases: pd.DataFrame, metric: str) -> list[Difference]:
    """Every two models that share a case, in the order and with the numbers of ``significance.comparisons``.

    Raises:
        DataError: a case is listed twice in a run.
    """
    lines = comparisons(cases, metrics=[metric])
    averaged = average_repeats(cases, [metric], column="model")[metric]
    found = []
    for line in lines.to_dict("records"):
        # Of two infinite values the difference is undefined; neither it nor an infinite one is in the mean.
        values = finite((averaged[line["first"]] - averaged[line["second"]]).sort_index())
        if values.size:
            numbers = (float(line[key]) for key in ("difference", "low", "high"))
            found.append(Difference(line["first"], line["second"], values, *numbers))
    return found


def foremost(pairs: Sequence[Difference], cases: pd.DataFrame, metric: str) -> list[Difference]:
    """All pairs if they are few, else those of the model with the best mean."""
    if len(pairs) <= MOST_PAIRS:
        return list(pairs)
    means = cases[np.isfinite(cases[metric].astype(float))].groupby("model")[metric].mean()
    best = means.idxmax() if METRICS[metric].higher_is_better else means.idxmin()
    return [pair for pair in pairs if best in (pair.first, pair.second)][:MOST_PAIRS]


def difference_figure(pairs: Sequence[Difference], metric: str) -> Figure:
    """Estimation plot: per pair the cases' differences, their mean with interval, zero in the middle.

    Args:
        pairs: from top to bottom.
        metric: a key of ``metrics.profiles.METRICS``, for the axis and for who is favoured on which side.

    Raises:
        ValueError: nothing to draw.
    """
    if not pairs:
        raise ValueError("no pair to draw")
    longest = max(len(name) for pair in pairs for name in (pair.first, pair.second))
    letters = min(longest, _LETTERS)  # of the names beside the axes; both sides have them once more on one line
    labels = [
        f"{broken(pair.first, _LETTERS)}\n− {broken(pair.second, _LETTERS)}\n(n={pair.values.size})" for pair in pairs
    ]
    row_height = max(0.85, 0.17 * max(label.count("\n") + 1 for label in labels))
    figure, axes = new_figure(0.9 + row_height * len(pairs), width=max(6.2, 1.5 + 0.185 * letters))
    reach = 1.08 * max(float(np.abs(pair.values).max()) for pair in pairs) or 1.0
    axes.axvline(0, color=GREY, linewidth=1.0)
    for row, pair in enumerate(pairs):
        # A fixed pattern spreads the dots: the same table gives the same picture.
        spread = (np.arange(pair.values.size) * 0.618 % 1 - 0.5) * 0.32
        axes.plot(pair.values, row - 0.08 + spread, ".", color=COLOURS[0], markersize=4.5, alpha=0.5, markeredgewidth=0)
        axes.plot([pair.low, pair.high], [row + 0.25, row + 0.25], color="black", linewidth=2.2, solid_capstyle="butt")
        axes.plot([pair.mean], [row + 0.25], "D", color="white", markeredgecolor="black", markersize=6)
        better = METRICS[metric].higher_is_better
        first, second = (pair.first, pair.second) if longest <= _LETTERS else ("the first", "the second")
        left, right = (second, first) if better else (first, second)
        for text, x, side in ((f"← {left} better", 0.005, "left"), (f"{right} better →", 0.995, "right")):
            place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "ha": side, "va": "center"}
            axes.text(x, row - 0.37, text, fontsize=7, color=GREY, parse_math=False, **place)
    axes.set_yticks(range(len(pairs)), labels, parse_math=False)
    axes.set(ylim=(len(pairs) - 0.5, -0.52), xlim=(-reach, reach), xlabel=f"Difference in {METRICS[metric].title}")
    axes.grid(axis="x", color=PALE, linewidth=0.7)
    mean = Line2D([], [], color="black", linewidth=2.2, marker="D", markerfacecolor="white", markersize=6)
    mean.set_label("mean, 95 % interval")
    legend_below(figure, [Line2D([], [], color=COLOURS[0], marker=".", linestyle="", label="one case"), mean])
    return figure


def _in_words(pair: Difference) -> str:
    mean, low, high = (signed_number(value, 3) for value in (pair.mean, pair.low, pair.high))
    return (
        f"{pair.first} minus {pair.second}: {mean} Dice (95 % interval {low} to {high}) "
        f"over {pair.values.size} shared cases."
    )
