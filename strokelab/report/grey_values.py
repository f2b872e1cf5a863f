"""What MAIN does to the grey values of the sites, drawn. Knows histograms; knows no images and no cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from strokelab.files import natural_key
from strokelab.report.cells import Cell, Table, count_cell, further, plain_number
from strokelab.report.drawing import COLOURS, DASHES, colour_of, legend_below, log_axis, plain
from strokelab.report.intensities import Factors, GreyValues, SiteHistograms, SitePixels
from strokelab.report.material import Evaluation, RunMaterial
from strokelab.report.pictures import Picture, Section, file_name, listed, stored

TITLE = "Grey values per site"
_MOST_SITES = 9  # side by side


def grey_value_section(evaluation: Evaluation) -> Section:
    """A figure per run that standardises its input, and who has none."""
    shown = [run for run in evaluation.runs if run.grey_values is not None]
    if not shown:
        reason = "No run standardises its input (MAIN), so there is no before and after to show."
        return Section("intensities", TITLE, sentences=(reason,))
    pictures, sentences = [], []
    for run in shown:
        assert run.grey_values is not None
        values = run.grey_values
        pictures.append(
            stored(
                f"grey_values_{file_name(run.name)}",
                grey_value_figure(values),
                caption=f"{run.name}: grey values per site before and after MAIN, one axial slice (index 93 of 189 at "
                f"1 mm) of each of {values.scans} scans. After MAIN everything outside the brain is 0.",
                alt=f"Histograms of {run.name}, a line per site, before and after MAIN.",
                wide=True,
            )
        )
        if values.examples:
            pictures.append(_slices(run.name, values.examples))
        sentences.append(_distance_sentence(run, values.before_brain, values.after_brain))
    tables = [factor_table(run.name, run.grey_values.factors) for run in shown if run.grey_values]
    said = (*sentences, *_absent(evaluation))
    return Section("intensities", TITLE, tuple(pictures), said, tuple(table for table in tables if table.rows))


def factor_table(run: str, factors: Sequence[Factors]) -> Table:
    """Scale and shift of the standardizer per site: mean and SD over the same slice of every scan.

    Args:
        run: its name.
        factors: of its sites.
    """
    several = len({one.channel for one in factors}) > 1
    rows = []
    for one in sorted(factors, key=lambda one: (one.channel, natural_key(one.site))):
        cells = [Cell(one.site, heading=True), *([count_cell(one.channel + 1)] if several else [])]
        rows.append((*cells, count_cell(one.scans), _mean_sd(one.scale), _mean_sd(one.shift)))
    header = ("Site", *(["Channel"] if several else []), "Scans", "Scale (gamma)", "Shift (beta)")
    note = "One axial slice (index 93 of 189 at 1 mm) of every scan; a z-scored x becomes gamma x + beta."
    caption = f"{run}: scale and shift of MAIN per site, mean ± SD over scans"
    return Table(caption, header, tuple(rows), (note,), name=f"main_factors_{file_name(run)}")


def _mean_sd(pair: tuple[float, float]) -> Cell:
    mean, sd = pair
    text = plain_number(mean, 4) + ("" if np.isnan(sd) else f" ± {plain_number(sd, 4)}")
    return Cell(text, mean, further=further(sd=sd))


def _slices(run: str, examples: Sequence[SitePixels]) -> Picture:
    sites = listed([one.site for one in examples[:_MOST_SITES]])
    return stored(
        f"before_and_after_{file_name(run)}",
        slice_figure(examples[:_MOST_SITES]),
        caption=f"{run}: one axial slice (index 93 of 189 at 1 mm) of the first scan of sites {sites}, before MAIN "
        "and after it, on one scale of grey for all sites of a row. The patient's right is on the left.",
        alt=f"A slice of each of the sites {sites}, before MAIN above, after MAIN below.",
        wide=True,
        photo=True,
    )


def slice_figure(examples: Sequence[SitePixels]) -> Figure:
    """A slice of each site, before MAIN in the upper row, after it in the lower (SG-Net, Fig. 6).

    Args:
        examples: one scan of each site; slices (Y, X), x to the patient's left, y to the front.

    Raises:
        ValueError: nothing to plot.
    """
    if not examples:
        raise ValueError("no slice to plot")
    ordered = sorted(examples, key=lambda one: natural_key(one.site))
    rows, columns = np.shape(ordered[0].before)
    width = 6.2
    figure = Figure(figsize=(width, 2 * width / len(ordered) * rows / columns + 0.6), layout="constrained")
    grid = figure.subplots(2, len(ordered), squeeze=False)
    for line, moment in zip(grid, ("before", "after"), strict=True):
        inside = [np.asarray(getattr(one, moment))[np.asarray(one.brain) != 0] for one in ordered]
        low, high = np.percentile(np.concatenate(inside), [1, 99])
        for axes, one in zip(line, ordered, strict=True):
            picture = np.asarray(getattr(one, moment))[::-1, ::-1]
            axes.imshow(picture, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), interpolation="bilinear")
            axes.set_axis_off()
            if moment == "before":
                axes.set_title(one.site, fontsize=7, parse_math=False)
        line[0].text(-0.08, 0.5, moment, transform=line[0].transAxes, fontsize=8, rotation=90, ha="right", va="center")
    return figure


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
            log_axis(axes, "y")
        axes.set(xlabel="Grey value (model units)", ylabel="Density" + (", logarithmic" if logarithmic else ""))
    handles = [
        Line2D([], [], color=colours[site], linestyle=DASHES[i // len(COLOURS) % len(DASHES)], label=f"site {site}")
        for i, site in enumerate(sites)
    ]
    legend_below(figure, handles, columns=5)
    return figure


def _histogram(axes: Axes, panel: SiteHistograms, sites: Sequence[str], colours: Mapping[str, str]) -> None:
    centres = (panel.edges[:-1] + panel.edges[1:]) / 2
    for index, site in enumerate(sites):
        if site in panel.density:
            dash = DASHES[index // len(COLOURS) % len(DASHES)]
            axes.plot(centres, panel.density[site], dash, color=colours[site], linewidth=1.1)
    plain(axes)
    axes.tick_params(labelsize=7)
    axes.xaxis.label.set_fontsize(8)
    axes.yaxis.label.set_fontsize(8)


def _absent(evaluation: Evaluation) -> list[str]:
    absent = [run for run in evaluation.runs if run.grey_values is None]
    with_main = [run.name for run in absent if run.parts is not None and "standardizer" in run.parts]
    without = list(dict.fromkeys(run.model for run in absent if run.name not in with_main))
    sentences = [f"Nothing to show for runs without MAIN ({', '.join(without)})."] if without else []
    return sentences + ([f"Not plotted: {', '.join(with_main)}."] if with_main else [])


def _distance_sentence(run: RunMaterial, before: SiteHistograms, after: SiteHistograms) -> str:
    if before.distance != before.distance:  # NaN
        return f"{run.name}: one site only, so there is no distance between sites."
    return (
        f"{run.name}: mean pairwise Wasserstein-1 distance between the sites' brain pixels "
        f"{before.distance:.4f} before MAIN, {after.distance:.4f} after; in units of the pooled SD, which a mere "
        f"rescaling leaves as it is, {before.relative_distance:.3f} before and {after.relative_distance:.3f} after."
    )
