"""The figures of the case table: boxes per site, Dice against lesion size. Knows rows and columns; knows no page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from strokelab.files import natural_key
from strokelab.metrics.profiles import METRICS
from strokelab.report.cells import p_equation
from strokelab.report.drawing import GREY, PALE, colour_of, dash_of, legend_below, log_axis, marker_of, new_figure
from strokelab.report.material import finite, heading
from strokelab.report.summary import with_sites
from strokelab.statistics.regression import fit_log

_FEW = 3  # two points lie on a line whatever they are


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


def box_plots(
    cases: pd.DataFrame,
    metric: str,
    profile: str = "default",
    *,
    ylabel: str = "site",
    marks: Mapping[str, str] | None = None,
) -> Figure:
    """Boxes per site and model, every case a dot, a diamond at the mean (SG-Net, Fig. 8).

    Args:
        cases: with the columns model, site and ``metric``.
        metric: a key of ``metrics.profiles.METRICS``.
        profile: of the metrics, for the unit on the axis.
        ylabel: what the column site holds.
        marks: site -> what is put beside its name.

    Raises:
        ValueError: no finite value.
    """
    cells = box_values(cases, metric)
    if not cells:
        raise ValueError(f"no finite value of {metric}")
    sites, models = (list(dict.fromkeys(key[i] for key in cells)) for i in (0, 1))
    names = list(dict.fromkeys(cases["model"]))
    colours, signs, step = colour_of(names), marker_of(names), 0.8 / len(models)
    figure, axes = new_figure(1.0 + 0.3 * len(sites) * max(len(models), 1.6))
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
        look: dict[str, Any] = {"color": colours[model], "marker": signs[model], "markeredgewidth": 0.0}
        axes.plot(values, y + spread, linestyle="", markersize=3.2, alpha=0.55, **look)
        axes.plot([values.mean()], [y], "D", color="white", markeredgecolor=colours[model], markersize=5.5, zorder=4)
    counts = with_sites(cases).groupby("site")["case"].nunique()
    beside = {site: f"  {mark}" for site, mark in (marks or {}).items() if mark}
    names_of = [f"{site}{beside.get(site, '')}  (n={counts[site]})" for site in sites]
    axes.set_yticks(range(len(sites)), names_of, parse_math=False)
    axes.set_ylim(len(sites) - 0.4, -0.6)
    if METRICS[metric].limits == (0.0, 1.0):
        axes.set_xlim(-0.02, 1.02)
    axes.set(xlabel=heading(metric, profile), ylabel=ylabel)
    axes.grid(axis="x", color=PALE, linewidth=0.7)
    handles = [Line2D([], [], color=colours[m], marker=signs[m], linestyle="", label=m) for m in models]
    handles.append(
        Line2D([], [], color="white", marker="D", markeredgecolor=GREY, linestyle="", label="mean", markersize=5.5)
    )
    legend_below(figure, handles)
    return figure


def size_scatter(cases: pd.DataFrame) -> Figure:
    """Dice against lesion volume on a logarithmic axis, a mark per case and run, the fit on log volume per model.

    Raises:
        ValueError: no case with a lesion and a finite Dice.
    """
    table = cases[(cases["lesion_ml"] > 0) & cases["dice"].notna()]
    if table.empty:
        raise ValueError("no case with a lesion and a Dice")
    figure, axes = new_figure(3.6)
    names = list(dict.fromkeys(cases["model"]))
    colours, marks, dashes = colour_of(names), marker_of(names), dash_of(names)
    handles = []
    for model in names:
        own = table[table["model"] == model]
        look: dict[str, Any] = {"marker": marks[model], "color": colours[model], "markeredgewidth": 0.0}
        axes.plot(own["lesion_ml"], own["dice"], linestyle="", markersize=4.5, alpha=0.6, label=model, **look)
        fit = fit_log(own["lesion_ml"].to_numpy(), own["dice"].to_numpy())
        label, look["linestyle"] = f"{model} (n={fit.n})", ""
        if fit.n >= _FEW and np.isfinite(fit.r2):
            label = f"{model}: R² {fit.r2:.2f}, {p_equation(fit.p)} (n={fit.n})"
            look["linestyle"] = dashes[model]
            ends = np.array([own["lesion_ml"].min(), own["lesion_ml"].max()])
            axes.plot(ends, fit.intercept + fit.slope * np.log10(ends), dashes[model], color=colours[model], lw=1.6)
        handles.append(Line2D([], [], linewidth=1.6, markersize=5, label=label, **look))
    log_axis(axes, "x")
    axes.set(xlabel="Lesion volume (ml, logarithmic)", ylabel=heading("dice"), ylim=(-0.03, 1.03))
    axes.grid(color=PALE, linewidth=0.7)
    legend_below(figure, handles, columns=2)
    return figure
