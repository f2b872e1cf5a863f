"""A user's own metrics: called with the masks, refused where their name or their value would mislead."""

import numpy as np
import pytest

from strokelab.errors import ConfigError
from strokelab.metrics.own import check_names, score_own

ONE = np.zeros((3, 3, 3), np.uint8)
ONE[1, 1, 1] = 1
TWO = ONE.copy()
TWO[0, 0, :2] = 1


def test_functions_get_both_masks_and_the_spacing():
    own = {
        "predicted_mm3": lambda prediction, reference, spacing: prediction.sum() * np.prod(spacing),
        "true_voxels": lambda prediction, reference, spacing: reference.sum(),
    }
    assert score_own(own, ONE, TWO, (1.0, 2.0, 3.0)) == {"predicted_mm3": 6.0, "true_voxels": 3.0}


@pytest.mark.parametrize("name", ["dice", "tp", "hd_voxels", "lesion_ml", "mdsc", "with space", "a/b", "failed"])
def test_names_that_are_taken_or_no_column(name):
    with pytest.raises(ConfigError) as caught:
        check_names({name: np.sum}, "metrics")
    assert caught.value.where == f"metrics.{name}"


def test_a_value_is_no_metric():
    with pytest.raises(ConfigError) as caught:
        check_names({"mine": 0.5}, "metrics")
    assert "_partial_: true" in caught.value.remedy


@pytest.mark.parametrize("wrong", [lambda *_: 1 / 0, lambda *_: None, lambda *_: np.zeros(3)])
def test_a_metric_that_fails_is_named(wrong):
    with pytest.raises(ConfigError) as caught:
        score_own({"mine": wrong}, ONE, TWO, (1.0, 1.0, 1.0))
    assert caught.value.where == "metrics.mine"
