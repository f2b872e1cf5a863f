"""How every figure of a report looks and is stored. Knows matplotlib's objects; knows no global state and no files.

Colours are those of Okabe and Ito (grey for their yellow, too pale for lines), told apart by every common kind of
colour vision; markers or dashes differ as well where few things are compared.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import Locator, MaxNLocator, NullFormatter
from PIL import Image

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C8C8C")
MARKERS = (
    "o",
    "s",
    "^",
    "D",
    "v",
    "P",
    "X",
    "*",
    "<",
)  # one more than colours: nine models and more differ in one of them
DASHES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
GREY, PALE = "#555555", "#dddddd"  # of reference lines and of the grid
_FEWEST_TICKS, _MOST_TICKS = 3, 6
_FIVE = 5  # times a power of the base, where the base is larger
_LEGEND_LETTERS, _LEGEND_KEY = 15.5, 6  # letters that a legend holds in an inch, and those that a line or mark takes
_LEGEND_ROWS, _LEGEND_ROW = 6, 0.17  # rows that a figure has room for; height of a further one, inches
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
    axes.ticklabel_format(useOffset=False)  # a number on the axis is the number, not what is left of it
    axes.locator_params(axis="x", nbins=_MOST_TICKS)  # such numbers are long
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set_fontsize(9)
    axes.spines[["top", "right"]].set_visible(False)


def log_axis(axes: Axes, which: Literal["x", "y"], *, base: int = 10) -> None:
    """A logarithmic axis with a few plain numbers on it, however many powers it spans, or how small a part of one."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log", base=base)
    axis.set_major_locator(_FewTicks(base))
    axis.set_major_formatter(lambda value, _: f"{value:.10g}".replace("e+0", "e").replace("e-0", "e-"))
    axis.set_minor_formatter(NullFormatter())


class _FewTicks(Locator):
    """Powers of the base, every so many; 1, 2 and 5 times them; or even steps, whatever gives a few in the range."""

    def __init__(self, base: int) -> None:
        self._base = base

    def __call__(self) -> Sequence[float]:
        assert self.axis is not None
        low, high = sorted(float(end) for end in self.axis.get_view_interval())
        return self.tick_values(low, high)

    def tick_values(self, low: float, high: float) -> Sequence[float]:
        """Between two and a handful of ticks from ``low`` to ``high``, both above 0."""
        base = float(self._base)
        first, last = math.ceil(math.log(low, base) - 1e-9), math.floor(math.log(high, base) + 1e-9)
        step = max(1, math.ceil((last - first + 1) / _MOST_TICKS))
        powers = [base**power for power in range(first, last + 1, step)]
        finer = [lead * base**power for power in range(first - 1, last + 1) for lead in (1, 2, 5)]
        even = MaxNLocator(_MOST_TICKS - 1, steps=[1, 2, 5, 10]).tick_values(low, high)
        for ticks in (powers, finer if self._base > _FIVE else [], even):
            inside = [float(tick) for tick in ticks if low <= tick * (1 + 1e-9) and tick <= high * (1 + 1e-9)]
            if len(inside) >= _FEWEST_TICKS:
                return inside if len(inside) <= _MOST_TICKS + 1 else inside[:: math.ceil(len(inside) / _MOST_TICKS)]
        return inside


def legend_below(figure: Figure, handles: Sequence[Any], columns: int = 3) -> None:
    """One legend for the whole figure, under it, in fewer columns where labels are long; replaces one that is there."""
    before = list(figure.legends)
    for legend in before:
        legend.remove()
    labels = [str(handle.get_label()) for handle in handles]
    room = int(_LEGEND_LETTERS * figure.get_figwidth())
    columns = min(columns, max(1, room // (max(map(len, labels), default=0) + _LEGEND_KEY)), max(len(labels), 1))
    labels = [broken(label, room - _LEGEND_KEY) for label in labels]
    legend = figure.legend(
        handles=list(handles), labels=labels, loc="outside lower center", ncols=columns, fontsize=8, frameon=False
    )
    rows = math.ceil(sum(label.count("\n") + 1 for label in labels) / columns)
    if not before and rows > _LEGEND_ROWS:  # the axes keep their size
        figure.set_figheight(figure.get_figheight() + _LEGEND_ROW * (rows - _LEGEND_ROWS))
    for text in legend.get_texts():
        text.set_parse_math(False)  # a name with dollar signs is a name


def broken(name: str, letters: int) -> str:
    """A name in lines of at most so many letters, broken between its words where it has some."""
    return "\n".join(textwrap.wrap(name, letters, break_on_hyphens=False)) or name


def png(figure: Figure, *, dpi: int = 220, photo: bool = False) -> bytes:
    """The figure as PNG bytes with a palette of 256 colours, a third of the size of full colour.

    Args:
        figure: to store.
        dpi: its resolution.
        photo: grey images: of those 256 colours the greys leave too few for what is painted over them.
    """
    figure.set_dpi(dpi)
    raw, small = io.BytesIO(), io.BytesIO()
    figure.savefig(raw, format="rgba", dpi=dpi)
    picture = Image.frombytes("RGBA", figure.canvas.get_width_height(), raw.getvalue()).convert("RGB")
    (picture if photo else picture.quantize(256, dither=Image.Dither.NONE)).save(small, format="png")
    return small.getvalue()


def pdf(figure: Figure) -> bytes:
    """The figure as vector PDF for a manuscript: fonts embedded as TrueType, no date, so that bytes repeat."""
    stored = io.BytesIO()
    with rc_context({"pdf.fonttype": 42}):  # journals refuse Type 3 fonts, matplotlib's default
        figure.savefig(stored, format="pdf", metadata={"CreationDate": None})
    return stored.getvalue()
