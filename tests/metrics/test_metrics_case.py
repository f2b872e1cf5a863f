"""One case, one row: keys, units, empty masks, profiles, grids, and the counts that compute everything again."""

import subprocess
import sys
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import Grid
from strokelab.metrics import METRICS, PROFILES, score_case, score_row
from strokelab.metrics.lesionwise import LesionCounts, count_lesion_hits
from strokelab.metrics.overlap import Counts, dice, jaccard, precision, recall, specificity
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
        assert metric in {*score_row(*pair, (1, 1, 2), profile), "mdsc", "micro_dice"}
        assert METRICS[metric].name == metric


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
        assert row["specificity"] == (1 if pair[1].any() else 208 / 216)
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


def test_hd_voxels_belongs_to_the_profile_that_reports_it(pair):
    assert "hd_voxels" in score_row(*pair, (2, 1, 1), "sunet")
    assert "hd_voxels" not in score_row(*pair, (2, 1, 1))


def test_minimum_overlap_and_size():
    truth, predicted = np.zeros((2, 9, 9, 9), bool)
    truth[1:3, 1:3, 1:3] = True
    predicted[1, 1, 1:3] = True  # a quarter of the lesion
    predicted[6, 6, 6] = True
    assert count_lesion_hits(predicted, truth, min_overlap=0.25).tp == 1
    assert count_lesion_hits(predicted, truth, min_overlap=0.26).tp == 0
    assert count_lesion_hits(predicted, truth).fp == 1
    assert count_lesion_hits(predicted, truth, min_size=2).fp == 0
    assert count_lesion_hits(predicted, truth, min_size=3) == LesionCounts(1, 0, 0, 1, 0)
    scores = {
        name: score_case(predicted, truth, 1.0, replace(PROFILES["default"], **changes))
        for name, changes in {"plain": {}, "overlap": {"min_overlap": 0.26}, "size": {"min_size": 2}}.items()
    }
    assert [scores[name]["lesion_f1"] for name in scores] == [pytest.approx(2 / 3), 0, 1]
    assert scores["size"]["dice"] == scores["plain"]["dice"]  # lesion-wise metrics alone


def test_a_share_that_is_met_exactly_is_met():
    truth, predicted = np.zeros((2, 100, 3, 3), bool)
    truth[:, 1, 1] = True
    predicted[:7, 1, 1] = True
    assert count_lesion_hits(predicted, truth, min_overlap=0.07).tp == 1  # 0.07 * 100 > 7 in floating point
    assert count_lesion_hits(predicted, truth, min_overlap=0.08).tp == 0


def test_signed_and_relative_volume_difference():
    truth, predicted = np.zeros((2, 6, 6, 6), bool)
    truth[:4, 0, 0] = True
    predicted[:3, 0, 0] = True
    row = score_row(predicted, truth, 2.0, "atlas")
    assert row["signed_volume_difference"] == pytest.approx(-0.008)  # ml under every profile
    assert row["volume_difference"] == 1  # voxels
    assert row["relative_volume_difference"] == 0.25
    assert score_row(truth, predicted, 2.0)["signed_volume_difference"] == pytest.approx(0.008)
    assert METRICS["signed_volume_difference"].signed
    assert not METRICS["volume_difference"].signed
    assert PROFILES["default"].header("signed_volume_difference") == "Signed volume difference (ml) → 0"


@pytest.mark.parametrize(
    ("profile", "neighbours", "unit", "reported"),
    [
        ("default", 26, "ml", set(KEYS)),
        ("atlas", 6, "voxels", {"dice", "volume_difference", "lesion_count_difference", "lesion_f1"}),
        ("isles22", 26, "ml", {"dice", "volume_difference", "lesion_count_difference", "lesion_f1"}),
        ("synthstroke", 26, "mm^3", {"dice", "volume_difference", "lesion_count_difference", "lesion_f1", "hd95"}),
        ("tomita", 26, "ml", {"dice", "hd", "assd", "mdsc", "micro_dice", "recall", "precision"}),
        ("isles2015", 26, "ml", {"dice", "hd", "precision", "recall"}),
        ("sgnet", 26, "ml", {"dice", "recall"}),
        ("sunet", 26, "ml", {"dice", "hd", "precision", "recall", "hd_voxels"}),
    ],
)
def test_profiles_are_the_conventions_of_their_scoreboards(profile, neighbours, unit, reported):
    rules = PROFILES[profile]
    assert (rules.name, rules.neighbours, rules.volume_unit, set(rules.reported)) == (
        profile,
        neighbours,
        unit,
        reported,
    )
    assert (rules.surface == "surfels") == (profile == "tomita")
    assert set(rules.reported) <= set(METRICS)
    assert (rules.min_overlap, rules.min_size, rules.empty_value, rules.hd95_pooled) == (0, 1, 1, False)


def test_files_on_different_grids_are_never_compared_silently(pair, tmp_path):
    write_volume(tmp_path / "truth.nii", pair[1].astype(np.uint8), affine_grid(pair[1].shape, (1, 1, 2)))
    flipped = np.diag([-1.0, 1, 2, 1])
    flipped[0, 3] = pair[0].shape[0] - 1  # the same voxels in the world, stored from right to left
    write_volume(tmp_path / "p.nii", pair[0][::-1].astype(np.uint8), Grid.of(pair[0].shape, flipped))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)  # turning is exact: no word, and not refused
        scores = score_case(tmp_path / "p.nii", tmp_path / "truth.nii", None)
        assert score_row(tmp_path / "p.nii", tmp_path / "truth.nii", None, strict_grid=True)["dice"] == scores["dice"]
    assert scores == score_case(*pair, (1, 1, 2))
    flipped[0, 3] += 0.3
    write_volume(tmp_path / "p.nii", pair[0][::-1].astype(np.uint8), Grid.of(pair[0].shape, flipped))
    with pytest.warns(DataWarning, match="nearest neighbour"):
        scores = score_case(tmp_path / "p.nii", tmp_path / "truth.nii", None)
    with pytest.raises(DataError, match="the reference's grid"):
        score_row(tmp_path / "p.nii", tmp_path / "truth.nii", None, strict_grid=True)
    elsewhere = np.diag([1.0, 1, 2, 1])
    elsewhere[:3, 3] = 500
    write_volume(tmp_path / "far.nii", pair[0].astype(np.uint8), Grid.of(pair[0].shape, elsewhere))
    with pytest.raises(DataError, match=r"(?s)far\.nii.*a volume that overlaps"):
        score_case(tmp_path / "far.nii", tmp_path / "truth.nii", None)


def test_a_spacing_that_contradicts_the_file_is_said(pair, tmp_path):
    path = write_volume(tmp_path / "truth.nii", pair[1].astype(np.uint8), affine_grid(pair[1].shape, (1, 1, 2)))
    with pytest.warns(DataWarning, match="2 x 2 x 3 mm as given, the file says 1 x 1 x 2 mm"):
        row = score_row(pair[0], path, (2, 2, 3))
    assert row == score_row(*pair, (2, 2, 3))  # distances and volumes alike


@pytest.mark.parametrize(
    ("prediction", "spacing", "profile", "error", "words"),
    [
        (np.ones((4, 4, 5)), 1.0, "default", DataError, "the reference's shape"),
        (np.ones((4, 4)), 1.0, "default", DataError, "2 dimensions"),
        (np.ones((4, 4, 4)), (1, 0, 1), "default", DataError, "positive"),
        (np.ones((4, 4, 4)), (1, 1), "default", DataError, "positive"),
        (np.ones((4, 4, 4)), 1.0, "atlass", ConfigError, "isles2015"),
        ("nowhere.nii.gz", 1.0, "default", DataError, "no such file"),
    ],
)
def test_mistakes_are_named(prediction, spacing, profile, error, words):
    with pytest.raises(error, match=words):
        score_case(prediction, np.ones((4, 4, 4)), spacing, profile)


def test_two_arguments_are_enough(pair, tmp_path):
    """Paths and images of nibabel know their spacing; arrays do not, and then nothing in mm or ml is invented."""
    truth = write_volume(tmp_path / "truth.nii", pair[1].astype(np.uint8), affine_grid(pair[1].shape, (1, 1, 2)))
    wanted = score_case(*pair, (1, 1, 2))
    image = nib.load(truth)
    mask = nib.Nifti1Image(pair[0].astype(np.uint8), image.affine)
    for prediction, reference in ((pair[0], truth), (mask, pair[1]), (mask, image), (mask, truth), (pair[0], image)):
        assert score_case(prediction, reference) == wanted
    with pytest.warns(DataWarning, match="without spacing_mm"):
        scores = score_case(*pair)
    unknown = {"hd", "hd95", "assd", "volume_difference"}
    assert {name for name, value in scores.items() if np.isnan(value)} == unknown
    assert {name: scores[name] for name in scores if name not in unknown} == {
        name: wanted[name] for name in wanted if name not in unknown
    }
    with pytest.raises(DataError, match="positive"):
        score_row(*pair, None)  # a table is kept: it holds no row without a unit


def test_scoring_needs_no_torch():
    code = "import sys, strokelab.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
