"""Where random patches lie, which of them hold lesion, and how many of a batch do."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError
from strokelab.sampling.foreground import ForegroundPatches
from strokelab.sampling.order import EpochBatchSampler, InOrder

PATCH = (8, 6, 4)


def rng(seed=0):
    return np.random.default_rng(seed)


def mask(shape, *voxels):
    """(X, Y, Z) with memory along x first, as the store has it."""
    lesion = np.zeros(shape[::-1], dtype=np.uint8).T
    for voxel in voxels:
        lesion[voxel] = 1
    return lesion


def holds(start, voxel, patch=PATCH):
    return all(s <= v < s + n for s, v, n in zip(start, voxel, patch, strict=True))


@pytest.mark.parametrize(("batch", "forced"), [(1, 0), (2, 1), (3, 1), (9, 3), (12, 4)])
def test_the_last_third_of_a_batch_is_forced(batch, forced):
    sampler = ForegroundPatches(PATCH)
    found = [sampler.is_forced(place, batch, rng()) for place in range(batch)]
    assert found == [False] * (batch - forced) + [True] * forced


def test_at_random_a_third_is_forced_also_in_batches_of_one():
    sampler, stream = ForegroundPatches(PATCH, foreground_mode="random"), rng()
    assert np.mean([sampler.is_forced(0, 1, stream) for _ in range(4000)]) == pytest.approx(0.33, abs=0.03)


@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    patch=st.tuples(*[st.integers(2, 12)] * 3),
    where=st.tuples(*[st.floats(0, 0.999)] * 3),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=150)
def test_a_patch_stays_in_the_volume_or_around_it_and_holds_its_voxel(shape, patch, where, seed):
    sampler = ForegroundPatches(patch)
    voxel = tuple(int(w * n) for w, n in zip(where, shape, strict=True))
    kept = sampler.kept_voxels(mask(shape, voxel), rng())
    for start in (sampler.start(shape, rng(seed)), sampler.start(shape, rng(seed), lambda: kept)):
        for begin, length, size in zip(start, patch, shape, strict=True):
            if size >= length:
                assert 0 <= begin <= size - length
            else:  # in the middle, the larger rest above
                assert (-begin, begin + length - size) == ((length - size) // 2, -(-(length - size) // 2))
    assert holds(start, voxel, patch)


@pytest.mark.parametrize("corner", [(x, y, z) for x in (0, 19) for y in (0, 14) for z in (0, 9)])
def test_lesions_in_every_corner_are_reached(corner):
    sampler, shape = ForegroundPatches(PATCH), (20, 15, 10)
    kept = sampler.kept_voxels(mask(shape, corner), rng())
    assert holds(sampler.start(shape, rng(), lambda: kept), corner)


def test_a_forced_patch_is_centred_where_there_is_room():
    sampler, shape = ForegroundPatches(PATCH), (20, 15, 10)
    kept = sampler.kept_voxels(mask(shape, (10, 7, 5)), rng())
    assert sampler.start(shape, rng(), lambda: kept).tolist() == [10 - 4, 7 - 3, 5 - 2]


def test_every_place_and_every_lesion_voxel_is_as_likely():
    sampler, shape, stream = ForegroundPatches(PATCH), (10, 6, 5), rng(1)
    starts = [tuple(sampler.start(shape, stream)) for _ in range(3000)]
    places, counts = np.unique(starts, axis=0, return_counts=True)
    assert places.tolist() == [[x, 0, z] for x in range(3) for z in range(2)]
    assert counts.min() > 400
    kept = sampler.kept_voxels(mask((40, 6, 4), *[(x, 3, 2) for x in (8, 15, 22)]), stream)
    centres = [int(sampler.start((40, 6, 4), stream, lambda: kept)[0]) + 4 for _ in range(900)]
    assert {c: centres.count(c) > 240 for c in set(centres)} == {8: True, 15: True, 22: True}


def test_without_lesion_a_forced_patch_is_like_any_other():
    sampler, shape = ForegroundPatches(PATCH), (20, 15, 10)
    kept = sampler.kept_voxels(mask(shape), rng())
    assert len(kept) == 0
    assert sampler.start(shape, rng(5), lambda: kept).tolist() == sampler.start(shape, rng(5)).tolist()


@pytest.mark.parametrize(
    ("lesion", "limit", "kept"),
    [(500, 10_000, 500), (500, 100, 100), (20_000, 100, 200), (20_050, 100, 201), (3, 1, 1)],
)
def test_so_many_voxels_are_kept_but_one_in_a_hundred_at_least(lesion, limit, kept):
    flat = np.zeros(30 * 30 * 30, dtype=np.uint8)
    flat[:lesion] = 1
    volume = flat.reshape(30, 30, 30).T
    sampler = ForegroundPatches(PATCH, voxels_per_case=limit)
    voxels = sampler.kept_voxels(volume, rng())
    assert len(voxels) == len(set(voxels.tolist())) == kept
    assert flat[voxels].all()
    assert voxels.tolist() == sampler.kept_voxels(volume, rng()).tolist()


def test_an_epoch_is_so_many_batches_each_with_its_own_samples():
    sampler = ForegroundPatches(PATCH, iterations_per_epoch=7, validation_iterations=3)
    assert (sampler.batches("train"), sampler.batches("val")) == (7, 3)
    batches = EpochBatchSampler(7 * 2, 2, 0, order=InOrder(fixed=False))
    batches.set_epoch(4)
    assert list(batches) == [[(4, 2 * step), (4, 2 * step + 1)] for step in range(7)]


def test_what_a_patch_is():
    sampler = ForegroundPatches([8, 6, 4])
    assert sampler.patch == sampler.sample_shape((100, None, 3)) == PATCH


@pytest.mark.parametrize(
    "wrong",
    [
        {"patch": (8, 6)},
        {"patch": (8, 6, 1)},
        {"patch": (8, 6, 4.5)},
        {"patch": "abc"},
        {"patch": None},
        {"patch": (1024, 1024, 1024)},
        {"iterations_per_epoch": 0},
        {"iterations_per_epoch": 10**12},
        {"validation_iterations": 10**12},
        {"validation_iterations": 2.5},
        {"voxels_per_case": -1},
        {"foreground": 1.1},
        {"foreground_mode": "first"},
    ],
)
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=f"view.sampler.{next(iter(wrong))}"):
        ForegroundPatches(**{"patch": PATCH, **wrong})
