"""Probability in, mask out: thresholds at equality, components at their exact size, and the yaml files."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from omegaconf import OmegaConf

from strokelab.errors import ConfigError
from strokelab.inference.postprocess import small_components, threshold

CONF = Path(__file__).parents[2] / "conf" / "postprocess"


def test_equality_is_lesion_and_nan_is_not():
    probability = np.array([[[0.0, 0.49999, 0.5, 0.7, np.nan]]])
    mask = threshold(probability)
    assert mask.dtype == np.uint8
    assert mask.tolist() == [[[0, 0, 1, 1, 0]]]
    assert threshold(probability, 0.7).tolist() == [[[0, 0, 0, 1, 0]]]


def line_and_diagonal():
    """A row of three voxels, a diagonal pair elsewhere, one voxel alone."""
    probability = np.zeros((8, 8, 8), np.float32)
    probability[1, 1, 1:4] = 0.9
    probability[5, 5, 5] = probability[6, 6, 6] = 0.9
    probability[1, 6, 6] = 0.6
    return probability


@pytest.mark.parametrize(
    ("settings_", "voxels"),
    [
        ({"min_voxels": 1}, 6),
        ({"min_voxels": 2}, 5),  # the single voxel goes, the diagonal pair is one component
        ({"min_voxels": 2, "neighbours": 6}, 3),  # by faces the pair is two single voxels
        ({"min_voxels": 3}, 3),  # exactly three stay
        ({"min_voxels": 4}, 0),
        ({"min_voxels": 1, "threshold": 0.7}, 5),
    ],
)
def test_components_of_exactly_the_limit_survive(settings_, voxels):
    probability = line_and_diagonal()
    before = probability.copy()
    mask = small_components(probability, **settings_)
    assert mask.dtype == np.uint8
    assert mask.sum() == voxels
    np.testing.assert_array_equal(probability, before)


@settings(max_examples=40, deadline=None)
@given(
    probability=hnp.arrays(np.float32, (6, 6, 6), elements=st.floats(0, 1, width=32)),
    level=st.floats(0.05, 1),
    size=st.integers(0, 8),
)
def test_a_larger_limit_never_adds_a_voxel(probability, level, size):
    full, less = threshold(probability, level), small_components(probability, level, min_voxels=size)
    stricter = small_components(probability, level, min_voxels=size + 1)
    assert (stricter <= less).all()
    assert (less <= full).all()
    np.testing.assert_array_equal(small_components(probability, level, min_voxels=1), full)


@pytest.mark.parametrize("wrong", [-0.1, 1.01, float("nan")])
def test_threshold_must_be_a_probability(wrong):
    for function in (threshold, small_components):
        with pytest.raises(ConfigError, match=r"postprocess\.threshold"):
            function(line_and_diagonal(), wrong)
    with pytest.raises(ConfigError, match="6, 18 or 26"):
        small_components(line_and_diagonal(), neighbours=4)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("none", lambda p: threshold(p, 0.5)),
        ("threshold", lambda p: threshold(p, 0.5)),
        ("small_components", lambda p: small_components(p, 0.5, min_voxels=10, neighbours=26)),
    ],
)
def test_yaml_builds_a_function_of_the_probability_alone(name, expected):
    finish = instantiate(OmegaConf.load(CONF / f"{name}.yaml"))
    probability = np.random.default_rng(3).random((12, 12, 12))
    np.testing.assert_array_equal(finish(probability), expected(probability))
