"""How every figure of a report looks and is stored. Knows matplotlib's objects; knows no global state and no files.

Colours are those of Okabe and Ito (grey for their yellow, too pale for lines), told apart by every common kind of
colour vision; markers or dashes differ as well where few things are compared.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
GREY, PALE = "#555555", "#dddddd"  # of reference lines and of the grid
WIDTH = 4.9  # inches of a figure: readable on a phone, two abreast on a desk


def colour_of(names: Sequence[str]) -> dict[str, str]:
    """A colour per name in order of appearance."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def marker_of(names: Sequence[str]) -> dict[str, str]:
    """A marker per name in order of appearance."""
    return {name: MARKERS[index % len(MARKERS)] for index, name in enumerate(names)}


def dash_of(names: Sequence[str]) -> dict[str, Literal["-", "--", ":", "-."]]:
    """A line style per name in order of appearance."""
    return {name: DASHES[index % len(DASHES)] for index, name in enumerate(names)}


def new_figure(height: float, *, width: float = WIDTH) -> tuple[Figure, Axes]:
    """An empty figure of this size in inches with one plain pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    axes = figure.subplots()
    plain(axes)
    return figure, axes


def plain(axes: Axes) -> None:
    """Small tick labels, no frame at the top and on the right."""
    axes.tick_params(labelsize=8)
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(figure: Figure, handles: Sequence[Any], columns: int = 3) -> None:
    """One legend for the whole figure, under it; replaces one that is there."""
    for legend in list(figure.legends):
        legend.remove()
    legend = figure.legend(
        handles=list(handles), loc="outside lower center", ncols=min(columns, len(handles)), fontsize=8, frameon=False
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with dollar signs is a name


def png(figure: Figure, *, dpi: int = 220) -> bytes:
    """The figure as PNG bytes with a palette of 256 colours, a third of the size of full colour."""
    figure.set_dpi(dpi)
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="rgba", dpi=dpi)
    picture = Image.frombytes("RGBA", figure.canvas.get_width_height(), raw.getvalue()).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(small, format="png")
    return small.getvalue()


def pdf(figure: Figure) -> bytes:
    """The figure as vector PDF for a manuscript: fonts embedded as TrueType, no date, so that bytes repeat."""
    stored = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):  # journals refuse Type 3 fonts, matplotlib's default
        figure.savefig(stored, format="pdf", metadata={"CreationDate": None})
    return stored.getvalue()
