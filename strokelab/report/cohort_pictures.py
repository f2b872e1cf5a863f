"""The scans of a data set and the sizes of their lesions, in pictures. Knows counts and overlays; knows no run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from strokelab.contract import Case
from strokelab.files import natural_key
from strokelab.report.drawing import COLOURS, GREY, PALE, legend_below, log_axis, new_figure
from strokelab.report.material import Overlay
from strokelab.report.overlays import FALSE_NEGATIVE, PLANES, fill, head_box, letters, through_largest_lesion, window
from strokelab.report.pictures import Section, listed, stored

MEDIUM, LARGE = 1000, 5000
"""Voxels of 1 mm³ from which a lesion is medium, above which it is large (SG-Net, Fig. 9; MAPPING, section 2.1)."""
_CLASSES = ("small", "medium", "large")
_EACH = 4  # pictures of small and of large lesions
_AXIAL = PLANES[0]


@dataclass(frozen=True)
class Scans:
    """A data set as its pictures need it.

    Args:
        dataset: its name.
        phantom: synthetic scans.
        cases: all of them.
        lesions: case, site, ``mm3`` of its lesions together, and ``lesions``, their number (26 neighbours).
        overlays: the scans that ``examples`` chose, label "small" or "large"; the prediction is empty.
    """

    dataset: str
    phantom: bool
    cases: tuple[Case, ...]
    lesions: pd.DataFrame
    overlays: tuple[Overlay, ...] = ()


def examples(lesions: pd.DataFrame) -> list[tuple[str, str]]:
    """Scans to show, (label, case): four small lesions and four large ones, spread evenly over each half by size."""
    found = lesions[lesions["mm3"] > 0].sort_values(["mm3", "case"])["case"].astype(str).tolist()
    each = min(_EACH, len(found) // 2)
    half = len(found) // 2
    small = [found[int((2 * k + 1) * half / (2 * each))] for k in range(each)]
    large = [found[half + int((2 * k + 1) * (len(found) - half) / (2 * each))] for k in range(each)]
    return [("small", case) for case in small] + [("large", case) for case in large]


def shares(lesions: pd.DataFrame) -> pd.DataFrame:
    """Share of the scans of each site with a small, a medium and a large lesion; scans without one are left out.

    Returns:
        Sites in natural order as index; columns small, medium, large (they sum to 1) and scans.
    """
    known = lesions[lesions["mm3"] > 0]
    kind = pd.cut(known["mm3"], [0, MEDIUM, LARGE + 1, np.inf], right=False, labels=list(_CLASSES)).astype(str)
    counts = pd.crosstab(known["site"].fillna("unknown"), kind).reindex(columns=list(_CLASSES), fill_value=0)
    ordered = counts.reindex(sorted(counts.index, key=natural_key))
    total = ordered.sum(axis=1)
    return ordered.div(total, axis=0).assign(scans=total)


def size_shares(scans: Scans) -> Section:
    """Bars of the shares of small, medium and large lesions per site (SG-Net, Fig. 9)."""
    table = shares(scans.lesions)
    figure, axes = new_figure(3.2, width=6.2)
    places = np.arange(len(table))
    for index, name in enumerate(_CLASSES):
        look: dict[str, Any] = {
            "color": COLOURS[index],
            "hatch": ("", "//", "..")[index],
            "edgecolor": "white",
            "label": name,
        }
        axes.bar(places + 0.27 * (index - 1), 100 * table[name], width=0.25, **look)
    axes.set_xticks(places, [f"{site}\n(n={n})" for site, n in zip(table.index, table["scans"], strict=True)])
    axes.set(xlabel="Site", ylabel="Share of scans (%)")
    axes.grid(axis="y", color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    legend_below(figure, axes.get_legend_handles_labels()[0])
    words = f"small: less than {MEDIUM} mm³, medium: to {LARGE}, large: more; the paper's voxels have 1 mm³"
    picture = stored(
        "size_shares",
        figure,
        caption=f"{_named(scans)}: shares of the scans of each site by the size of their lesions ({words}). "
        f"{_without(scans)}",
        alt="Bars of three shares for each site.",
        wide=True,
    )
    return Section("sizes", "Lesion sizes", (picture,))


def size_distribution(scans: Scans) -> Section:
    """Histogram of lesion sizes over scans, with the share of small ones (MAPPING, Fig. 2)."""
    sizes = scans.lesions.loc[scans.lesions["mm3"] > 0, "mm3"].to_numpy(dtype=float)
    low, high = np.floor(np.log10(sizes.min())), np.ceil(np.log10(sizes.max()) + 1e-9)
    figure, axes = new_figure(3.2)
    axes.hist(
        sizes, bins=np.logspace(low, high, int(5 * (high - low)) + 1).tolist(), color=COLOURS[0], edgecolor="white"
    )
    axes.axvline(LARGE, color=GREY, linestyle="--", linewidth=1.2)
    log_axis(axes, "x")
    axes.set(xlabel="Lesion size (mm³, logarithmic)", ylabel="Scans")
    axes.grid(axis="y", color=PALE, linewidth=0.7)
    axes.set_axisbelow(True)
    share = float((sizes <= LARGE).mean())
    label = f"{LARGE} mm³: {100 * share:.0f} % of {sizes.size} scans have no more"
    legend_below(figure, [Line2D([], [], color=GREY, linestyle="--", label=label)])
    picture = stored(
        "size_distribution",
        figure,
        caption=f"{_named(scans)}: scans by the size of their lesions, from {sizes.min():.0f} to {sizes.max():.0f} "
        f"mm³ (voxels of 1 mm in the paper). {_without(scans)}",
        alt=f"Histogram of lesion sizes; {100 * share:.0f} % of the scans have at most {LARGE} mm³.",
    )
    return Section("sizes", "Lesion sizes", (picture,))


def lesion_gallery(scans: Scans) -> Section:
    """Axial slices of scans with small and with large lesions, outlined (SG-Net, Fig. 1; MAPPING, Fig. 1)."""
    cases = [f"{overlay.label} {overlay.case}" for overlay in scans.overlays]
    numbers = scans.lesions[["case", "mm3", "lesions"]].itertuples(index=False)
    counts = {str(case): (round(mm3), int(lesions)) for case, mm3, lesions in numbers}
    picture = stored(
        "lesion_gallery",
        gallery_figure(scans.overlays, counts),
        caption=f"{_named(scans)}: scans with small lesions (above) and large ones (below), spread over the halves of "
        "all scans by size; the axial slice through the largest lesion of each. The patient's right is on the left.",
        alt=f"Axial slices of {listed(cases)} with coloured lesions.",
        wide=True,
        photo=True,
    )
    return Section("gallery", "Lesions of many kinds", (picture,))


def gallery_figure(overlays: Sequence[Overlay], counts: Mapping[str, tuple[int, int]]) -> Figure:
    """A row of pictures for each label.

    Args:
        overlays: of the scans.
        counts: case -> mm³ of its lesions, and how many they are, for the titles.

    Raises:
        ValueError: nothing to plot.
    """
    if not overlays:
        raise ValueError("no scan with a lesion")
    labels = list(dict.fromkeys(overlay.label for overlay in overlays))
    rows = [[overlay for overlay in overlays if overlay.label == label] for label in labels]
    columns = max(map(len, rows))
    figure = Figure(figsize=(6.2, 2.2 * len(rows)), layout="constrained", facecolor="white")
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes in line[len(row) :]:
            axes.set_axis_off()
        for axes, overlay in zip(line, row, strict=False):
            reference = overlay.reference != 0
            box = head_box(np.nan_to_num(np.asarray(overlay.image, dtype=np.float32)), reference)
            index = through_largest_lesion(reference)[_AXIAL.normal] - box[_AXIAL.normal].start
            low, high = window(overlay.image)
            width, height = _AXIAL.size_mm(overlay.image[box], overlay.spacing)
            extent = (0.0, width, 0.0, height)
            axes.imshow(_AXIAL.cut(overlay.image[box], index), cmap="gray", vmin=low, vmax=high, extent=extent)
            fill(axes, _AXIAL.cut(reference[box], index), FALSE_NEGATIVE, extent)
            mm3, number = counts[overlay.case]
            text = f"{mm3} mm³, {number} lesion{'' if number == 1 else 's'}"
            axes.set_title(text, fontsize=7, parse_math=False)
            letters(axes, _AXIAL)
    return figure


def _named(scans: Scans) -> str:
    return f"Phantoms in the layout of {scans.dataset}" if scans.phantom else scans.dataset


def _without(scans: Scans) -> str:
    empty = int((scans.lesions["mm3"] == 0).sum())
    return f"{empty} scans without a lesion are left out." if empty else "Every scan has a lesion."
