"""How the runs were trained: loss, validation Dice, site accuracy over epochs. Knows metrics.csv; knows no cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from strokelab.contract import CURVES_ONLY
from strokelab.report.cells import NOTHING, Cell, Table, count_cell, further, plain_number
from strokelab.report.drawing import DASHES, GREY, PALE, colour_of, legend_below, new_figure
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.pictures import Section, stored

TITLE = "Training"
SNAPSHOT_RATE = "snapshot/rate"
"""Column of the log with a value in the epochs that left a snapshot: the rate of their last step."""
_APART = 5
_ACCURACY = ("site/accuracy", "site/balanced_accuracy")


def training_section(evaluation: Evaluation) -> Section:
    """The figures of the training log, or the sentence why one is not there."""
    runs = evaluation.runs
    if all(run.history is None for run in runs):
        return Section("training", TITLE, sentences=("No training log (metrics.csv) came with these runs.",))
    repeats = " Band: one SD over the runs of a model." if len(runs) > len(evaluation.models) else ""
    repeats += " Thin line: the next stage of the training begins." if stage_starts(runs) else ""
    drawn: list[tuple[str, Figure | None, str]] = [
        (
            "loss",
            curves(runs, {"train/loss": "total loss"}, ylabel="Total training loss"),
            "Total training loss per epoch, site loss included where there is one.",
        ),
        (
            "validation_dice",
            curves(runs, {"val/pooled_dice": "validation Dice"}, ylabel="Pooled Dice ↑"),
            "Pooled Dice on the validation cases of the training sites, for orientation only.",
        ),
        (
            "curves_only_dice",
            curves(runs, {f"{CURVES_ONLY}/pooled_dice": "held-out Dice, curves only"}, ylabel="Pooled Dice ↑"),
            "Curves only: pooled Dice on patches of the cases that test, as nnU-Net plots the held-out fold. These "
            "runs have no validation part; no weights, length or settings were chosen by it.",
        ),
        (
            "learning_rate",
            learning_rate(runs),
            "Learning rate as the settings give it, of one run of each model. Triangle: a restart; dot: weights that "
            "were kept as a snapshot, at the rate of their last step, or at the lower edge where that is lower.",
        ),
        (
            "early_stopping",
            early_stopping(runs),
            "The number that early stopping looked at. Dot: the epoch whose weights are evaluated, at the run's own "
            "value; cross: the epoch in which it ended the training.",
        ),
        (
            "site_accuracy",
            site_accuracy(runs),
            "How well the site classifier tells the training sites apart; the adversary is to bring it down to chance "
            "(1/K). On sites of unequal size, always naming the largest gives the upper line. Diamond: a fresh "
            "classifier, fitted on the features once training has ended, on subjects that it was not fitted on; it "
            "says how much of the site is left.",
        ),
    ]
    pictures = tuple(
        stored(
            name,
            figure,
            caption=caption + repeats,
            alt=f"Lines over epochs, one per model: {name.replace('_', ' ')}.",
        )
        for name, figure, caption in drawn
        if figure is not None
    )
    sentences = []
    if not any(picture.name == "site_accuracy" for picture in pictures):
        sentences.append("No run trained a site classifier, so there is no site accuracy to show.")
    without = [run.name for run in runs if run.history is None]
    if without:
        sentences.append(f"Without a training log: {', '.join(without)}.")
    accuracy = accuracy_table(runs)
    return Section("training", TITLE, pictures, tuple(sentences), () if accuracy is None else (accuracy,))


def accuracy_table(runs: Sequence[RunMaterial]) -> Table | None:
    """Site accuracy of the last epoch per model, over its runs; None where no run has logged it.

    Args:
        runs: of any models; repeats of a model are its seeds and folds.
    """
    rows = []
    for model in dict.fromkeys(run.model for run in runs):
        own = [run for run in runs if run.model == model and run.history is not None]
        ends: dict[str, list[float]] = {}
        for run in own:
            assert run.history is not None
            for column in _ACCURACY:
                values = epoch_values(run.history, column)
                ends.setdefault(column, []).extend([float(values.iloc[-1])] if len(values) else [])
        if not any(ends.values()):
            continue
        chance = [share for run in own if (share := chance_of(run)) is not None]
        largest = [share for run in own if (share := run.majority_share) is not None]
        cells = [Cell(model, heading=True), count_cell(len(ends["site/accuracy"]))]
        levels = [_mean_sd(values) for values in (*ends.values(), chance, largest)]
        rows.append((*cells, *levels))
    if not rows:
        return None
    header = ("Model", "Runs", "Accuracy", "Balanced accuracy", "Chance (1/K)", "Always the largest site")
    notes = (
        "Mean ± SD over the runs of a model, mean over the training samples of the last epoch. SG-Net's paper, section "
        "III-C, gives approximately 0.14 after five repeats, and 1/8 as the share of a random guess.",
        "Balanced accuracy is the mean over sites of the share classified correctly: a constant guess gives 1/K.",
    )
    return Table("Site accuracy of the last epoch", header, tuple(rows), notes, name="site_accuracy")


def _mean_sd(values: Sequence[float]) -> Cell:
    if not values:
        return Cell(NOTHING)
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1)) if len(set(values)) > 1 else float("nan")
    text = plain_number(mean, 3) + ("" if np.isnan(sd) else f" ± {plain_number(sd, 3)}")
    return Cell(text, mean, further=further(sd=sd))


def epoch_values(history: pd.DataFrame, column: str) -> pd.Series:
    """Mean of a sparse log column per epoch, epochs without a value left out."""
    if column not in history:
        return pd.Series(dtype=float)
    return history.dropna(subset=[column]).groupby("epoch")[column].mean()


def curves(runs: Sequence[RunMaterial], columns: Mapping[str, str], *, ylabel: str) -> Figure | None:
    """Log columns over epochs: mean over the runs of a model, a band of one SD when there are several.

    Args:
        runs: of any models.
        columns: log column -> its name in the legend; told apart by dashes.
        ylabel: of the axis.

    Returns:
        None when no run has logged any of the columns.
    """
    figure, axes = new_figure(3.4)
    models = list(dict.fromkeys(run.model for run in runs))
    colours = colour_of(models)
    for index, model in enumerate(models):
        for position, (column, title) in enumerate(columns.items()):
            histories = [run.history for run in runs if run.model == model and run.history is not None]
            lines = [line for line in (epoch_values(history, column) for history in histories) if len(line)]
            if not lines:
                continue
            table = pd.concat(lines, axis=1)
            mean, sd = table.mean(axis=1), table.std(axis=1, ddof=1)
            mark = "o" if len(mean) < 4 else ""
            label = f"{model}: {title}" + (f" ({len(lines)} runs)" if len(lines) > 1 else "")
            epochs = mean.index.to_numpy(dtype=float) + 1
            # With one column the dash is free to tell the models apart without colour.
            dash = DASHES[(position if len(columns) > 1 else index) % len(DASHES)]
            axes.plot(epochs, mean, dash, color=colours[model], marker=mark, label=label, linewidth=1.6)
            if len(lines) > 1:
                axes.fill_between(epochs, mean - sd, mean + sd, color=colours[model], alpha=0.15, linewidth=0)
    if not axes.lines:
        return None
    _mark_stages(axes, runs, shift=0.5)
    axes.set(xlabel="Epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color=PALE, linewidth=0.7)
    legend_below(figure, axes.get_legend_handles_labels()[0], columns=2)
    return figure


def stage_starts(runs: Sequence[RunMaterial]) -> list[int]:
    """Epochs done when a further stage of a run began, over all runs."""
    starts: set[int] = set()
    for run in runs:
        if run.history is not None and "stage" in run.history:
            starts |= set(run.history.groupby("stage")["epoch"].min().astype(int)[1:])
    return sorted(starts)


def learning_rate(runs: Sequence[RunMaterial]) -> Figure | None:
    """The learning rate over epochs, restarts and snapshots marked.

    Returns:
        None when no run has a schedule that is known beforehand.
    """
    shown = [run for run in runs if run.rates is not None]
    if not shown:
        return None
    figure, axes = new_figure(3.4)
    colours = colour_of(list(dict.fromkeys(run.model for run in runs)))
    highest = pd.concat([run.rates.groupby("stage")["rate"].max() for run in shown if run.rates is not None])
    lowest = 0.0
    if highest.max() > _APART * highest.min() > 0:  # on one linear axis the lower stage would be a flat line
        lowest = highest.min() / 1000
        axes.set(yscale="log", ylim=(lowest, 2 * highest.max()))
    for index, run in enumerate(shown):
        assert run.rates is not None
        colour = colours[run.model]
        for _, stage in run.rates.groupby("stage"):
            axes.plot(stage["epoch"], stage["rate"], DASHES[index % len(DASHES)], color=colour, linewidth=1.2)
        axes.lines[-1].set_label(run.model)
        restarts = run.rates[run.rates["restart"]]
        if len(restarts):
            axes.plot(restarts["epoch"], restarts["rate"], "^", color=colour, markersize=5, label="restart")
        kept = pd.Series(dtype=float) if run.history is None else epoch_values(run.history, SNAPSHOT_RATE)
        look: dict[str, Any] = {"color": colour, "markersize": 5, "label": "snapshot", "clip_on": False}
        if len(kept):
            axes.plot(kept.index.to_numpy(dtype=float) + 1, kept.clip(lower=lowest), "o", **look)
    _mark_stages(axes, runs)
    axes.set(xlabel="Epochs done", ylabel="Learning rate")
    axes.grid(color=PALE, linewidth=0.7)
    handles = {handle.get_label(): handle for handle in axes.get_lines()}
    legend_below(figure, [handle for name, handle in handles.items() if not str(name).startswith("_")], columns=2)
    return figure


def _mark_stages(axes: Axes, runs: Sequence[RunMaterial], *, shift: float = 0.0) -> None:
    for start in stage_starts(runs):
        axes.axvline(start + shift, color=GREY, linewidth=0.6)


def early_stopping(runs: Sequence[RunMaterial]) -> Figure | None:
    """What early stopping looked at over epochs, with each run's epoch of the evaluated weights and of its end.

    Returns:
        None when no run was asked to stop early, or none has logged what it looked at.
    """
    watched = [run for run in runs if run.monitor and run.history is not None]
    columns = {run.monitor: run.monitor for run in watched}
    figure = curves(watched, columns, ylabel="Monitored value") if watched else None
    if figure is None:
        return None
    axes, colours = figure.axes[0], colour_of(list(dict.fromkeys(run.model for run in watched)))
    for run in watched:
        assert run.history is not None
        values = epoch_values(run.history, run.monitor)
        for epoch, mark, size in ((run.kept_epoch, "o", 7), (run.ended_epoch, "X", 8)):
            if epoch is not None and epoch - 1 in values.index:
                place = [epoch], [float(values.loc[epoch - 1])]
                axes.plot(*place, mark, color=colours[run.model], markersize=size, markeredgecolor="white", zorder=4)
    return figure


def site_accuracy(runs: Sequence[RunMaterial]) -> Figure | None:
    """Site accuracy over epochs beside chance (1/K) and the share of the largest site (SG-Net, Fig. 4).

    Returns:
        None when no run has logged it.
    """
    columns = {"site/accuracy": "accuracy", "site/balanced_accuracy": "balanced accuracy"}
    figure = curves(runs, columns, ylabel="Site classification")
    if figure is None:
        return None
    axes = figure.axes[0]
    logged = [run for run in runs if run.history is not None and len(epoch_values(run.history, "site/accuracy"))]
    chance = sorted({share for run in logged if (share := chance_of(run)) is not None})
    majority = [share for run in logged if (share := run.majority_share) is not None]
    for level in chance:
        axes.axhline(level, color=GREY, linestyle=(0, (1, 1.5)), linewidth=1.2, label=f"chance, {level:.3f}")
    if majority:
        level = float(np.mean(majority))
        axes.axhline(
            level, color=GREY, linestyle=(0, (6, 2)), linewidth=1.2, label=f"always the largest site, {level:.3f}"
        )
    probes = _probes(logged)
    for run, (epoch, accuracy) in probes.items():
        label = f"{run}: a fresh classifier after training, {accuracy:.3f}"
        axes.plot([epoch], [accuracy], "D", color=GREY, markersize=6, markeredgecolor="white", zorder=4, label=label)
    highest = max(axes.get_ylim()[1], *chance, *majority, *(accuracy for _, accuracy in probes.values()), 0.2)
    axes.set_ylim(0, min(1.02, 1.15 * highest))
    legend_below(figure, axes.get_legend_handles_labels()[0], columns=2)
    return figure


def _probes(logged: Sequence[RunMaterial]) -> dict[str, tuple[int, float]]:
    """Of each model with a probe: its last epoch (from 1), and the mean of its runs' ``site/probe_accuracy``."""
    found: dict[str, list[tuple[int, float]]] = {}
    for run in logged:
        assert run.history is not None
        probed: pd.Series = run.history.get("site/probe_accuracy", pd.Series(dtype=float)).dropna()
        if len(probed):
            last = int(epoch_values(run.history, "site/accuracy").index[-1]) + 1
            found.setdefault(run.model, []).append((last, float(probed.iloc[-1])))
    return {
        model: (max(last for last, _ in seen), float(np.mean([one for _, one in seen])))
        for model, seen in found.items()
    }


def chance_of(run: RunMaterial) -> float | None:
    """1/K as logged, else from the training sites; None when neither is known."""
    if run.history is not None and "site/chance" in run.history and run.history["site/chance"].notna().any():
        return round(float(run.history["site/chance"].dropna().iloc[-1]), 6)
    return round(1 / len(run.sites), 6) if run.sites else None
