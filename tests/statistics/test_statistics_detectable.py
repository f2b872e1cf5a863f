"""The detectable difference is the one that simulated experiments find four times out of five."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.statistics.detectable import detectable_difference
from strokelab.statistics.paired import wilcoxon


def standardised(n):
    """Of n differences whose sd is exactly 1."""
    values = np.arange(n, dtype=float)
    return detectable_difference(values / values.std(ddof=1))


@pytest.mark.parametrize("n", [6, 8, 12, 20, 40, 100])
def test_simulated_experiments_find_it_four_times_out_of_five(n):
    random = np.random.default_rng(n)
    found = [wilcoxon(random.normal(standardised(n), 1, n), np.zeros(n)).p <= 0.05 for _ in range(600)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.06)  # standard error 0.016


def test_five_pairs_can_show_nothing_and_one_says_nothing():
    assert detectable_difference([0.1, 0.2, 0.3, 0.4, 0.5]) == np.inf
    assert detectable_difference([0.1, 0.2, 0.3, 0.4, 0.5], alpha=0.1) < np.inf
    assert np.isnan(detectable_difference([0.1]))
    assert np.isnan(detectable_difference([]))
    assert detectable_difference([0.3 - 0.2, 0.2 - 0.1] * 5) == 0


def test_infinite_and_undefined_differences_are_left_out():
    values = np.random.default_rng(0).normal(size=20)
    assert detectable_difference([*values, np.inf, -np.inf, np.nan]) == detectable_difference(values)


def test_shrinks_with_the_root_of_n_and_grows_with_power():
    assert standardised(400) / standardised(100) == pytest.approx(0.5, rel=0.02)
    sizes = [standardised(n) for n in range(6, 80)]
    assert all(small > large for small, large in zip(sizes[2::4], sizes[6::4], strict=False))
    values = np.random.default_rng(1).normal(size=30)
    powers = [detectable_difference(values, power=power) for power in (0.5, 0.8, 0.95)]
    assert powers == sorted(powers)
    assert detectable_difference(values, alpha=0.01) > detectable_difference(values, alpha=0.05)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-100, 100), min_size=6, max_size=20), st.integers(1, 50), st.integers(-50, 50))
def test_follows_the_unit_and_not_the_bias(values, scale, bias):
    differences = np.array(values, dtype=float)
    expected = scale * detectable_difference(differences)
    assert detectable_difference(scale * differences + bias) == pytest.approx(expected)
    assert detectable_difference(-differences) == pytest.approx(detectable_difference(differences))
