"""Masks kept while cases are predicted come back as they were."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.contract import Prediction
from strokelab.evaluation.overlays import KeptMasks
from strokelab.grid import Grid


@settings(max_examples=30, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32 - 1), st.sampled_from(["C", "F"]))
def test_masks_come_back_as_they_were(shape, seed, order):
    mask = np.asarray(np.random.default_rng(seed).integers(0, 2, shape), dtype=np.uint8, order=order)
    masks = KeptMasks()
    masks.keep(Prediction("x", Grid(shape, np.eye(4)), mask, None, {}))
    assert "x" in masks
    assert "y" not in masks
    back = masks.mask("x")
    assert back.dtype == np.uint8
    assert np.array_equal(back, mask)
