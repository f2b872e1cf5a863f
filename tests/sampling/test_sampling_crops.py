"""Where crops lie: the whole range of starts, the lesion's median, the middle; one of every case in each epoch."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.sampling.boxes import Drawing
from strokelab.sampling.crops import Crops
from strokelab.sampling.turns import TURNS, turned

SHAPES = st.tuples(*[st.integers(1, 12)] * 3)
SIZES = st.tuples(*[st.integers(2, 12)] * 3)


def case(case_id="a", shape=(12, 9, 7), *voxels):
    lesion = np.zeros(shape, np.uint8)
    for voxel in voxels:
        lesion[voxel] = 1
    return SimpleNamespace(
        case_id=case_id,
        grid=Grid.of(shape, np.eye(4)),
        lesion_voxels=len(voxels),
        load=lambda: SimpleNamespace(lesion=lesion),
    )


def places(cases, part="train", seed=3, **settings):
    return Crops(**{"size": (4, 4, 4), **settings}).places(cases, Drawing(part, seed, 2))


@given(shape=SHAPES, size=SIZES, seed=st.integers(0, 2**32))
@settings(deadline=None, max_examples=100)
def test_a_crop_stays_in_the_grid_or_around_it(shape, size, seed):
    sampler = Crops(size)
    for start in (sampler.start(shape, np.random.default_rng(seed)), sampler.centre(shape)):
        for begin, side, length in zip(start, size, shape, strict=True):
            below, above = begin, length - side - begin
            if length >= side:
                assert min(below, above) >= 0
            else:  # in the middle, the larger half above
                assert (-below, -above) == ((side - length) // 2, -(-(side - length) // 2))
    below = sampler.centre(shape)
    above = np.subtract(shape, size) - below
    assert np.all((above - below >= 0) & (above - below <= 1) | (np.subtract(shape, size) < 0))


@given(shape=SHAPES, size=SIZES, where=st.tuples(*[st.floats(0, 0.999)] * 3))
@settings(deadline=None, max_examples=100)
def test_a_lesion_is_in_the_middle_of_its_crop_as_far_as_the_grid_reaches(shape, size, where):
    voxel = tuple(int(share * length) for share, length in zip(where, shape, strict=True))
    ((_, start),) = zip(*places([case("a", shape, voxel)], "val", size=size).at([(0, 0)]), strict=True)
    for begin, index, side, length in zip(start, voxel, size, shape, strict=True):
        assert begin <= index < begin + side
        if 0 <= index - side // 2 <= length - side:
            assert index - begin == side // 2


def test_the_median_of_a_lesion_is_taken_axis_by_axis_and_its_integer_part():
    lesion = [(0, 1, 3), (1, 2, 3), (8, 6, 3), (9, 7, 3)]  # medians 4.5, 4, 3
    _, start = places([case("a", (12, 9, 7), *lesion)], "val", size=(4, 4, 2)).at([(7, 0)])
    assert start.tolist() == [[2, 2, 2]]


def test_without_lesion_and_on_request_validation_takes_the_middle():
    assert places([case()], "val").at([(0, 0)])[1].tolist() == [[4, 2, 1]]
    on_lesion = case("a", (12, 9, 7), (0, 0, 0))
    assert places([on_lesion], "val", validation="centre").at([(0, 0)])[1].tolist() == [[4, 2, 1]]


def test_random_validation_crops_are_the_same_in_every_epoch_and_not_those_of_training():
    cases = [case(name, (100, 90, 80)) for name in "abcdef"]
    keys = [(0, index) for index in range(6)]
    found = places(cases, "val", validation="random")
    first = found.at(keys)[1]
    assert np.array_equal(first, found.at([(9, index) for _, index in keys])[1])
    assert len(np.unique(first, axis=0)) == 6
    assert not np.array_equal(first, places(cases).at(keys)[1])


def test_a_start_depends_on_seed_epoch_and_case_and_not_on_the_order():
    cases = [case(name, (90, 90, 90)) for name in "abc"]
    keys = [(epoch, index) for epoch in range(2) for index in range(3)]
    rows, starts = places(cases).at(keys)
    assert rows.tolist() == [0, 1, 2, 0, 1, 2]
    assert places(cases).rows.tolist() == [0, 1, 2]
    assert len(np.unique(starts, axis=0)) == 6
    turned_round = places(cases[::-1]).at([(epoch, 2 - index) for epoch, index in keys])[1]
    assert np.array_equal(turned_round, starts)
    assert not np.array_equal(places(cases, seed=4).at(keys)[1], starts)


def test_flips_reflect_each_axis_of_half_of_the_training_crops():
    cases = [case("a"), case("b")]
    keys = [(epoch, index) for epoch in range(400) for index in range(2)]
    found = places(cases, flips=True)
    names = [TURNS[turn] for turn in found.turns(keys)]
    assert {name.partition(" ")[0] for name in names} == {"none", "flip"}
    for axis in "xyz":
        assert np.mean([axis in name.removeprefix("flip") for name in names]) == pytest.approx(0.5, abs=0.06)
    assert not places(cases).turns(keys).any()
    assert not places(cases, "val", flips=True).turns(keys).any()
    assert np.array_equal(found.at(keys)[1], places(cases).at(keys)[1])  # the places stay


@pytest.mark.parametrize("name", [name for name in TURNS if name.startswith("flip")])
def test_a_flip_does_what_it_is_called(name):
    maps = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    inverted = tuple(slice(None, None, -1 if axis in name.removeprefix("flip") else 1) for axis in "xyz")
    assert np.array_equal(turned(maps, TURNS.index(name)), maps[:, *inverted])


@pytest.mark.parametrize("size", [(0, 4, 4), (4, 4), 4, (4.5, 4, 4), (2**10,) * 3, "444x"])
def test_a_size_that_is_none(size):
    with pytest.raises(ConfigError, match=r"view\.sampler\.size"):
        Crops(size)


def test_refused():
    with pytest.raises(ConfigError, match=r"view\.sampler\.validation"):
        Crops((4, 4, 4), validation="middle")
    with pytest.raises(DataError, match="no case"):
        places([])
    with pytest.raises(ConfigError, match="weight"):
        Crops((4, 4, 4)).places([case(), case("b")], Drawing("train", 0, 1, (1.0, 2.0)))


# ---------------------------------------------------------------- in a box around the grid


def test_crops_lie_anywhere_in_a_box_with_the_middle_of_the_grid():
    """A grid of (6, 20, 9) in a box of 12: the box begins at -3, 4 and -2, and a crop of 8 at one of 5 places."""
    found = places([case("a", (6, 20, 9))], size=(8, 8, 8), within=(12, 12, 12))
    assert found.background
    assert not places([case("a")]).background
    starts = found.at([(epoch, 0) for epoch in range(300)])[1]
    assert np.array_equal(starts.min(axis=0), (-3, 4, -2))
    assert np.array_equal(starts.max(axis=0), (1, 8, 2))
    counts = np.array([np.bincount(along) for along in (starts - (-3, 4, -2)).T])
    assert counts.shape == (3, 5)
    assert counts.min() > 30
    assert np.array_equal(starts, found.at([(epoch, 0) for epoch in range(300)])[1])


def test_validation_crops_in_a_box_stay_where_they_are():
    found = places([case("a", (6, 20, 9))], "val", size=(8, 8, 8), within=(12, 12, 12), validation="random")
    starts = found.at([(epoch, 0) for epoch in range(20)])[1]
    assert (starts == starts[0]).all()
    assert (starts >= (-3, 4, -2)).all()
    assert (starts <= (1, 8, 2)).all()
    middle = places([case("a", (6, 20, 9))], "val", size=(8, 8, 8), within=(12, 12, 12), validation="centre")
    assert middle.at([(0, 0)])[1].tolist() == [[-1, 6, 0]]


def test_a_box_smaller_than_its_crop_is_refused():
    with pytest.raises(ConfigError, match=r"view\.sampler\.within"):
        Crops((8, 8, 8), within=(12, 7, 12))


def test_every_second_crop_without_lesion_is_sampled_once_more():
    """One of 17 starts along x sees the lesion at 0: of 1/17 + 16/17 x 1/2 x 1/17 of the crops."""
    shape, voxels = (20, 4, 4), [(0, y, z) for y in range(4) for z in range(3)]
    seen = [
        (places([case("a", shape, *voxels)], lesion_voxels=least).at([(epoch, 0) for epoch in range(3000)])[1] == 0)
        .all(axis=1)
        .mean()
        for least in (0, 10)
    ]
    assert abs(seen[0] - 1 / 17) < 0.013
    assert abs(seen[1] - 25 / 289) < 0.015
    empty = [places([case("a", shape)], lesion_voxels=least).at([(9, 0)])[1] for least in (0, 10)]
    assert np.array_equal(*empty)  # a case without lesion has no crop that would do
