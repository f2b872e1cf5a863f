"""What must hold of the metrics: the public scorers' tables, worked values, a slow textbook, invariances, a real case.

Statistics over cases have their own page of tests.
"""

import itertools
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from strokelab.lesions import label_lesions
from strokelab.metrics import PROFILES, lesionwise, score_case, score_row
from strokelab.metrics.overlap import Counts, count, dice
from strokelab.metrics.thresholds import (
    THRESHOLDS,
    count_probabilities,
    dice_at_thresholds,
    max_dice,
    max_dice_common,
    max_dice_exact,
)
from strokelab.nifti import read_grid, read_voxels

SHARED = Path(__file__).parents[3] / "shared" / "data" / "isles2022-sample"
SAMPLE = Path(os.environ.get("STROKELAB_ISLES2022_SAMPLE", SHARED))

DEFAULT = PROFILES["default"]
VARIANTS = {
    "default": DEFAULT,
    "pooled HD95": replace(DEFAULT, hd95_pooled=True),
    "directed ASSD": replace(DEFAULT, assd_pooled=False),
    "by area": replace(DEFAULT, surface="surfels", assd_pooled=False),
}


def cubes(*boxes, size=16):
    """A mask (size, size, size) of boxes: ((x, y, z), edge lengths)."""
    mask = np.zeros((size,) * 3, bool)
    for (x, y, z), (a, b, c) in boxes:
        mask[x : x + a, y : y + b, z : z + c] = True
    return mask


# --- the two public scorers, row by row -------------------------------------------------------------------------------

NOTHING = cubes()
CUBE = (3, 3, 3)
ONE = cubes(((2, 2, 2), CUBE))
THREE = cubes(((1, 1, 1), CUBE), ((6, 6, 6), CUBE), ((11, 11, 11), CUBE))
FAR = cubes(((10, 10, 10), CUBE))
CORNER = cubes(((4, 4, 4), CUBE))
TWO = cubes(((2, 2, 2), CUBE), ((2, 2, 8), CUBE))
BRIDGED = TWO | cubes(((3, 3, 5), (1, 1, 3)))
FULL = np.ones((16, 16, 16), bool)
VOXEL = cubes(((7, 7, 7), (1, 1, 1)))
BY_EDGE = VOXEL | cubes(((8, 8, 7), (1, 1, 1)))
BY_CORNER = VOXEL | cubes(((8, 8, 8), (1, 1, 1)))

# name, prediction, reference, Dice, volume difference in voxels, then (count difference, lesion F1) of each scorer
ROWS = [
    ("both empty", NOTHING, NOTHING, 1, 0, (0, 1), (0, 1)),
    ("T empty", ONE, NOTHING, 0, 27, (1, 0), (1, 0)),
    ("P empty", NOTHING, ONE, 0, 27, (1, 0), (1, 0)),
    ("three identical", THREE, THREE, 1, 0, (0, 1), (0, 1)),
    ("disjoint", FAR, ONE, 0, 0, (0, 0), (0, 0)),
    ("shared corner voxel", CORNER, ONE, 0.037037, 0, (0, 1), (0, 1)),
    ("P bridged", BRIDGED, TWO, 0.972973, 3, (1, 1), (1, 1)),
    ("T bridged", TWO, BRIDGED, 0.972973, 3, (1, 1), (1, 1)),
    ("P is the grid", FULL, ONE, 0.013097, 4069, (0, 1), (0, 1)),
    ("T touches by edge, P one of two", VOXEL, BY_EDGE, 0.666667, 1, (1, 0.666667), (0, 1)),
    ("T touches by corner, P one of two", VOXEL, BY_CORNER, 0.666667, 1, (1, 0.666667), (0, 1)),
    ("P it and its corner neighbour", BY_CORNER, VOXEL, 0.666667, 1, (1, 0.666667), (0, 1)),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
@pytest.mark.parametrize("profile", ["atlas", "isles22", "synthstroke"])
def test_01_the_scorers_of_atlas_and_isles22(row, profile):
    _, prediction, reference, dice, voxels, atlas, isles = row
    scores = score_case(prediction, reference, (1, 1, 1), profile)
    count, f1 = atlas if profile == "atlas" else isles
    assert scores["dice"] == pytest.approx(dice, abs=1e-6)
    assert scores["volume_difference"] == pytest.approx(voxels / 1000 if profile == "isles22" else voxels, abs=1e-12)
    assert scores["lesion_count_difference"] == count
    assert scores["lesion_f1"] == pytest.approx(f1, abs=1e-6)


# --- a slow textbook, written once more from the definitions ----------------------------------------------------------


def textbook(prediction, reference, spacing, neighbours=26):
    """The twelve metrics from sets of voxels: loops, brute-force distances, SciPy's labels one lesion at a time."""
    P, T = ({tuple(map(int, place)) for place in np.argwhere(mask)} for mask in (prediction, reference))
    tp, fp, fn = len(P & T), len(P - T), len(T - P)

    def share(part, whole):
        return 1.0 if not P and not T else part / whole if whole else 0.0

    faces = [step for step in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]

    def shell(mask):
        return [v for v in mask if any((v[0] + x, v[1] + y, v[2] + z) not in mask for x, y, z in faces)]

    def nearest(places, goals):
        far = [[sum(((a - b) * s) ** 2 for a, b, s in zip(p, q, spacing, strict=True)) for q in goals] for p in places]
        return np.sqrt([min(row) for row in far])

    distances = dict.fromkeys(("hd", "hd95", "assd"), 0.0 if not P and not T else float("inf"))
    if P and T:
        a, b = nearest(shell(P), shell(T)), nearest(shell(T), shell(P))
        distances = {
            "hd": max(a.max(), b.max()),
            "hd95": max(np.percentile(a, 95), np.percentile(b, 95)),
            "assd": (a.sum() + b.sum()) / (len(a) + len(b)),
        }
    structure = ndimage.generate_binary_structure(3, 1 if neighbours == 6 else 3)

    def lesions(mask):
        labels, n = ndimage.label(mask, structure)
        return [{tuple(map(int, place)) for place in np.argwhere(labels == i + 1)} for i in range(n)]

    true, found = lesions(reference), lesions(prediction)
    hits = sum(bool(lesion & P) for lesion in true)
    false = sum(not lesion & T for lesion in found)
    return {
        "dice": share(2 * tp, 2 * tp + fp + fn),
        "jaccard": share(tp, tp + fp + fn),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        **distances,
        "volume_difference": abs(len(P) - len(T)) * float(np.prod(spacing)) / 1000,
        "lesion_count_difference": abs(len(found) - len(true)),
        "lesion_f1": share(hits, hits + (len(true) - hits + false) / 2),
        "lesion_precision": share(hits, hits + false),
        "lesion_recall": share(hits, len(true)),
    }


masks = st.sampled_from([0.05, 0.3, 0.6]).flatmap(
    lambda share: hnp.arrays(float, (5, 4, 6), elements=st.floats(0, 1, width=16)).map(lambda draw: draw < share)
)
spacings = st.tuples(*[st.sampled_from([0.5, 0.9, 1.0, 3.0, 6.5])] * 3)


@settings(max_examples=60, deadline=None)
@given(prediction=masks, reference=masks, spacing=spacings, neighbours=st.sampled_from([6, 26]))
def test_every_metric_is_the_textbooks(prediction, reference, spacing, neighbours):
    profile = replace(DEFAULT, neighbours=neighbours)
    scores = score_case(prediction, reference, spacing, profile)
    assert scores == pytest.approx(textbook(prediction, reference, spacing, neighbours), rel=1e-12, abs=1e-12)


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 99), shift=st.integers(0, 9), spacing=spacings)
def test_and_so_it_is_where_the_masks_are_far_apart(seed, shift, spacing):
    # Beyond a few voxels distances come from a k-d tree; here both ways of finding them take part.
    prediction, reference = np.zeros((2, 24, 9, 9), bool)
    reference[1:6, 2:6, 2:6] = np.random.default_rng(seed).random((5, 4, 4)) < 0.6
    prediction[1 + shift : 6 + shift, 3:7, 2:6] = reference[1:6, 2:6, 2:6]
    prediction[23, 8, 8] = True
    assert score_case(prediction, reference, spacing) == pytest.approx(textbook(prediction, reference, spacing))


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")  # the library's own imports
@settings(max_examples=30, deadline=None)
@given(prediction=masks.filter(np.any), reference=masks.filter(np.any), spacing=spacings)
def test_the_area_weighted_variant_is_that_of_surface_distance(prediction, reference, spacing):
    library = pytest.importorskip("surface_distance", reason="the surface-distance library is not installed")
    theirs = library.compute_surface_distances(reference, prediction, spacing)
    ours = score_case(prediction, reference, spacing, "tomita")
    assert ours["hd"] == pytest.approx(library.compute_robust_hausdorff(theirs, 100))
    assert ours["assd"] == pytest.approx(np.mean(library.compute_average_surface_distance(theirs)))


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.9, 0.9, 6.5)])
def test_and_its_95th_percentile_as_well(spacing):
    library = pytest.importorskip("surface_distance", reason="the surface-distance library is not installed")
    truth = blobs(0)
    predicted = np.roll(truth, 1, 0) | blobs(1, level=2.4)
    theirs = library.compute_surface_distances(truth, predicted, spacing)
    assert score_case(predicted, truth, spacing, "tomita")["hd95"] == library.compute_robust_hausdorff(theirs, 95)


# --- invariances ------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(prediction=masks, reference=masks, variant=st.sampled_from(sorted(VARIANTS)))
def test_02_symmetry_flips_turns_and_padding(prediction, reference, variant):
    profile = VARIANTS[variant]
    scores = score_case(prediction, reference, 1.0, profile)
    assert scores["jaccard"] == pytest.approx(scores["dice"] / (2 - scores["dice"]))
    swapped = score_case(reference, prediction, 1.0, profile)
    for key in ("dice", "jaccard", "hd", "hd95", "assd", "volume_difference", "lesion_count_difference"):
        assert swapped[key] == pytest.approx(scores[key]), key
    moved = [
        *((np.flip(prediction, axis), np.flip(reference, axis)) for axis in range(3)),
        *((prediction.transpose(order), reference.transpose(order)) for order in itertools.permutations(range(3))),
        (np.pad(prediction, 2), np.pad(reference, 2)),
        (np.pad(prediction, ((0, 3), (1, 0), (0, 0))), np.pad(reference, ((0, 3), (1, 0), (0, 0)))),
    ]
    for pair in moved:
        assert score_case(*pair, 1.0, profile) == pytest.approx(scores)


def test_02_lesion_f1_is_not_symmetric():
    truth = cubes(((4, 4, 1), (1, 1, 1)), ((4, 4, 4), (1, 1, 1)), ((4, 4, 7), (1, 1, 1)))
    predicted = cubes(((4, 4, 1), (1, 1, 4)))  # one blob over two of three lesions
    assert score_case(predicted, truth, 1.0)["lesion_f1"] == pytest.approx(2 / 2.5)
    assert score_case(truth, predicted, 1.0)["lesion_f1"] == pytest.approx(1 / 1.5)


FORMS = {
    "bool": lambda m: m,
    "uint8": lambda m: m.astype(np.uint8),
    "uint8 0/255": lambda m: m.astype(np.uint8) * 255,
    "int8": lambda m: m.astype(np.int8),
    "uint16": lambda m: m.astype(np.uint16) * 65535,
    "int64": lambda m: m.astype(np.int64),
    "float16": lambda m: m.astype(np.float16),
    "float32": lambda m: m.astype(np.float32),
    "float64 0/255": lambda m: m * 255.0,
    "column order": np.asfortranarray,
    "big-endian": lambda m: m.astype(">i2"),
    "torch bool": torch.from_numpy,
    "torch uint8 0/255": lambda m: torch.from_numpy(m.astype(np.uint8)) * 255,
    "torch bfloat16": lambda m: torch.from_numpy(m).bfloat16(),
    "torch half": lambda m: torch.from_numpy(m).half(),
    "torch float with batch axes": lambda m: torch.from_numpy(m).float()[None, None].requires_grad_(),
}


def blobs(seed, shape=(20, 18, 22), level=1.6):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return smooth > level * smooth.std()


@pytest.mark.parametrize("form", FORMS)
def test_03_every_form_of_a_mask_gives_the_same_numbers(form):
    truth = blobs(0)
    predicted = np.roll(truth, 1, 0) | blobs(1, level=2.4)
    expected = score_row(predicted, truth, (1, 1, 2))
    inputs = [FORMS[form](mask) for mask in (predicted, truth)]
    before = [torch.clone(i) if isinstance(i, torch.Tensor) else i.copy() for i in inputs]
    for array in inputs:
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    assert score_row(*inputs, (1, 1, 2)) == expected
    assert score_row(inputs[0], truth, (1, 1, 2)) == expected  # the two need not have one form
    for after, then in zip(inputs, before, strict=True):
        assert (after == then).all()


# --- distances --------------------------------------------------------------------------------------------------------

SIX = cubes(((4, 4, 4), (6, 6, 6)), size=24)
TEN = cubes(((5, 5, 5), (10, 10, 10)), size=40)
FAR_BLOCK = SIX | cubes(((16, 16, 16), (2, 2, 3)), size=24)
STRAY = TEN | cubes(((30, 30, 30), (1, 1, 1)), size=40)
FOUR = (4, 4, 4)
POINT = (1, 1, 1)
# prediction, reference, spacing; (HD, HD95, HD95 pooled); ASSD (pooled, mean of directed, area-weighted)
WORKED = {
    "far block": (FAR_BLOCK, SIX, 1.0, (14.4568, 12.7279, 0.0), (0.5056, 0.4871, 0.6621)),
    "shift by one": (cubes((FOUR, FOUR)), cubes(((5, 4, 4), FOUR)), 1.0, (1, 1, None), (0.357143, None, 0.336889)),
    "apart": (ONE, FAR, 1.0, (13.8564, 13.3041, None), (12.1814, None, None)),
    "single voxels": (cubes(((2, 2, 2), POINT)), cubes(((5, 6, 2), POINT)), 1.0, (5, 5, 5), (5, 5, 4.3301)),
    "anisotropic": (SIX, np.roll(SIX, 1, 2), (1, 1, 5), (5, None, None), (1.315789, None, None)),
    "Tomita: shift by three": (np.roll(TEN, 3, 0), TEN, 1.0, (3, None, None), (1.0738, None, 1.0520)),
    "Tomita: the same at 2 mm": (np.roll(TEN, 3, 0), TEN, 2.0, (6, None, None), (None, None, 2.1041)),
    "Tomita: a stray voxel": (STRAY, TEN, 1.0, (27.7128, None, None), (0.0283, None, 0.0822 / 2)),
}


@pytest.mark.parametrize("name", WORKED)
def test_04_worked_distances_in_every_variant(name):
    prediction, reference, spacing, (hd, hd95, hd95_pooled), (pooled, directed, area) = WORKED[name]
    scores = {variant: score_case(prediction, reference, spacing, profile) for variant, profile in VARIANTS.items()}
    expected = [
        *(
            ("default", "hd", hd),
            ("by area", "hd", hd),
            ("default", "hd95", hd95),
            ("pooled HD95", "hd95", hd95_pooled),
        ),
        *(("default", "assd", pooled), ("directed ASSD", "assd", directed), ("by area", "assd", area)),
    ]
    for variant, key, value in expected:
        assert value is None or scores[variant][key] == pytest.approx(value, abs=1e-4), (variant, key)


def test_04_sunets_distance_in_voxels_on_the_full_erosion():
    for predicted, overlap, hd in [(np.roll(TEN, 3, 0), 0.7, 3.0), (STRAY, 0.9995, 27.7128)]:
        row = score_row(predicted, TEN, 2.0, "sunet")
        assert row["dice"] == pytest.approx(overlap, abs=1e-4)
        assert row["hd_voxels"] == pytest.approx(hd, abs=1e-4)
        assert row["hd"] == pytest.approx(2 * hd, abs=1e-4)


@settings(max_examples=40, deadline=None)
@given(prediction=masks, reference=masks, spacing=spacings, k=st.floats(0.1, 10), variant=st.sampled_from([*VARIANTS]))
def test_04_order_identity_and_scale_of_distances(prediction, reference, spacing, k, variant):
    scores = score_case(prediction, reference, spacing, VARIANTS[variant])
    assert scores["hd"] >= scores["hd95"] >= 0
    assert scores["hd"] >= scores["assd"] >= 0
    same = score_case(reference, reference, spacing, VARIANTS[variant])
    scaled = score_case(prediction, reference, tuple(k * s for s in spacing), VARIANTS[variant])
    for key in ("hd", "hd95", "assd"):
        assert same[key] == 0
        assert scaled[key] == pytest.approx(k * scores[key]), key


# --- lesions, pooled and maximal Dice ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("neighbours", "lesions"), [(26, 1), (6, 5)])
def test_05_a_diagonal_chain_is_one_lesion_or_as_many_as_voxels(neighbours, lesions):
    chain = np.zeros((8, 8, 8), np.uint8)
    chain[range(1, 6), range(1, 6), range(1, 6)] = 1
    row = score_row(chain, chain, 1.0)
    assert row[f"truth_lesions_{neighbours}"] == row[f"lesion_tp_{neighbours}"] == lesions


def test_06_micro_dice_is_the_dice_of_all_cases_side_by_side():
    pairs = [(blobs(seed), blobs(seed + 10)) for seed in range(3)]
    pooled = sum((count(p, t) for p, t in pairs), Counts(0, 0, 0, 0))
    side_by_side = [np.concatenate([pair[i] for pair in pairs]) for i in (0, 1)]
    assert dice(pooled) == score_case(*side_by_side, 1.0)["dice"]
    one = count(*pairs[0])
    assert dice(one + one + one) == dice(one)
    small, large = Counts(10, 10, 30, 0), Counts(500, 100, 100, 0)
    assert (dice(small) + dice(large)) / 2 == pytest.approx(0.5833, abs=1e-4)
    assert dice(small + large) == pytest.approx(0.8095, abs=1e-4)


probabilities = hnp.arrays(
    np.float64, (3, 4, 5), elements=st.one_of(st.integers(0, 100).map(lambda k: k / 100), st.floats(0, 1))
)
cases = st.tuples(probabilities, hnp.arrays(bool, (3, 4, 5)), st.sampled_from(["f2", "f4", "f8"]))


@settings(max_examples=30, deadline=None)
@given(drawn=st.lists(cases, min_size=1, max_size=4))
def test_07_maximal_dice(drawn):
    drawn = [(probability.astype(dtype), truth) for probability, truth, dtype in drawn]
    histograms = [count_probabilities(*case) for case in drawn]
    by_hand = np.array([[dice(count(p >= t, y)) for t in THRESHOLDS.tolist()] for p, y in drawn])
    np.testing.assert_array_equal([dice_at_thresholds(counts) for counts in histograms], by_hand)
    best = [max_dice(counts) for counts in histograms]
    assert [value for value, _ in best] == by_hand.max(axis=1).tolist()
    for (value, threshold), (probability, truth), counts in zip(best, drawn, histograms, strict=True):
        assert score_case(probability, truth, 1.0, threshold=threshold)["dice"] == value
        assert max_dice_exact(probability, truth)[0] >= value - 1e-12
        assert counts.mass.sum() == pytest.approx(probability.sum(dtype=float))
    common, threshold = max_dice_common(histograms)
    assert common == pytest.approx(by_hand.mean(axis=0).max())
    assert common == pytest.approx(by_hand.mean(axis=0)[round(threshold * 100) - 1])
    assert np.mean([value for value, _ in best]) >= common - 1e-12
    assert (common >= by_hand.mean(axis=0) - 1e-12).all()


def test_07_maximal_dice_of_the_worked_maps():
    p, y = np.array([0.9, 0.8, 0.7, 0.4, 0.3, 0.2]).reshape(6, 1, 1), np.array([1, 0, 1, 1, 0, 0]).reshape(6, 1, 1)
    assert max_dice_exact(p, y)[0] == pytest.approx(6 / 7)
    assert max_dice(count_probabilities(p, y)) == (pytest.approx(6 / 7), 0.4)
    assert dice_at_thresholds(count_probabilities(p, y))[49] == pytest.approx(2 / 3)
    truth = blobs(0)
    apart = np.where(truth, 0.31, 0.29)
    assert max_dice(count_probabilities(apart, truth)) == (1.0, 0.31)
    assert max_dice_exact(apart, truth)[0] == 1.0


# --- the real case, and size ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the public ISLES'22 sample case is not here")
def test_13_the_public_sample_case():
    session = "sub-strokecase0009/ses-0001/sub-strokecase0009_ses-0001"
    mask = SAMPLE / "derivatives" / f"{session}_msk.nii.gz"
    voxels, grid = read_voxels(SAMPLE / "rawdata" / f"{session}_dwi.nii.gz")
    prediction = voxels > np.percentile(voxels[voxels > 0], 99)
    row = score_row(prediction, mask, None, "isles22")
    assert (row["tp"], row["tp"] + row["fn"], row["tp"] + row["fp"]) == (203, 523, 1813)
    assert (row["truth_lesions_26"], row["prediction_lesions_26"]) == (18, 105)
    assert (row["lesion_tp_26"], row["lesion_fn_26"], row["lesion_fp_26"]) == (15, 3, 88)
    assert (row["truth_lesions_6"], row["prediction_lesions_6"]) == (21, 202)
    assert (row["lesion_tp_6"], row["lesion_fn_6"], row["lesion_fp_6"]) == (16, 5, 182)
    # the four numbers of the challenge's own notebook
    assert row["dice"] == pytest.approx(0.1738013698630137, abs=1e-9)
    assert row["volume_difference"] == pytest.approx(10.32, abs=1e-9)
    assert row["lesion_count_difference"] == 87
    assert row["lesion_f1"] == pytest.approx(0.24793388429752067, abs=1e-9)
    assert row["voxel_volume_mm3"] == grid.voxel_volume_mm3 == 8
    assert score_case(prediction, mask, grid.spacing, "atlas")["lesion_f1"] == pytest.approx(0.146119, abs=1e-6)
    assert read_grid(mask).matches(grid)


def test_14_two_thousand_lesions_need_no_loop_and_few_copies(monkeypatch):
    """On the ATLAS grid: as many labellings as for one lesion, and a peak of a few copies of the two masks."""
    truth, predicted = np.zeros((2, 197, 233, 189), bool)
    x, y, z = np.meshgrid(range(5, 190, 16), range(5, 225, 16), range(5, 185, 15), indexing="ij")
    for dx, dy, dz in itertools.product(range(3), repeat=3):
        truth[x + dx, y + dy, z + dz] = True
        predicted[x + dx + 1, y + dy, z + dz] = True
    calls = []
    monkeypatch.setattr(lesionwise, "label_lesions", lambda *a: calls.append(a) or label_lesions(*a))
    tracemalloc.start()
    row = score_row(predicted, truth, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row["truth_lesions_26"] == row["lesion_tp_26"] == row["truth_lesions_6"] == x.size == 2016
    assert len(calls) == 4  # each mask with 6 and with 26 neighbours
    assert row["hd"] == 1
    assert row["dice"] == pytest.approx(2 / 3)
    assert peak < 6 * (truth.nbytes + predicted.nbytes)
