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


@settings(max_examples=20, deadline=None)
@given(st.tuples(*[st.integers(1, 9)] * 3), st.integers(0, 2**32 - 1), st.sampled_from(["C", "F"]))
def test_probabilities_come_back_in_steps_of_a_255th_where_they_are_asked_for(shape, seed, order):
    probability = np.asarray(np.random.default_rng(seed).random(shape), dtype=np.float32, order=order)
    prediction = Prediction("x", Grid(shape, np.eye(4)), (probability > 0.5).astype(np.uint8), probability, {})
    masks, plain = KeptMasks(probabilities=True), KeptMasks()
    masks.keep(prediction)
    plain.keep(prediction)
    np.testing.assert_allclose(masks.probability("x"), probability, atol=0.5 / 255 + 1e-6)
    assert np.array_equal(masks.mask("x"), prediction.mask)
    assert plain.probability("x") is None


def test_the_most_probable_class_comes_back_where_it_is_asked_for():
    shape = (3, 4, 5)
    classes = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    prediction = Prediction(
        "x", Grid(shape, np.eye(4)), np.zeros(shape, np.uint8), None, {}, classes=classes, class_names=("a", "b", "c")
    )
    masks, plain = KeptMasks(labels=True), KeptMasks()
    masks.keep(prediction)
    plain.keep(prediction)
    assert np.array_equal(masks.labels("x"), classes.argmax(axis=0))
    assert (masks.class_names, plain.labels("x")) == (("a", "b", "c"), None)
