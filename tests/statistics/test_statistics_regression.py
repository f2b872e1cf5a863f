"""The line through a metric and the logarithm of lesion volume."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strokelab.errors import DataError
from strokelab.statistics.regression import fit_log


def test_by_hand():
    fit = fit_log([1, 10, 100], [0.2, 0.4, 0.9])
    assert (fit.slope, fit.intercept) == (pytest.approx(0.35), pytest.approx(0.15))
    # residuals 0.05, -0.1, 0.05; total 0.26
    assert fit.r2 == pytest.approx(1 - 0.015 / 0.26)
    assert (fit.n, fit.left_out) == (3, 0)


def test_r2_and_p_are_those_of_the_correlation():
    random = np.random.default_rng(0)
    volume = random.lognormal(2, 1.5, 40)
    dice = 0.2 * np.log10(volume) + random.normal(0, 0.2, 40)
    fit, pearson = fit_log(volume, dice), stats.pearsonr(np.log10(volume), dice)
    assert (fit.r2, fit.p) == (pytest.approx(pearson.statistic**2), pytest.approx(pearson.pvalue))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 100)), min_size=3, max_size=20))
def test_unit_of_volume_moves_the_intercept_only(pairs):
    volume, values = np.array(pairs, dtype=float).T
    ml, voxels = fit_log(volume, values), fit_log(volume * 1000, values)
    assert ml.slope == pytest.approx(voxels.slope, nan_ok=True, rel=1e-6, abs=1e-6)
    assert ml.r2 == pytest.approx(voxels.r2, nan_ok=True, rel=1e-6, abs=1e-6)
    assert ml.intercept == pytest.approx(voxels.intercept + 3 * voxels.slope, nan_ok=True, rel=1e-6, abs=1e-4)
    assert np.isnan(ml.r2) or 0 <= ml.r2 <= 1 + 1e-12


def test_empty_truths_and_undefined_values_are_left_out_and_counted():
    fit = fit_log([0.0, 1, 10, 100, np.nan, 5, 7], [1.0, 0.2, 0.4, 0.9, 0.5, np.nan, np.inf])
    assert (fit.n, fit.left_out) == (3, 4)
    assert fit.slope == pytest.approx(0.35)


def test_what_has_no_line_has_nan():
    assert np.isnan(fit_log([5.0, 5.0], [0.1, 0.2]).slope)
    assert np.isnan(fit_log([5.0], [0.1]).slope)
    two = fit_log([1.0, 10.0], [0.1, 0.3])
    assert two.slope == pytest.approx(0.2)
    assert np.isnan(two.p)
    constant = fit_log([1.0, 10.0, 100.0], [0.4] * 3)
    assert (constant.slope, constant.intercept) == (0.0, 0.4)
    assert np.isnan([constant.r2, constant.p]).all()


def test_columns_of_different_length_are_refused():
    with pytest.raises(DataError, match="2 volumes and 1 values"):
        fit_log([1.0, 2.0], [0.5])
