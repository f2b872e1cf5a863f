"""One case, one row: input forms, units, empty masks, symmetries, and the counts that compute everything again."""

import subprocess
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import Grid
from strokelab.metrics import METRICS, PROFILES, score_case, score_row
from strokelab.metrics.lesionwise import count_lesion_hits, lesion_f1
from strokelab.metrics.overlap import Counts, count, dice, jaccard, precision, recall, specificity
from strokelab.nifti import write_volume

KEYS = [
    *("dice", "jaccard", "precision", "recall", "hd", "hd95", "assd", "volume_difference"),
    *("lesion_count_difference", "lesion_f1", "lesion_precision", "lesion_recall"),
]


def blobs(seed, shape=(20, 18, 22), level=0.8):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return smooth > level * smooth.std() * 2


@pytest.fixture
def pair():
    truth = blobs(0)
    return np.roll(truth, 1, 0) | blobs(1, level=1.2), truth


def affine_grid(shape, spacing):
    return Grid.of(shape, np.diag([*spacing, 1.0]))


@pytest.mark.parametrize("profile", [*PROFILES, replace(PROFILES["default"], hd95_pooled=True)])
def test_exactly_the_promised_keys(pair, profile):
    scores = score_case(*pair, (1, 1, 2), profile)
    assert list(scores) == KEYS
    assert all(isinstance(value, float) for value in scores.values())
    name = profile if isinstance(profile, str) else profile.name
    for metric in PROFILES[name].reported:
        assert metric in score_row(*pair, (1, 1, 2), profile)
        assert METRICS[metric].name == metric


FORMS = {
    "bool": lambda m: m,
    "uint8": lambda m: m.astype(np.uint8),
    "int64": lambda m: m.astype(np.int64),
    "float32": lambda m: m.astype(np.float32),
    "0/255": lambda m: m.astype(np.uint8) * 255,
    "fortran": np.asfortranarray,
    "torch bool": torch.from_numpy,
    "torch float with batch axes": lambda m: torch.from_numpy(m).float()[None, None].requires_grad_(),
    "torch bfloat16": lambda m: torch.from_numpy(m).bfloat16(),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask_gives_the_same_numbers(pair, form):
    inputs = [FORMS[form](mask) for mask in pair]
    before = [torch.clone(i) if isinstance(i, torch.Tensor) else i.copy() for i in inputs]
    assert score_case(*inputs, (1, 1, 2)) == score_case(*pair, (1, 1, 2))
    for after, then in zip(inputs, before, strict=True):
        assert (
            np.asarray(after.detach().float() if isinstance(after, torch.Tensor) else after)
            == np.asarray(then.detach().float() if isinstance(then, torch.Tensor) else then)
        ).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("value", [1, 255])
def test_files_of_any_dtype(pair, tmp_path, dtype, value):
    grid = affine_grid(pair[0].shape, (1, 1, 2))
    paths = []
    for name, mask in zip("pt", pair, strict=True):
        paths.append(tmp_path / f"{name}.nii.gz")
        if dtype == np.uint8:
            write_volume(paths[-1], (mask * value).astype(dtype), grid)
        else:
            nib.save(nib.Nifti1Image((mask * value).astype(dtype), grid.matrix), paths[-1])
    expected = score_case(*pair, (1, 1, 2))
    assert score_case(*paths, (1, 1, 2)) == expected
    assert score_case(str(paths[0]), paths[1], None) == expected
    assert score_case(pair[0], paths[1], None) == expected


def test_units_of_volume(pair):
    voxels = abs(int(pair[0].sum()) - int(pair[1].sum()))
    assert voxels > 0
    for profile, expected in [("default", voxels * 12 / 1000), ("synthstroke", voxels * 12), ("atlas", voxels)]:
        assert score_case(*pair, (2, 2, 3), profile)["volume_difference"] == pytest.approx(expected)
    row = score_row(*pair, (2, 2, 3), voxel_volume_mm3=11.0)
    assert row["truth_ml"] == pytest.approx(pair[1].sum() * 11 / 1000)
    assert row["prediction_ml"] == pytest.approx(pair[0].sum() * 11 / 1000)
    assert PROFILES["atlas"].header("volume_difference") == "Volume difference (voxels) ↓"
    assert PROFILES["default"].header("dice") == "Dice ↑"
    assert PROFILES["sunet"].header("hd") == "HD (mm) ↓"


def test_empty_masks():
    nothing, one = np.zeros((6, 6, 6), bool), np.zeros((6, 6, 6), bool)
    one[2:4, 2:4, 2:4] = True
    perfect = {key: 0.0 if METRICS[key].limits[1] == np.inf else 1.0 for key in KEYS}
    assert score_case(nothing, nothing, 1.0) == perfect
    assert score_case(one, one, 1.0) == perfect
    for pair in ((one, nothing), (nothing, one)):
        row = score_row(*pair, (1, 2, 3))
        assert [row[key] for key in ("dice", "jaccard", "precision", "recall")] == [0] * 4
        assert [row[key] for key in ("lesion_f1", "lesion_precision", "lesion_recall")] == [0] * 3
        assert [row[key] for key in ("hd", "hd95", "assd")] == [np.inf] * 3
        assert row["hd_penalised"] == pytest.approx(np.sqrt(6**2 + 12**2 + 18**2))
    assert np.isnan(score_row(one, nothing, 1.0)["relative_volume_difference"])
    undefined = replace(PROFILES["default"], empty_value=float("nan"))
    assert np.isnan(score_case(nothing, nothing, 1.0, undefined)["dice"])
    assert score_case(one, nothing, 1.0, undefined)["dice"] == 0


def test_the_row_computes_everything_again_without_images(pair):
    row = score_row(*pair, (1, 1, 2), "atlas")
    counts = Counts(*(row[key] for key in ("tp", "fp", "fn", "tn")))
    assert sum((counts.tp, counts.fp, counts.fn, counts.tn)) == pair[0].size
    for name, function in [("dice", dice), ("jaccard", jaccard), ("precision", precision), ("recall", recall)]:
        assert row[name] == function(counts)
    assert row["specificity"] == specificity(counts)
    tp, fn, fp = (row[f"lesion_{kind}_6"] for kind in ("tp", "fn", "fp"))
    assert row["lesion_f1"] == tp / (tp + (fn + fp) / 2)
    assert row["volume_difference"] == abs(counts.prediction - counts.reference)
    assert row["profile"] == "atlas"


def test_sunet_adds_its_distance_in_voxels_on_the_full_erosion():
    truth = np.zeros((12, 12, 12), bool)
    truth[3:8, 3:8, 3:8] = True
    predicted = truth.copy()
    predicted[10, 5, 5] = True
    row = score_row(predicted, truth, (2, 1, 1), "sunet")
    assert row["hd_voxels"] == 3
    assert row["hd"] == 6
    assert "hd_voxels" not in score_row(predicted, truth, (2, 1, 1))


def test_micro_dice_is_the_dice_of_all_cases_side_by_side():
    pairs = [(blobs(seed), blobs(seed + 10)) for seed in range(3)]
    pooled = sum((count(p, t) for p, t in pairs), Counts(0, 0, 0, 0))
    side_by_side = [np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)]
    assert dice(pooled) == score_case(*side_by_side, 1.0)["dice"]
    assert dice(Counts(10, 10, 30, 0) + Counts(500, 100, 100, 0)) == pytest.approx(0.8095, abs=1e-4)


masks = hnp.arrays(bool, (5, 4, 6), elements=st.booleans())


def textbook_lesions(prediction, reference, neighbours):
    """Component by component, with SciPy's labels."""
    structure = ndimage.generate_binary_structure(3, 1 if neighbours == 6 else 3)
    true, n = ndimage.label(reference, structure)
    found, m = ndimage.label(prediction, structure)
    hits = sum(bool(prediction[true == i].any()) for i in range(1, n + 1))
    false = sum(not reference[found == i].any() for i in range(1, m + 1))
    return n, m, hits, n - hits, false


@settings(max_examples=60, deadline=None)
@given(prediction=masks, reference=masks, neighbours=st.sampled_from([6, 26]))
def test_textbook_agrees(prediction, reference, neighbours):
    lesions = count_lesion_hits(prediction, reference, neighbours)
    assert (lesions.reference, lesions.prediction, lesions.tp, lesions.fn, lesions.fp) == textbook_lesions(
        prediction, reference, neighbours
    )
    tp, fp, fn = (
        sum(bool(p) is a and bool(t) is b for p, t in zip(prediction.flat, reference.flat, strict=True))
        for a, b in ((True, True), (True, False), (False, True))
    )
    scores = score_case(prediction, reference, 1.0)
    assert scores["dice"] == (2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 1)


@settings(max_examples=40, deadline=None)
@given(prediction=masks, reference=masks)
def test_invariants(prediction, reference):
    scores = score_case(prediction, reference, 1.0)
    assert scores["jaccard"] == pytest.approx(scores["dice"] / (2 - scores["dice"]))
    symmetric = ("dice", "jaccard", "hd", "hd95", "assd", "volume_difference", "lesion_count_difference")
    swapped = score_case(reference, prediction, 1.0)
    for key in symmetric:
        assert swapped[key] == pytest.approx(scores[key]), key
    moved = [
        (prediction[::-1], reference[::-1]),
        (prediction.transpose(1, 2, 0), reference.transpose(1, 2, 0)),
        (np.pad(prediction, 2), np.pad(reference, 2)),
    ]
    for pair in moved:
        assert score_case(*pair, 1.0) == pytest.approx(scores)


def test_lesion_f1_is_not_symmetric():
    truth, predicted = np.zeros((2, 9, 9, 9), bool)
    truth[4, 4, 1] = truth[4, 4, 4] = truth[4, 4, 7] = True
    predicted[4, 4, 1:5] = True  # one blob over two of three lesions
    assert lesion_f1(count_lesion_hits(predicted, truth)) == pytest.approx(2 / 2.5)
    assert lesion_f1(count_lesion_hits(truth, predicted)) == pytest.approx(1 / 1.5)


def test_minimum_overlap_and_size():
    truth, predicted = np.zeros((2, 9, 9, 9), bool)
    truth[1:3, 1:3, 1:3] = True
    predicted[1, 1, 1:3] = True  # a quarter of the lesion
    predicted[6, 6, 6] = True
    assert count_lesion_hits(predicted, truth, min_overlap=0.25).tp == 1
    assert count_lesion_hits(predicted, truth, min_overlap=0.26).tp == 0
    assert count_lesion_hits(predicted, truth).fp == 1
    assert count_lesion_hits(predicted, truth, min_voxels=2).fp == 0


def test_files_on_different_grids_are_never_compared_silently(pair, tmp_path):
    write_volume(tmp_path / "truth.nii", pair[1].astype(np.uint8), affine_grid(pair[1].shape, (1, 1, 2)))
    flipped = np.diag([-1.0, 1, 2, 1])
    flipped[0, 3] = pair[0].shape[0] - 1  # the same voxels in the world, stored from right to left
    write_volume(tmp_path / "p.nii", pair[0][::-1].astype(np.uint8), Grid.of(pair[0].shape, flipped))
    with pytest.warns(DataWarning, match="nearest neighbour"):
        scores = score_case(tmp_path / "p.nii", tmp_path / "truth.nii", None)
    assert scores == score_case(*pair, (1, 1, 2))
    with pytest.raises(DataError, match="the reference's grid"):
        score_row(tmp_path / "p.nii", tmp_path / "truth.nii", None, strict_grid=True)


def test_several_values_are_cut_at_half_the_largest_with_a_warning():
    labels = np.zeros((4, 4, 4), np.int16)
    labels[1, 1, 1:3], labels[2, 2, 2] = 1, 3
    truth = labels == 3
    with pytest.warns(DataWarning, match="prediction"):
        assert score_case(labels, truth, 1.0)["dice"] == 1


@pytest.mark.parametrize(
    ("prediction", "spacing", "profile", "error", "words"),
    [
        (np.ones((4, 4, 5)), 1.0, "default", DataError, "the reference's shape"),
        (np.ones((4, 4)), 1.0, "default", DataError, "2 dimensions"),
        (np.full((4, 4, 4), np.nan), 1.0, "default", DataError, "NaN"),
        (np.ones((4, 4, 4)), (1, 0, 1), "default", DataError, "positive"),
        (np.ones((4, 4, 4)), (1, 1), "default", DataError, "positive"),
        (np.ones((4, 4, 4)), None, "default", DataError, "positive"),
        (np.ones((4, 4, 4)), 1.0, "atlass", ConfigError, "isles2015"),
        ("nowhere.nii.gz", 1.0, "default", DataError, "no such file"),
    ],
)
def test_mistakes_are_named(prediction, spacing, profile, error, words):
    with pytest.raises(error, match=words):
        score_case(prediction, np.ones((4, 4, 4)), spacing, profile)


def test_scoring_needs_no_torch():
    code = "import sys, strokelab.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
