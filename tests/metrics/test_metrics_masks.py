"""What may be scored as a mask, and what needs a word first: never a guess."""

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import Grid
from strokelab.metrics import score_case, score_row
from strokelab.metrics.masks import binary_mask
from strokelab.nifti import write_volume

GRID = Grid.of((6, 7, 8), np.diag([1.0, 1, 2, 1]))


@pytest.fixture
def truth():
    mask = np.zeros(GRID.shape, bool)
    mask[1:4, 1:4, 1:4] = True
    return mask


@pytest.fixture
def predicted(truth):
    return np.roll(truth, 1, 0)


@pytest.fixture
def probability(predicted):
    return np.where(predicted, np.float32(0.5), np.float32(0.2))


@pytest.fixture
def label_map(predicted):
    labels = predicted.astype(np.int16) * 2
    labels[5, 5, 5:] = 1, 3, 3
    return labels


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("value", [1, 255])
def test_files_of_any_dtype(predicted, truth, tmp_path, dtype, value):
    paths = []
    for name, mask in (("p", predicted), ("t", truth)):
        paths.append(tmp_path / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image((mask * value).astype(dtype), GRID.matrix), paths[-1])
    expected = score_case(predicted, truth, (1, 1, 2))
    assert score_case(*paths, (1, 1, 2)) == expected
    assert score_case(str(paths[0]), paths[1], None) == expected
    assert score_case(predicted, paths[1], None) == expected


@pytest.mark.parametrize("as_file", [False, True])
def test_probabilities_are_scored_at_a_threshold_only(probability, predicted, truth, tmp_path, as_file):
    given = probability
    if as_file:
        given = write_volume(tmp_path / "p.nii.gz", probability, GRID)
    with pytest.raises(DataError, match=r"(?s)p(rediction|\.nii\.gz).*no whole numbers.*threshold=0\.5"):
        score_case(given, truth, (1, 1, 2))
    expected = score_case(predicted, truth, (1, 1, 2))
    assert score_case(given, truth, (1, 1, 2), threshold=0.5) == expected  # p >= threshold, not above it
    assert score_case(torch.as_tensor(probability), truth, (1, 1, 2), threshold=0.5) == expected
    assert score_case(given, truth * 255, (1, 1, 2), threshold=0.5) == expected  # a mask stays a mask
    assert score_case(given, truth, (1, 1, 2), threshold=0.51)["dice"] == 0
    assert score_case(given, truth, (1, 1, 2), threshold=0.2)["precision"] == pytest.approx(truth.mean())


def test_the_threshold_is_compared_in_the_maps_own_precision(truth):
    for dtype in (np.float16, np.float32, np.float64):
        probability = truth.astype(dtype) * dtype(0.7)
        probability[5, 5, 5] = 0.1
        assert score_case(probability, truth, 1.0, threshold=0.7)["dice"] == 1


def test_a_soft_reference_is_refused_as_well(predicted, probability):
    with pytest.raises(DataError, match="reference"):
        score_case(predicted, probability, 1.0)
    assert score_case(predicted, probability, 1.0, threshold=0.5)["dice"] == 1


@pytest.mark.parametrize("as_file", [False, True])
def test_labels_are_scored_by_name_only(label_map, predicted, truth, tmp_path, as_file):
    given = write_volume(tmp_path / "p.nii.gz", label_map, GRID) if as_file else label_map
    with pytest.raises(DataError, match=r"(?s)label values 1, 2, 3.*labels=\(1, 2\)"):
        score_case(given, truth, (1, 1, 2))
    expected = score_case(predicted, truth, (1, 1, 2))
    assert score_case(given, truth * 2, (1, 1, 2), labels=(2,)) == expected
    assert score_case(given, truth, (1, 1, 2), labels=(2,), reference_labels=(1,)) == expected
    assert score_case(given, truth, (1, 1, 2), labels=[2], reference_labels=[1]) == expected
    assert score_row(given, given, (1, 1, 2), labels=(1, 3))["tp"] == 3
    assert score_row(given, given, (1, 1, 2), labels=(1, 2), reference_labels=(2, 3))["fn"] == 2


def test_a_map_without_any_of_the_labels_is_empty_and_says_so(label_map, truth):
    with pytest.warns(DataWarning, match=r"reference: holds label values 1 but none of the labels \[2\]"):
        assert score_case(label_map, truth.astype(np.uint8), 1.0, labels=(2,))["recall"] == 0


def test_threshold_for_one_and_labels_for_the_other(probability, label_map):
    assert score_case(probability, label_map, 1.0, threshold=0.5, reference_labels=(2,))["dice"] == 1


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int32])
def test_one_value_is_a_mask_whatever_it_is(predicted, truth, dtype):
    assert score_case(predicted.astype(dtype) * 7, truth, 1.0) == score_case(predicted, truth, 1.0)


NO_MASK = {
    "NaN": (lambda m: np.where(m, np.nan, 0), "NaN or Inf"),
    "infinite": (lambda m: np.where(m, np.inf, 0), "NaN or Inf"),
    "negative": (lambda m: -m.astype(np.int8), "negative values down to -1"),
    "logits": (lambda m: np.where(m, 3.2, -1.5), "sigmoid"),
    "complex": (lambda m: m.astype(np.complex64), "complex64"),
    "text": (lambda m: m.astype(str), "<U5"),
    "objects": (lambda m: m.astype(object), "object"),
    "an image": (lambda m: np.arange(m.size).reshape(m.shape), r"\(335 in all\)"),
    "a picture of two": (lambda m: m[0], "2 dimensions"),
    "channels": (lambda m: np.stack([m, ~m]), "4 dimensions"),
    "ragged lists": (lambda m: [[1], [1, 2]], "a list"),
}


@pytest.mark.parametrize("kind", NO_MASK)
@pytest.mark.parametrize("side", ["prediction", "reference"])
def test_what_is_no_mask_is_refused_by_name(truth, kind, side):
    spoil, words = NO_MASK[kind]
    masks = {"prediction": truth, "reference": truth} | {side: spoil(truth)}
    with pytest.raises(DataError, match=f"(?s){side}.*{words}"):
        score_case(**masks, spacing_mm=1.0)


def test_not_a_number_is_refused_under_every_rule(truth):
    broken = np.where(truth, np.nan, 0.4)
    for rule in ({}, {"threshold": 0.5}, {"labels": (1,)}):
        with pytest.raises(DataError, match="NaN"):
            binary_mask(broken, "prediction", **rule)


@pytest.mark.parametrize(
    ("rule", "error", "words"),
    [
        ({"threshold": 0.5, "labels": (1,)}, ConfigError, "one of the two"),
        ({"threshold": 0.0}, ConfigError, "above 0"),
        ({"threshold": 50}, ConfigError, "up to 1"),
        ({"threshold": float("nan")}, ConfigError, "threshold nan"),
        ({"labels": ()}, ConfigError, "at least one"),
        ({"labels": (0, 1)}, ConfigError, "0 is background"),
        ({"labels": (1.5,)}, ConfigError, "whole numbers"),
        ({"threshold": 0.5}, DataError, "from 0 to 1"),  # given a label map
        ({"labels": (1,)}, DataError, "no whole numbers"),  # given probabilities
    ],
)
def test_rules_that_make_no_sense_are_refused(label_map, probability, rule, error, words):
    given = probability if rule.get("labels") else label_map
    with pytest.raises(error, match=words):
        binary_mask(given, "prediction", **rule)


def test_labels_of_scaled_files_are_rounded(truth):
    assert (binary_mask(truth * np.float32(2.0000002), "p", labels=(2,)) == truth).all()


def test_empty_volumes_are_empty_masks(truth):
    for dtype in (bool, np.uint8, np.float32):
        assert score_row(np.zeros(truth.shape, dtype), truth, 1.0)["fn"] == truth.sum()
