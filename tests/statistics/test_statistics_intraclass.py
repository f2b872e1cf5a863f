"""ICC(A,1) against published numbers and its own invariants."""

import math

import numpy as np
import pytest

from strokelab.errors import DataError
from strokelab.statistics.intraclass import absolute_agreement

# P. E. Shrout, J. L. Fleiss, Psychological Bulletin 1979, table 2: six targets, four judges.
SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_the_published_example():
    found = absolute_agreement(SHROUT_FLEISS)
    assert found.icc == pytest.approx(0.29, abs=0.005)
    assert (found.low, found.high) == pytest.approx((0.019, 0.761), abs=0.0005)
    assert (found.n, found.left_out) == (6, 0)


def test_units_and_the_order_of_raters_do_not_matter():
    rated = np.random.default_rng(0).gamma(2.0, 10.0, (20, 1)) + np.random.default_rng(1).normal(0, 2, (20, 2))
    found = absolute_agreement(rated)
    assert 0 < found.low < found.icc < found.high < 1
    for other in (rated[:, ::-1], rated * 1000, rated + 5, rated[::-1]):
        again = absolute_agreement(other)
        assert (again.icc, again.low, again.high) == pytest.approx((found.icc, found.low, found.high))


def test_an_offset_is_disagreement():
    volumes = np.array([1.0, 5.0, 20.0, 80.0])
    assert absolute_agreement(np.column_stack([volumes, volumes])).icc == 1
    shifted = [absolute_agreement(np.column_stack([volumes, volumes + shift])).icc for shift in (1, 10, 50)]
    assert 1 > shifted[0] > shifted[1] > shifted[2] > 0


@pytest.mark.parametrize("rated", [np.ones((4, 2)), np.empty((0, 2)), [[1, 2]], [[1, 2], [2, 1]]])
def test_where_nothing_varies_there_is_no_icc(rated):
    assert math.isnan(absolute_agreement(rated).icc)


def test_what_is_undefined_is_counted():
    found = absolute_agreement([[1, 1.5], [2, 2.5], [3, 3.5], [4, math.nan], [math.inf, 1]])
    assert (found.n, found.left_out) == (3, 2)
    assert math.isfinite(found.icc)


@pytest.mark.parametrize("rated", [[1, 2, 3], [[1], [2]]])
def test_one_rater_is_none_to_agree_with(rated):
    with pytest.raises(DataError, match="two or more"):
        absolute_agreement(rated)
