"""One histogram for every threshold: boundaries, edge cases, tables, and SUNet's combined score."""

import numpy as np
import pandas as pd
import pytest

from strokelab.errors import DataError
from strokelab.metrics.combined import combined_score
from strokelab.metrics.thresholds import (
    THRESHOLDS,
    count_probabilities,
    dice_at_thresholds,
    from_rows,
    max_dice,
    max_dice_common,
    max_dice_exact,
    to_rows,
)


def line(*values, dtype=np.float64):
    return np.array(values, dtype=dtype).reshape(-1, 1, 1)


def test_the_grid_is_of_hundredths():
    assert len(THRESHOLDS) == 99
    assert THRESHOLDS.tolist() == [k / 100 for k in range(1, 100)]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_probability_on_a_threshold_reaches_it(dtype):
    probability = THRESHOLDS.astype(dtype).reshape(9, 11, 1)
    counts = count_probabilities(probability, np.ones(probability.shape))
    assert counts.lesion.tolist() == [0] + [1] * 99
    below = np.nextafter(probability, dtype(0))
    assert count_probabilities(below, np.ones(below.shape)).lesion.tolist() == [1] * 99 + [0]


def test_bins_hold_every_voxel_and_its_probability():
    random = np.random.default_rng(0)
    probability = random.random((7, 8, 9), dtype=np.float32) ** 4
    reference = random.random((7, 8, 9)) < 0.2
    counts = count_probabilities(probability, reference)
    assert counts.lesion.sum() == reference.sum()
    assert counts.healthy.sum() == (~reference).sum()
    assert (counts.lesion.dtype, counts.healthy.dtype, counts.mass.dtype) == (np.int64, np.int64, np.float64)
    bins = np.minimum((probability.astype(float) * 100).astype(int), 99)
    for k in (0, 1, 50, 99):
        assert counts.mass[k] == pytest.approx(probability[bins == k].sum(dtype=float))
        assert counts.lesion[k] == reference[bins == k].sum()


def test_memory_order_and_form_of_the_reference_do_not_matter():
    random = np.random.default_rng(1)
    probability, reference = random.random((7, 8, 9)), random.random((7, 8, 9)) < 0.5
    expected = count_probabilities(probability, reference)
    forms = [
        (np.asfortranarray(probability), reference),
        (probability, np.asfortranarray(reference)),
        (probability[::-1, :, ::-1], reference[::-1, :, ::-1]),
        (probability, reference.astype(np.uint8) * 255),
        (np.broadcast_to(probability, (1, 7, 8, 9))[0], reference),
    ]
    for form in forms:
        counts = count_probabilities(*form)
        np.testing.assert_array_equal(counts.lesion, expected.lesion)
        np.testing.assert_array_equal(counts.healthy, expected.healthy)
        np.testing.assert_allclose(counts.mass, expected.mass)


def test_a_mask_is_a_map_of_zero_and_one():
    mask = line(1, 1, 0, 0, dtype=np.uint8)
    counts = count_probabilities(mask, line(1, 0, 1, 0))
    assert (counts.lesion[[0, 99]].tolist(), counts.healthy[[0, 99]].tolist()) == ([1, 1], [1, 1])
    assert set(dice_at_thresholds(counts)) == {0.5}


def test_of_equal_thresholds_the_one_nearest_to_a_half_is_named():
    assert max_dice(count_probabilities(line(1, 0), line(1, 0))) == (1.0, 0.5)
    assert max_dice(count_probabilities(line(0.3, 0.1), line(1, 0))) == (1.0, 0.3)
    assert max_dice(count_probabilities(line(0.9, 0.7), line(1, 0))) == (1.0, 0.71)


def test_empty_references():
    nothing = line(0, 0)
    hopeful, sure = count_probabilities(line(0.3, 0.0), nothing), count_probabilities(line(1, 0), nothing)
    assert max_dice(hopeful) == (1.0, 0.5)  # a threshold leaves nothing
    assert max_dice(sure) == (0.0, 0.5)
    assert max_dice_exact(line(0.3, 0.0), nothing)[0] == 1
    assert max_dice_exact(line(1, 0), nothing)[0] == 0
    assert np.isnan(max_dice_exact(line(0.3, 0.0), nothing, empty_value=np.nan)[0])
    assert np.isnan(max_dice(hopeful, empty_value=np.nan)[0])
    found = count_probabilities(line(0.6, 0.0), line(1, 0))
    assert max_dice_common([hopeful, found], empty_value=np.nan) == (1.0, 0.5)
    assert np.isnan(max_dice_common([count_probabilities(nothing, nothing)], empty_value=np.nan)).all()
    assert np.isnan(max_dice_common([])).all()


def test_one_threshold_for_all_is_worse_than_one_for_each():
    first, second = count_probabilities(line(0.2, 0.1), line(1, 0)), count_probabilities(line(0.9, 0.8), line(1, 0))
    assert max_dice(first)[0] == max_dice(second)[0] == 1
    dice, threshold = max_dice_common([first, second])
    assert dice == pytest.approx((1 + 2 / 3) / 2)
    assert threshold == 0.2


def test_lesion_voxels_without_probability_count_as_missed():
    assert max_dice_exact(line(0.9, 0, 0), line(1, 1, 1))[0] == 0.5
    assert max_dice_exact(line(0, 0), line(1, 0))[0] == 0
    assert max_dice_exact(line(0.5, 0.5, 0.5), line(1, 0, 0))[0] == 0.5  # equal values stand or fall together


def test_the_table_gives_the_histogram_back():
    random = np.random.default_rng(2)
    counts = count_probabilities(random.random((4, 4, 4)).round(1), random.random((4, 4, 4)) < 0.5)
    rows = to_rows(counts)
    assert list(rows.columns) == ["bin", "lesion", "healthy", "mass"]
    assert len(rows) <= 11
    shuffled = rows.sample(frac=1, random_state=0).assign(case="sub-1")
    back = from_rows(shuffled)
    for name in ("lesion", "healthy", "mass"):
        np.testing.assert_array_equal(getattr(back, name), getattr(counts, name))
    assert back.lesion.dtype == np.int64


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (pd.DataFrame({"bin": [1], "lesion": [1], "healthy": [1]}), "no column 'mass'"),
        (pd.DataFrame({"bin": [1, 1], "lesion": 1, "healthy": 1, "mass": 1.0}), "at most once"),
        (pd.DataFrame({"bin": [100], "lesion": 1, "healthy": 1, "mass": 1.0}), "0..99"),
        (pd.DataFrame({"bin": [0.5], "lesion": 1, "healthy": 1, "mass": 1.0}), "0..99"),
    ],
)
def test_other_tables_are_refused(frame, words):
    with pytest.raises(DataError, match=words):
        from_rows(frame)


@pytest.mark.parametrize(
    ("probability", "words"),
    [
        (line(0.5, np.nan), "NaN"),
        (line(0.5, np.inf), "infinite"),
        (line(0.5, 3.2), "from 0.* to 3.2"),
        (line(0.5, -1.0), "from -1 to"),
        (line(0.5, 0.5, 0.5), "shape"),
    ],
)
def test_what_is_no_probability_is_refused(probability, words):
    for function in (count_probabilities, max_dice_exact):
        with pytest.raises(DataError, match=words):
            function(probability, line(1, 0))


def test_rounding_of_an_interpolation_is_forgiven():
    counts = count_probabilities(line(1.0000002, -0.0000001), line(1, 0))
    assert (counts.lesion[99], counts.healthy[0]) == (1, 1)


def test_combined_score_of_sunet():
    assert combined_score(1.0, 0.0) == 0.5
    assert combined_score(0.6, 40.0) == pytest.approx(0.6 * 0.8 / 1.4)
    assert combined_score(0.6, 40.0, hd_max=80.0) == pytest.approx(0.6 * 0.5 / 1.1)
    assert combined_score(0.6, 250.0) == combined_score(0.6, float("inf")) == combined_score(0.0, 250.0) == 0
