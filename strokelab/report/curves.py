"""What the probabilities are worth: Dice against the threshold, and calibration. Knows histograms; knows no images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter
from numpy.typing import NDArray

from strokelab.files import natural_key
from strokelab.metrics.thresholds import (
    THRESHOLDS,
    ProbabilityCounts,
    dice_at_thresholds,
    from_rows,
    max_dice_common,
)
from strokelab.report.cells import listed as some
from strokelab.report.drawing import GREY, PALE, WIDTH, colour_of, dash_of, legend_below, marker_of, new_figure, plain
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.pictures import Section, listed, stored
from strokelab.statistics.aggregate import has_failed

TITLE = "Thresholds and calibration"
USED_THRESHOLD = 0.5
_GROUP = 5  # bins of 0.01 drawn as one mark
Counts = Mapping[str, tuple[ProbabilityCounts, ...]]  # model -> one histogram per case and run


def threshold_section(evaluation: Evaluation) -> Section:
    """Both figures for the models whose probabilities are known, and whose are not."""
    counts = counts_by_model(evaluation)
    colours = colour_of(evaluation.models)
    without = [run.name for run in evaluation.runs if run.probabilities is None or run.probabilities.empty]
    if not counts:
        reason = "No probabilities came with these runs (masks only), so thresholds and calibration cannot be judged."
        return Section("thresholds", TITLE, sentences=(reason,))
    sentences = [_in_words(model, histograms) for model, histograms in counts.items()]
    sentences.append("A threshold chosen on the very cases it is measured on gives an upper bound and no result.")
    if without:
        sentences.append(f"Without probabilities, and therefore not plotted: {', '.join(without)}.")
    lacking = [said for run in evaluation.runs if run.name not in without and (said := _lacking(run))]
    if lacking:
        sentences.append(f"Cases without probabilities: {', '.join(lacking)}.")
    names = listed(list(counts))
    pictures = (
        stored(
            "dice_by_threshold",
            threshold_figure(counts, colours),
            caption="Mean Dice over cases (and runs of a model) against the threshold on the lesion probability, "
            f"before any post-processing. Mark: the best common threshold (mDSC common); dotted: {USED_THRESHOLD}.",
            alt=f"Mean Dice against the threshold for {names}; the best values stand in the sentences above.",
        ),
        stored(
            "calibration",
            calibration_figure(counts, colours),
            caption="Above: share of lesion among the voxels of a probability; on the diagonal, probabilities mean "
            "what they say, beneath it they are too high. Below: how many voxels each mark stands for. Voxels of all "
            "cases pooled, those under 0.01 left out (nearly all of a brain). ECE: mean distance from the diagonal "
            "over voxels, in steps of 0.01.",
            alt=f"Reliability diagram for {names} with the number of voxels underneath.",
        ),
    )
    return Section("thresholds", TITLE, pictures, tuple(sentences))


def counts_by_model(evaluation: Evaluation) -> dict[str, tuple[ProbabilityCounts, ...]]:
    """The histograms of every case of every run that has them, by model in order of appearance."""
    gathered: dict[str, list[ProbabilityCounts]] = {}
    for run in evaluation.runs:
        if run.probabilities is None or run.probabilities.empty:
            continue
        histograms = [from_rows(rows) for _, rows in run.probabilities.groupby("case", sort=True)]
        gathered.setdefault(run.model, []).extend(histograms)
    return {model: tuple(histograms) for model, histograms in gathered.items()}


def threshold_curve(counts: tuple[ProbabilityCounts, ...]) -> NDArray[np.float64]:
    """Mean Dice (99,) over cases at each of ``metrics.thresholds.THRESHOLDS``."""
    mean: NDArray[np.float64] = np.mean([dice_at_thresholds(one) for one in counts], axis=0)
    return mean


@dataclass(frozen=True, eq=False)
class Calibration:
    """How far probabilities are from shares of lesion, over the voxels of at least 0.01."""

    predicted: NDArray[np.float64]  # (G,), mean probability of a group of bins; groups without a voxel are left out
    observed: NDArray[np.float64]  # (G,), share of lesion in it
    voxels: NDArray[np.int64]  # (G,)
    ece: float  # expected calibration error over bins of 0.01; NaN without a voxel


def calibration(counts: tuple[ProbabilityCounts, ...]) -> Calibration:
    """Reliability of pooled voxels (Guo et al. 2017, On calibration of modern neural networks, section 2).

    Voxels under 0.01 are left out: they are nearly all of a brain and would make any model look calibrated.
    """
    table = np.array([[one.lesion, one.lesion + one.healthy, one.mass] for one in counts]).sum(axis=0)
    table[:, 0] = 0
    lesion, voxels, mass = table
    ece = float(np.abs(lesion - mass).sum() / voxels.sum()) if voxels.sum() else float("nan")
    groups = table.reshape(3, -1, _GROUP).sum(axis=2)
    lesion, voxels, mass = groups[:, groups[1] > 0]
    return Calibration(mass / voxels, lesion / voxels, voxels.astype(np.int64), ece)


def threshold_figure(counts: Counts, colours: Mapping[str, str] | None = None) -> Figure:
    """Mean Dice against the threshold per model, the best common threshold marked.

    Args:
        counts: as of ``counts_by_model``.
        colours: per model; by default those of ``drawing.colour_of``.
    """
    colours = colours or colour_of(list(counts))
    dashes, marks = dash_of(list(colours)), marker_of(list(colours))
    figure, axes = new_figure(3.4)
    axes.axvline(USED_THRESHOLD, color=GREY, linestyle=":", linewidth=1.2)
    handles = []
    for model, histograms in counts.items():
        dice, threshold = max_dice_common(histograms)
        look: dict[str, Any] = {"color": colours[model], "linestyle": dashes[model], "linewidth": 1.6}
        axes.plot(THRESHOLDS, threshold_curve(histograms), **look)
        axes.plot([threshold], [dice], marks[model], color=colours[model], markersize=7, markeredgecolor="white")
        label = f"{model}: {dice:.3f} at {threshold:.2f}"
        handles.append(Line2D([], [], marker=marks[model], markersize=6, label=label, **look))
    axes.set(xlabel="Threshold on the lesion probability", ylabel="Mean Dice ↑", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    axes.grid(color=PALE, linewidth=0.7)
    legend_below(figure, handles, columns=2)
    return figure


def calibration_figure(counts: Counts, colours: Mapping[str, str] | None = None) -> Figure:
    """Reliability diagram per model over a strip with the number of voxels; arguments as of ``threshold_figure``."""
    colours = colours or colour_of(list(counts))
    dashes, marks = dash_of(list(colours)), marker_of(list(colours))
    figure = Figure(figsize=(WIDTH, 4.3), layout="constrained", facecolor="white")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    above.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1.2)
    for model, histograms in counts.items():
        found = calibration(histograms)
        look: dict[str, Any] = {
            "color": colours[model],
            "linestyle": dashes[model],
            "marker": marks[model],
        }
        label = f"{model}: ECE {found.ece:.3f}" if found.voxels.size else f"{model}: no voxel of 0.01 or more"
        above.plot(found.predicted, found.observed, label=label, linewidth=1.4, markersize=4.5, **look)
        below.plot(found.predicted, found.voxels, linewidth=1.0, markersize=3, **look)
    for axes in (above, below):
        plain(axes)
        axes.grid(color=PALE, linewidth=0.7)
    above.set(ylabel="Share of lesion", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    below.set(xlabel="Mean predicted probability", ylabel="Voxels", yscale="log")
    below.set_ylim(*_decades([line.get_ydata() for line in below.get_lines()]))
    below.yaxis.set_major_locator(LogLocator(numticks=4))
    below.yaxis.set_minor_formatter(NullFormatter())  # in a strip this low they would lie upon each other
    legend_below(figure, above.get_legend_handles_labels()[0], columns=2)
    return figure


def _decades(counts: Sequence[Any]) -> tuple[float, float]:
    """Whole powers of ten around counts, with a little air: at least two of them have a label."""
    values = np.concatenate([np.ravel(found) for found in counts] or [np.ones(1)])
    values = values[values > 0] if (values > 0).any() else np.ones(1)
    low, high = math.floor(math.log10(values.min())), math.ceil(math.log10(values.max()))
    return 0.7 * 10.0**low, 1.4 * 10.0 ** max(high, low + 1)


def _lacking(run: RunMaterial) -> str:
    """Scored cases of a run with probabilities that have none themselves, e.g. "1 of sgnet-0 (a2)"."""
    assert run.probabilities is not None
    scored = run.cases.loc[~has_failed(run.cases), "case"].astype(str)
    names = sorted({*scored} - {*run.probabilities["case"].astype(str)}, key=natural_key)
    return f"{len(names)} of {run.name} ({some(names)})" if names else ""


def _in_words(model: str, counts: tuple[ProbabilityCounts, ...]) -> str:
    dice, threshold = max_dice_common(counts)
    used = threshold_curve(counts)[int(np.argmin(np.abs(THRESHOLDS - USED_THRESHOLD)))]
    return (
        f"{model}: mean Dice {used:.3f} at the threshold {USED_THRESHOLD}, {dice:.3f} at {threshold:.2f}, the best "
        "threshold for all cases."
    )
