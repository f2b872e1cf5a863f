"""Threshold and smallest component by search: equal to one mask at a time, and to an optimum known by hand."""

import itertools
import math
from functools import partial

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError
from strokelab.grid import CropPad, Grid, Orient, Resample
from strokelab.inference.postprocess import search_of, settled, tuned, with_pair
from strokelab.inference.tune import MEASURES, Search, at_pair, best_pair, pair_scores, try_pairs
from strokelab.metrics.case import score_row
from strokelab.preparation.restore import restore_mask

PROFILE = ("dice", "precision", "recall", "hd_voxels", "hd")
SEARCH = Search((0.2, 0.5, 0.8), (1, 3, 8, 40))


def a_map(seed: int, shape=(13, 11, 9)):
    """Smooth noise with components of all sizes, and a reference that shares some of them."""
    rng = np.random.default_rng(seed)
    noise = rng.random(shape)
    for axis in range(3):
        noise = (noise + np.roll(noise, 1, axis)) / 2
    probability = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    return probability, (probability + 0.2 * rng.random(shape)) > 0.75


def scored(mask, reference, spacing):
    """The measures of one mask as the profile has them; NaN where the search has none."""
    row = score_row(mask, reference, spacing, "sunet")
    values = [float(row[name]) for name in PROFILE]
    if not (mask.any() and reference.any()):
        values[3:] = [math.nan, math.nan]
    return values


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.9, 1.1, 5.0)])
@pytest.mark.parametrize("neighbours", [6, 26])
def test_every_pair_is_the_mask_of_that_pair_scored(spacing, neighbours):
    search = Search(SEARCH.thresholds, SEARCH.sizes, neighbours)
    probability, reference = a_map(1)
    rows = try_pairs(probability, reference, spacing, search)
    assert [(row["threshold"], row["min_voxels"]) for row in rows] == list(
        itertools.product(search.thresholds, search.sizes)
    )
    for row in rows:
        pair = {name: row[name] for name in ("threshold", "min_voxels")}
        mask = tuned(probability, **pair, neighbours=neighbours)
        np.testing.assert_allclose([row[name] for name in MEASURES], scored(mask, reference, spacing), rtol=1e-12)


@pytest.mark.parametrize("resampled", [False, True])
def test_masks_are_made_on_one_grid_and_scored_on_the_other(resampled):
    native = Grid.of((12, 10, 8), np.diag([-2.0, 2.0, 2.0, 1.0]))
    steps = [Orient(native)]
    steps.append(CropPad(steps[0].target, (3, -2, 1), (8, 11, 6)))
    if resampled:
        steps.append(
            Resample(steps[1].target, Grid.of((7, 8, 5), steps[1].target.matrix @ np.diag([1.3, 1.4, 1.2, 1])))
        )
    probability, _ = a_map(2, steps[-1].target.shape)
    _, reference = a_map(3, native.shape)
    for row in try_pairs(probability, reference, (2.0, 2.0, 2.0), SEARCH, steps=steps):
        mask = restore_mask(tuned(probability, threshold=row["threshold"], min_voxels=row["min_voxels"]), steps)
        np.testing.assert_allclose([row[name] for name in MEASURES], scored(mask, reference, (2.0, 2.0, 2.0)))


def test_sizes_as_volumes_are_sizes_on_the_grid_of_the_mask():
    probability, reference = a_map(4)
    by_volume = try_pairs(
        probability, reference, (2.0, 2.0, 2.0), Search((0.5,), (8, 24, 64, 320), unit="mm3"), voxel_mm3=8.0
    )
    by_voxels = try_pairs(probability, reference, (2.0, 2.0, 2.0), Search((0.5,), (1, 3, 8, 40)))
    for volume, voxels in zip(by_volume, by_voxels, strict=True):
        assert volume["min_size_mm3"] == 8 * voxels["min_voxels"]
        np.testing.assert_equal([volume[name] for name in MEASURES], [voxels[name] for name in MEASURES])
        one = tuned(probability, threshold=0.5, min_size_mm3=volume["min_size_mm3"], voxel_mm3=8.0)
        np.testing.assert_array_equal(one, tuned(probability, threshold=0.5, min_voxels=voxels["min_voxels"]))


def test_a_distance_that_does_not_exist_is_none_and_is_counted():
    probability, reference = a_map(5)
    empty = np.zeros_like(reference)
    tables = [pd.DataFrame(try_pairs(probability, truth, (1, 1, 1), SEARCH)) for truth in (reference, empty)]
    nothing = try_pairs(np.zeros_like(probability), empty, (1, 1, 1), SEARCH)
    assert all(row["dice"] == 1 and math.isnan(row["hd_voxels"]) for row in nothing)
    scores = pair_scores(pd.concat(tables), SEARCH)
    assert (scores["undefined"] >= 1).all()
    assert (scores["cases"] == 2).all()
    found = at_pair(tables[0], SEARCH, best_pair(pd.concat(tables), SEARCH))
    assert len(found) == 1


def row(threshold, size, dice, hd):
    return {"threshold": threshold, "min_voxels": size, **dict.fromkeys(MEASURES, dice), "hd_voxels": hd, "hd_mm": hd}


@pytest.mark.parametrize(
    ("better", "chosen"),
    [
        ({(0.2, 8): (0.8, 10.0)}, (0.2, 8)),
        ({(0.8, 3): (0.6, 20.0), (0.2, 3): (0.6, 20.0)}, (0.2, 3)),  # as near to one half: the lower one
        ({(0.5, 8): (0.6, 20.0), (0.8, 3): (0.6, 20.0)}, (0.8, 3)),  # the smaller size before the nearer threshold
        ({(0.5, 3): (0.6, 20.0), (0.2, 3): (0.6, 20.0)}, (0.5, 3)),
        ({(0.5, 3): (0.9, math.nan), (0.2, 3): (0.3, 20.0)}, (0.2, 3)),  # no case with a distance
        ({(0.5, 3): (0.5, 250.0), (0.2, 3): (0.1, 199.0)}, (0.2, 3)),  # too far to be worth anything
    ],
)
def test_the_best_pair(better, chosen):
    search = Search((0.2, 0.5, 0.8), (1, 3, 8))
    pairs = itertools.product(search.thresholds, search.sizes)
    table = pd.DataFrame([row(*pair, *better.get(pair, (0.0, 100.0))) for pair in pairs])
    found = best_pair(table, search)
    assert (found.threshold, found.size) == chosen


@given(seed=st.integers(0, 50), size=st.integers(1, 30), more=st.integers(0, 30))
@settings(max_examples=25, deadline=None)
def test_a_higher_limit_never_adds_a_voxel(seed, size, more):
    probability, _ = a_map(seed)
    mask = tuned(probability, threshold=0.5, min_voxels=size)
    assert (tuned(probability, threshold=0.5, min_voxels=size + more) <= mask).all()
    assert (tuned(probability, threshold=0.6, min_voxels=1) <= tuned(probability, threshold=0.5, min_voxels=1)).all()


NODE = {"_target_": "strokelab.inference.postprocess.tuned", "_partial_": True, "threshold": None, "min_voxels": None}


def test_a_pair_is_found_given_or_an_error():
    search = search_of(NODE)
    assert search == Search()
    pair = best_pair(pd.DataFrame([row(0.4, 200, 0.7, 30.0)]), search)
    node = with_pair(NODE, search, pair)
    assert (node["threshold"], node["min_voxels"]) == (0.4, 200)
    assert search_of(node) is None
    assert search_of({"_target_": "strokelab.inference.postprocess.threshold"}) is None
    with pytest.raises(ConfigError):
        search_of(NODE | {"threshold": 0.5})
    with pytest.raises(ConfigError):
        tuned(np.zeros((2, 2, 2)), threshold=0.5)


def test_validation_has_a_mask_before_the_pair_is_found():
    probability, _ = a_map(6)
    stand_in = settled(partial(tuned, threshold=None, hd_max=100.0))
    np.testing.assert_array_equal(stand_in(probability), probability > 0.5)
    given_pair = partial(tuned, threshold=0.3, min_voxels=4)
    assert settled(given_pair) is given_pair


@pytest.mark.parametrize(
    "wrong",
    [
        {"thresholds": ()},
        {"thresholds": (0.5, 1.5)},
        {"thresholds": "0.5"},
        {"thresholds": tuple(np.linspace(0, 1, 200))},
        {"sizes": (-1,)},
        {"sizes": (math.nan,)},
        {"sizes": {"a": 1}},
        {"neighbours": 8},
        {"unit": ["ml"]},
        {"hd_max": 0},
    ],
)
def test_a_grid_of_pairs_out_of_range_is_refused(wrong):
    with pytest.raises(ConfigError):
        Search(**wrong)
