"""Bland and Altman's picture: lines where the limits are, and no picture fails for want of pairs."""

import numpy as np
import pytest

from strokelab.report.bland_altman import bland_altman
from strokelab.report.drawing import pdf, png
from strokelab.statistics.agreement import limits_of_agreement

FIRST = np.array([0.5, 2.0, 9.0, 40.0, 150.0, 0.0, 0.0])
SECOND = np.array([0.6, 1.7, 10.0, 36.0, 160.0, 1.0, 0.0])


def _drawn(first, second, names=("a", "b")):
    both = (first > 0) & (second > 0)
    ratios = limits_of_agreement(np.log(second[both]), np.log(first[both]))
    return bland_altman(first, second, names, differences=limits_of_agreement(second, first), ratios=ratios)


def test_points_and_lines_are_the_numbers():
    left, right = _drawn(FIRST, SECOND).axes
    limits = limits_of_agreement(SECOND, FIRST)
    assert [line.get_ydata()[0] for line in left.lines] == pytest.approx([limits.lower, limits.bias, limits.upper])
    points = np.asarray(left.collections[0].get_offsets())
    assert len(points) == 6, "two empty masks have no place on a log axis"
    assert points[0] == pytest.approx([0.55, 0.1])
    ratios = np.asarray(right.collections[0].get_offsets())
    assert len(ratios) == 5
    assert ratios[1] == pytest.approx([np.sqrt(3.4), 0.85])
    low, bias, high = (line.get_ydata()[0] for line in right.lines)
    assert bias == pytest.approx(np.exp(np.mean(np.log(SECOND[:5] / FIRST[:5]))))
    assert low * high == pytest.approx(bias**2)


def test_names_are_text_and_bytes_repeat():
    figure = _drawn(FIRST, SECOND, ("$a^", "b_{"))
    assert figure.axes[1].get_ylabel() == "b_{ / $a^"
    assert png(figure)[:4] == b"\x89PNG"
    assert pdf(_drawn(FIRST, SECOND)) == pdf(_drawn(FIRST, SECOND))


@pytest.mark.parametrize("pairs", [0, 1, 2])
def test_few_pairs(pairs):
    assert png(_drawn(FIRST[:pairs], SECOND[:pairs]))
    assert png(_drawn(np.zeros(pairs), np.zeros(pairs)))
