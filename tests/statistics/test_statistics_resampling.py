"""Resampled statistics against the list a textbook would draw and average, one resample at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from strokelab.errors import ConfigError
from strokelab.metrics.overlap import Counts, dice
from strokelab.statistics import resampling
from strokelab.statistics.resampling import bootstrap, means, medians, percentile_interval, pooled_dice, together

SPECIAL = st.sampled_from([0.0, 1.0, 3.5, np.inf, np.nan])


@st.composite
def weighted(draw):
    """Values of rows, the clusters they belong to (all in use), and one resample of the clusters."""
    clusters = draw(st.integers(1, 5))
    codes = [*range(clusters), *draw(st.lists(st.integers(0, clusters - 1), max_size=7))]
    values = draw(arrays.arrays(np.float64, len(codes), elements=st.one_of(SPECIAL, st.floats(-50, 50))))
    drawn = draw(st.lists(st.integers(0, clusters - 1), min_size=clusters, max_size=clusters))
    return values, np.array(codes), np.bincount(drawn, minlength=clusters).astype(float)


def rows_drawn(values, codes, weights):
    return np.repeat(values, weights[codes].astype(int), axis=0)


@settings(max_examples=150, deadline=None)
@given(weighted())
def test_mean_and_median_are_those_of_the_drawn_list(resample):
    values, codes, weights = resample
    drawn = rows_drawn(values, codes, weights)
    finite, known = drawn[np.isfinite(drawn)], drawn[~np.isnan(drawn)]
    mean = means(values[:, None], codes)(weights[None]).item()
    assert mean == pytest.approx(finite.mean() if len(finite) else np.nan, nan_ok=True)
    median = medians(values, codes)(weights[None]).item()
    if len(known) == 0:
        assert np.isnan(median)
    else:
        low, high = np.sort(known)[(len(known) - 1) // 2], np.sort(known)[len(known) // 2]
        assert median == (low if low == high else (low + high) / 2)


def test_pooled_dice_is_the_dice_of_the_summed_counts():
    random = np.random.default_rng(0)
    counts, codes = random.integers(0, 50, (9, 3)), np.array([0, 0, 1, 2, 2, 2, 3, 4, 4])
    weights = random.integers(0, 3, (20, 5)).astype(float)
    for row, value in zip(weights, pooled_dice(counts, codes)(weights)[:, 0], strict=True):
        tp, fp, fn = rows_drawn(counts, codes, row).sum(axis=0)
        assert value == pytest.approx(dice(Counts(tp, fp, fn, 0)))
    assert pooled_dice(np.zeros((2, 3)), np.array([0, 1]))(np.ones((1, 2))).item() == 1


def test_n_clusters_are_drawn_each_time_and_every_cluster_as_often():
    seen = []

    def watch(weights):
        seen.append(weights)
        return weights[:, :1]

    bootstrap(watch, np.arange(20), resamples=4000, seed=3)
    estimate, weights = seen[0], np.concatenate(seen[1:])
    assert (estimate == 1).all()
    assert weights.shape == (4000, 20)
    assert (weights.sum(axis=1) == 20).all()
    # Each of 4000 resamples draws cluster i Binomial(20, 1/20) times: mean 1, sd 0.975.
    assert np.allclose(weights.mean(axis=0), 1, atol=4 * 0.975 / np.sqrt(4000))
    assert np.allclose(weights.var(axis=0), 0.95, atol=0.15)


def test_draws_do_not_depend_on_where_the_chunks_are_cut(monkeypatch):
    values, codes = np.random.default_rng(1).random((31, 2)), np.arange(31) // 2
    whole = bootstrap(means(values, codes), codes, resamples=100, seed=5)
    monkeypatch.setattr(resampling, "_CELLS_AT_ONCE", 31 * 7)
    cut = bootstrap(means(values, codes), codes, resamples=100, seed=5)
    np.testing.assert_allclose(whole[1], cut[1], rtol=1e-13)
    assert not np.allclose(whole[1], bootstrap(means(values, codes), codes, resamples=100, seed=6)[1])


def test_statistics_side_by_side_see_the_same_resamples():
    values, codes = np.random.default_rng(2).random(12), np.arange(12)
    both = together([means(values[:, None], codes), means(1 - values[:, None], codes)])
    estimate, samples = bootstrap(both, codes, resamples=50, seed=0)
    assert estimate.sum() == pytest.approx(1)
    np.testing.assert_allclose(samples.sum(axis=1), 1)


@settings(max_examples=60, deadline=None)
@given(arrays.arrays(np.float64, st.tuples(st.integers(1, 40), st.just(2)), elements=st.floats(-9, 9)))
def test_percentiles_are_linear(samples):
    low, high = percentile_interval(samples, level=0.9)
    np.testing.assert_allclose(low, np.percentile(samples, 5, axis=0, method="linear"), atol=1e-12)
    np.testing.assert_allclose(high, np.percentile(samples, 95, axis=0, method="linear"), atol=1e-12)


def test_percentiles_leave_nan_out_and_reach_infinity():
    samples = np.array([[1.0, np.nan], [2.0, np.nan], [np.nan, np.nan], [np.inf, np.nan], [np.inf, np.nan]])
    low, high = percentile_interval(samples)
    assert (low[0], high[0]) == (pytest.approx(1.075), np.inf)
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_that_is_no_share_is_refused(level):
    with pytest.raises(ConfigError, match="share between 0 and 1"):
        percentile_interval(np.ones((3, 1)), level)


def test_no_resamples_are_refused():
    with pytest.raises(ConfigError, match="1 or more"):
        bootstrap(means([[1.0]], np.array([0])), np.array([0]), resamples=0, seed=0)
