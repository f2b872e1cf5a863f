"""The streamed mean of maps in single precision, their disagreement, their weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strokelab.inference.ensemble import RunningMean

MAPS = hnp.arrays(np.float32, (20, 3, 4, 5), elements=st.floats(0, 1, width=32))


def mean_of(maps, weights=None, disagreement=False):
    mean = RunningMean(disagreement)
    for index, probability in enumerate(maps):
        mean.add(probability, 1.0 if weights is None else weights[index])
    return mean


@settings(max_examples=50, deadline=None)
@given(MAPS, st.integers(1, 20))
def test_identical_maps_have_themselves_as_mean_and_no_disagreement(maps, count):
    mean = mean_of([maps[0]] * count, disagreement=True)
    np.testing.assert_array_equal(mean.mean(), maps[0])
    assert mean.mean().dtype == np.float32
    assert mean.deviation().max() == 0


@settings(max_examples=50, deadline=None)
@given(MAPS, st.permutations(range(20)))
def test_plain_mean_in_any_order(maps, order):
    mean = mean_of(maps, disagreement=True)
    np.testing.assert_allclose(mean.mean(), maps.astype(float).mean(axis=0), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(mean.deviation(), maps.astype(float).std(axis=0), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(mean_of(maps[list(order)]).mean(), mean.mean(), rtol=2e-7, atol=1e-30)
    assert mean.deviation().max() <= 0.5


def test_weights_count():
    low, high = np.zeros((2, 2, 2)), np.ones((2, 2, 2))
    mean = mean_of([low, high, high], weights=[1, 0.5, 0.5], disagreement=True)
    assert mean.mean().tolist() == np.full((2, 2, 2), 0.5).tolist()
    assert mean.deviation().tolist() == np.full((2, 2, 2), 0.5).tolist()


def test_maps_are_left_as_they_were():
    probability = np.full((2, 2, 2), 0.25, np.float32)
    mean_of([probability, probability], weights=[2, 3])
    assert (probability == 0.25).all()


def test_what_cannot_be_averaged_is_refused():
    mean = mean_of([np.zeros((2, 3, 4))])
    with pytest.raises(ValueError, match=r"\(4, 3, 2\).*\(2, 3, 4\)"):
        mean.add(np.zeros((4, 3, 2)))
    for weight in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="weight"):
            mean.add(np.zeros((2, 3, 4)), weight)
    with pytest.raises(ValueError, match="no map"):
        RunningMean().mean()
    with pytest.raises(ValueError, match="not asked for"):
        mean.deviation()
