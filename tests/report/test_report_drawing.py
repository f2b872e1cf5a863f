"""Axes that can be read at the size shown, on whatever range."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from strokelab.report.drawing import colour_of, log_axis, marker_of, new_figure


def labels_of(figure, axis) -> list[str]:
    """The tick labels inside the range, none of which lies on the next one."""
    FigureCanvasAgg(figure).draw()
    low, high = sorted(axis.get_view_interval())
    shown = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high and tick.label1.get_text()]
    shown += [tick for tick in axis.get_minor_ticks() if tick.label1.get_text()]
    side = 0 if axis.axis_name == "x" else 1
    ends = sorted(tuple(tick.label1.get_window_extent().get_points()[:, side]) for tick in shown)
    assert all(before[1] < after[0] for before, after in pairwise(ends)), ends
    return [tick.label1.get_text() for tick in shown]


@pytest.mark.parametrize("which", ["x", "y"])
@pytest.mark.parametrize(
    ("low", "high", "base"),
    [
        (10.1, 14.2, 10),
        (9.5, 95, 10),
        (0.02, 300, 10),
        (20.001, 20.009, 10),
        (7.0, 7.0, 10),
        (1e-9, 1e9, 10),
        (3, 40, 10),
        (0.998, 1.002, 2),
        (0.1, 9, 2),
    ],
)
def test_logarithmic_axes(which, low, high, base):
    figure, axes = new_figure(3.0)
    values, other = np.geomspace(low, high, 5), np.arange(5)
    axes.plot(*((values, other) if which == "x" else (other, values)))
    log_axis(axes, which, base=base)
    labels = labels_of(figure, axes.xaxis if which == "x" else axes.yaxis)
    assert 2 <= len(labels) <= 7
    assert len(set(labels)) == len(labels)
    assert all(0.9 * low <= float(label) <= 1.1 * high or low == high for label in labels)


@pytest.mark.parametrize(("low", "high"), [(12.3401, 12.3409), (0, 1), (1e5, 1e5 + 1), (-1e-4, 1e-4)])
def test_linear_axes_show_the_numbers_themselves(low, high):
    figure, axes = new_figure(3.0)
    axes.plot([low, high], [0, 1])
    labels = [float(label.replace("−", "-")) for label in labels_of(figure, axes.xaxis)]
    assert min(labels) >= low - (high - low)
    assert max(labels) <= high + (high - low)
    assert axes.xaxis.get_offset_text().get_text() in ("", "1e−4", "1e-4")


def test_many_names_differ_in_colour_or_marker():
    """Table V of SG-Net has nine rows, one more than there are colours."""
    names = [f"model{number}" for number in range(40)]
    signs = [*zip(colour_of(names).values(), marker_of(names).values(), strict=True)]
    assert len(set(signs)) == len(names)
