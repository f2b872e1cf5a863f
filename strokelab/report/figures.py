"""Figures of a report, each a function of tables. Knows matplotlib's objects; knows no global state and no files.

Colours are those of Okabe and Ito (grey for their yellow, too pale for lines), told apart by every common kind of
colour vision; markers or dashes differ as well where few things are compared.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from strokelab.files import natural_key
from strokelab.metrics.profiles import METRICS
from strokelab.report.intensities import GreyValues, SiteHistograms
from strokelab.report.material import RunMaterial, finite, heading
from strokelab.report.summary import with_sites

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
_WIDTH = 4.9  # inches of every figure: readable on a phone, two abreast on a desk
_GREY = "#555555"


def colour_of(names: Sequence[str]) -> dict[str, str]:
    """A colour per name in order of appearance."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def png(figure: Figure, *, dpi: int = 220) -> bytes:
    """The figure as PNG bytes with a palette of 256 colours, a third of the size of full colour."""
    figure.set_dpi(dpi)
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="rgba", dpi=dpi)
    picture = Image.frombytes("RGBA", figure.canvas.get_width_height(), raw.getvalue()).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(small, format="png")
    return small.getvalue()


def box_values(cases: pd.DataFrame, metric: str) -> dict[tuple[str, str], NDArray[np.float64]]:
    """What the boxes are drawn from: (site, model) -> finite values, sites in natural order, models as they come."""
    table = with_sites(cases)
    sites = sorted(table["site"].unique(), key=natural_key)
    models = list(dict.fromkeys(table["model"]))
    cells = {
        (site, model): finite(table.loc[(table["site"] == site) & (table["model"] == model), metric])
        for site in sites
        for model in models
    }
    return {key: values for key, values in cells.items() if values.size}


def box_plots(cases: pd.DataFrame, metric: str, profile: str = "default") -> Figure:
    """Boxes per site and model, every case a dot, a diamond at the mean (SG-Net, Fig. 8).

    Args:
        cases: with the columns model, site and ``metric``.
        metric: a key of ``metrics.profiles.METRICS``.
        profile: of the metrics, for the unit on the axis.

    Raises:
        ValueError: no finite value.
    """
    cells = box_values(cases, metric)
    if not cells:
        raise ValueError(f"no finite value of {metric}")
    sites, models = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    colours, step = colour_of(list(dict.fromkeys(cases["model"]))), 0.8 / len(models)
    figure, axes = _figure(1.0 + 0.3 * len(sites) * max(len(models), 1.6))
    for (site, model), values in cells.items():
        y = sites.index(site) + (models.index(model) - (len(models) - 1) / 2) * step
        axes.boxplot(
            [values],
            positions=[y],
            widths=step * 0.72,
            orientation="horizontal",
            showfliers=False,
            manage_ticks=False,
            patch_artist=True,
            boxprops={"facecolor": colours[model] + "33", "edgecolor": colours[model]},
            medianprops={"color": colours[model], "linewidth": 1.8},
            whiskerprops={"color": colours[model]},
            capprops={"color": colours[model]},
        )
        # A fixed pattern spreads the dots: the same table gives the same picture.
        spread = (np.arange(values.size) * 0.618 % 1 - 0.5) * step * 0.5
        axes.plot(values, y + spread, ".", color=colours[model], markersize=3, alpha=0.55)
        axes.plot([values.mean()], [y], "D", color="white", markeredgecolor=colours[model], markersize=5.5, zorder=4)
    counts = with_sites(cases).groupby("site")["case"].nunique()
    axes.set_yticks(range(len(sites)), [f"{site}  (n={counts[site]})" for site in sites], parse_math=False)
    axes.set_ylim(len(sites) - 0.4, -0.6)
    if METRICS[metric].limits == (0.0, 1.0):
        axes.set_xlim(-0.02, 1.02)
    axes.set(xlabel=heading(metric, profile), ylabel="site")
    axes.grid(axis="x", color="#dddddd", linewidth=0.7)
    handles = [Line2D([], [], color=colours[m], marker="s", linestyle="", label=m) for m in models]
    handles.append(
        Line2D([], [], color="white", marker="D", markeredgecolor=_GREY, linestyle="", label="mean", markersize=5.5)
    )
    _legend_below(figure, handles)
    return figure


def size_scatter(cases: pd.DataFrame) -> Figure:
    """Dice against lesion volume on a logarithmic axis, one mark per case and run.

    Raises:
        ValueError: no case with a lesion and a finite Dice.
    """
    table = cases[(cases["lesion_ml"] > 0) & cases["dice"].notna()]
    if table.empty:
        raise ValueError("no case with a lesion and a Dice")
    figure, axes = _figure(3.4)
    names = list(dict.fromkeys(cases["model"]))
    colours = colour_of(names)
    for index, model in enumerate(names):
        own = table[table["model"] == model]
        axes.plot(
            own["lesion_ml"],
            own["dice"],
            linestyle="",
            marker=_MARKERS[index % len(_MARKERS)],
            markersize=4.5,
            color=colours[model],
            alpha=0.65,
            markeredgewidth=0,
            label=model,
        )
    axes.set_xscale("log")
    axes.set(xlabel="Lesion volume (ml, logarithmic)", ylabel=heading("dice"), ylim=(-0.03, 1.03))
    axes.grid(color="#dddddd", linewidth=0.7)
    _legend_below(figure, axes.get_legend_handles_labels()[0])
    return figure


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
    figure, axes = _figure(3.4)
    models = list(dict.fromkeys(run.model for run in runs))
    colours = colour_of(models)
    for model in models:
        for dash, (column, title) in zip(_DASHES, columns.items(), strict=False):
            histories = [run.history for run in runs if run.model == model and run.history is not None]
            lines = [line for line in (epoch_values(history, column) for history in histories) if len(line)]
            if not lines:
                continue
            table = pd.concat(lines, axis=1)
            mean, sd = table.mean(axis=1), table.std(axis=1, ddof=1)
            mark = "o" if len(mean) < 4 else ""
            label = f"{model}: {title}" + (f" ({len(lines)} runs)" if len(lines) > 1 else "")
            epochs = mean.index.to_numpy(dtype=float) + 1
            axes.plot(epochs, mean, dash, color=colours[model], marker=mark, label=label, linewidth=1.6)
            if len(lines) > 1:
                axes.fill_between(epochs, mean - sd, mean + sd, color=colours[model], alpha=0.15, linewidth=0)
    if not axes.lines:
        return None
    axes.set(xlabel="Epoch", ylabel=ylabel)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(color="#dddddd", linewidth=0.7)
    _legend_below(figure, axes.get_legend_handles_labels()[0], columns=2)
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
        axes.axhline(level, color=_GREY, linestyle=(0, (1, 1.5)), linewidth=1.2, label=f"chance, {level:.3f}")
    if majority:
        level = float(np.mean(majority))
        axes.axhline(
            level, color=_GREY, linestyle=(0, (6, 2)), linewidth=1.2, label=f"always the largest site, {level:.3f}"
        )
    axes.set_ylim(0, min(1.02, 1.15 * max(axes.get_ylim()[1], *chance, *majority, 0.2)))
    for legend in figure.legends:
        legend.remove()
    _legend_below(figure, axes.get_legend_handles_labels()[0], columns=2)
    return figure


def chance_of(run: RunMaterial) -> float | None:
    """1/K as logged, else from the training sites; None when neither is known."""
    if run.history is not None and "site/chance" in run.history and run.history["site/chance"].notna().any():
        return round(float(run.history["site/chance"].dropna().iloc[-1]), 6)
    return round(1 / len(run.sites), 6) if run.sites else None


def grey_value_figure(values: GreyValues) -> Figure:
    """Histograms per site: before and after MAIN, all pixels and brain pixels only (SG-Net, Fig. 5)."""
    figure = Figure(figsize=(6.2, 5.0), layout="constrained", facecolor="white")
    grid = figure.subplots(2, 2)
    panels = (
        (values.before_all, "before, all pixels", True),
        (values.after_all, "after, all pixels", True),
        (values.before_brain, "before, brain pixels", False),
        (values.after_brain, "after, brain pixels", False),
    )
    sites = sorted({site for panel, _, _ in panels for site in panel.density}, key=natural_key)
    colours = colour_of(sites)
    for axes, (panel, title, logarithmic) in zip(np.ravel(grid), panels, strict=True):
        _histogram(axes, panel, sites, colours)
        axes.set_title(title, fontsize=9)
        if logarithmic:  # background and mask make one bin thousands of times higher than the tissue
            axes.set_yscale("log")
        axes.set(xlabel="Grey value (model units)", ylabel="Density" + (", logarithmic" if logarithmic else ""))
    handles = [
        Line2D([], [], color=colours[site], linestyle=_DASHES[i // len(COLOURS) % len(_DASHES)], label=f"site {site}")
        for i, site in enumerate(sites)
    ]
    _legend_below(figure, handles, columns=5)
    return figure


def _histogram(axes: Axes, panel: SiteHistograms, sites: Sequence[str], colours: Mapping[str, str]) -> None:
    centres = (panel.edges[:-1] + panel.edges[1:]) / 2
    for index, site in enumerate(sites):
        if site in panel.density:
            dash = _DASHES[index // len(COLOURS) % len(_DASHES)]
            axes.plot(centres, panel.density[site], dash, color=colours[site], linewidth=1.1)
    axes.tick_params(labelsize=7)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)
    axes.spines[["top", "right"]].set_visible(False)


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(_WIDTH, height), layout="constrained", facecolor="white")
    axes = figure.subplots()
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _legend_below(figure: Figure, handles: Sequence[Any], columns: int = 3) -> None:
    legend = figure.legend(
        handles=list(handles), loc="outside lower center", ncols=min(columns, len(handles)), fontsize=8, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with dollar signs is a name
