"""Limits of agreement against the worked example of Bland and Altman's paper, and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import DataError
from strokelab.statistics.agreement import limits_of_agreement

# Bland and Altman, Lancet 1986, table 1: peak flow of 17 people (l/min), large and mini meter, first measurements.
LARGE = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_worked_example_of_the_paper():
    result = limits_of_agreement(LARGE, MINI)
    assert (result.n, result.left_out) == (17, 0)
    assert result.bias == pytest.approx(-2.1, abs=0.05)
    assert result.sd == pytest.approx(38.8, abs=0.05)
    assert result.bias_interval == pytest.approx((-22.0, 17.8), abs=0.1)
    # The paper rounds 1.96 to 2 in its limits (-79.7, 75.5); the half-width of their intervals is 2.12 x 16.3 = 34.6.
    assert (result.lower, result.upper) == pytest.approx((-78.1, 73.9), abs=0.1)
    for limit, (low, high) in ((result.lower, result.lower_interval), (result.upper, result.upper_interval)):
        assert (limit - low, high - limit) == pytest.approx((34.55, 34.55), abs=0.1)
    assert result.slope_p > 0.5


def test_proportional_bias_is_seen():
    truth = np.linspace(1, 50, 30)
    noise = np.random.default_rng(0).normal(0, 0.3, 30)
    result = limits_of_agreement(1.1 * truth + noise, truth)
    assert result.slope == pytest.approx(0.1 / 1.05, rel=0.1)
    assert result.slope_p < 1e-6


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=2, max_size=20), st.randoms())
def test_sides_order_and_shift(pairs, random):
    a, b = np.array(pairs, dtype=float).T
    forth, back = limits_of_agreement(a, b), limits_of_agreement(b, a)
    assert (back.bias, back.lower, back.upper) == pytest.approx((-forth.bias, -forth.upper, -forth.lower))
    assert back.sd == pytest.approx(forth.sd)
    assert forth.lower_interval == pytest.approx([-end for end in back.upper_interval[::-1]])
    assert forth.lower <= forth.bias <= forth.upper
    moved = limits_of_agreement(a + 7, b)
    assert (moved.bias, moved.sd) == pytest.approx((forth.bias + 7, forth.sd))
    random.shuffle(pairs)
    again = limits_of_agreement(*np.array(pairs, dtype=float).T)
    assert (again.bias, again.lower_interval) == (pytest.approx(forth.bias), pytest.approx(forth.lower_interval))


def test_interval_of_the_bias_covers_the_true_one():
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        low, high = limits_of_agreement(random.normal(2, 1, 12), np.zeros(12)).bias_interval
        inside += low <= 2 <= high
    assert inside / 400 == pytest.approx(0.95, abs=0.035)


def test_equal_measurements_have_no_width_and_no_slope():
    result = limits_of_agreement([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (result.bias, result.sd, result.lower, result.upper) == (0, 0, 0, 0)
    assert result.lower_interval == (0, 0)
    assert np.isnan([result.slope, result.slope_p]).all()


def test_undefined_measurements_are_left_out_and_counted():
    result = limits_of_agreement([1.0, np.nan, 3.0, np.inf, 4.0], [1.0, 2.0, 2.0, 1.0, np.nan])
    assert (result.n, result.left_out, result.bias) == (2, 3, 0.5)


def test_too_few_pairs_have_no_limits():
    one = limits_of_agreement([3.0], [1.0])
    assert (one.n, one.bias) == (1, 2.0)
    assert np.isnan([one.sd, one.lower, one.upper, *one.bias_interval, *one.lower_interval]).all()
    assert np.isnan(limits_of_agreement([], []).bias)
    with pytest.raises(DataError, match="2 measurements against 1"):
        limits_of_agreement([1.0, 2.0], [1.0])
