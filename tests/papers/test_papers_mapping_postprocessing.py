"""MAPPING (Huo 2022): what must hold of its ensemble and of its post-processing, number by number."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mapping_volumes import CASES, FIVE, components, cubes
from scipy import ndimage

from strokelab.inference.ensemble import RunningMean
from strokelab.inference.postprocess import mapping

MAPS = hnp.arrays(np.float32, (20, 3, 4, 5), elements=st.floats(0, 1, width=32))  # 4 schemes x 5 folds


def mean_of(maps):
    mean = RunningMean()
    for probability in maps:
        mean.add(probability)
    return mean.mean()


@settings(max_examples=30, deadline=None)
@given(MAPS, st.permutations(range(20)))
def test_8_the_mean_of_twenty_maps(maps, order):
    """Identical maps, any order, four schemes of five folds; other grids."""
    np.testing.assert_array_equal(mean_of([maps[0]] * 20), maps[0])
    np.testing.assert_allclose(mean_of(maps[list(order)]), mean_of(maps), rtol=2e-7, atol=1e-30)
    np.testing.assert_allclose(
        mean_of([mean_of(maps[fold::5]) for fold in range(5)]), mean_of(maps), rtol=1e-6, atol=1e-30
    )
    with pytest.raises(ValueError, match="one grid"):
        mean_of([maps[0], maps[0].transpose(2, 1, 0)])


@pytest.mark.parametrize("number", CASES)
def test_9_constructed_cases_of_the_released_version(number):
    probability, voxels, count = CASES[number]
    before = probability.copy()
    mask = mapping(probability)
    assert mask.dtype == np.uint8
    assert (int(mask.sum()), components(mask)[1]) == (voxels, count)
    np.testing.assert_array_equal(probability, before)


def test_9_the_dropped_core_and_the_merged_one_are_the_right_ones():
    assert not mapping(CASES[4][0])[2:4].any(), "the smallest of five goes"
    sizes = np.bincount(components(mapping(CASES[6][0]))[0].ravel())[1:]
    assert sorted(sizes) == [42, 64, 125, 216], "a dropped core comes back with the component it lies in"
    assert mapping(CASES[16][0])[5:8, 5:8, 5:8].all(), "corners do not connect"


def plain(p):
    """The method's steps one by one, component by component: slow, and independent of the implementation."""
    size = int((p > 0.5).sum())
    small = size < 3000
    high = p > (0.7 if small else 0.55)
    low = p > 0.5
    labels, count = components(high)
    if small and count > 4:
        sizes = ndimage.sum_labels(high, labels, range(1, count + 1))
        high = high & (labels != int(np.argmin(sizes)) + 1)
    if not high.any():
        return p > p.max() - 0.1 if p.max() > 0.1 else np.zeros_like(high)
    if (high == low).all():
        low = p > 0.3
    cores, result = components(high)[0], high.copy()
    labels, count = components(low)
    for label in range(1, count + 1):
        inside = labels == label
        held = len(set(np.unique(cores[inside])) - {0})
        if (small and held) or (not small and held < 2):
            result |= inside
    return result


@st.composite
def volumes(draw, shape=(26, 24, 22)):
    """Blobs of every height, from a few voxels to many more than the size limit; no two cores of one size."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    blobs = ndimage.gaussian_filter(random.standard_normal(shape), draw(st.sampled_from([0.8, 1.5, 2.5])))
    scaled = (blobs - blobs.min()) / (blobs.max() - blobs.min())
    return (scaled ** draw(st.sampled_from([0.5, 1, 2, 3, 5])) * draw(st.sampled_from([1.0, 0.9, 0.6, 0.2]))).astype(
        np.float32
    )


@settings(max_examples=120, deadline=None)
@given(volumes())
def test_9_as_the_steps_taken_one_by_one(probability):
    # ndimage scans z fastest, files are scanned x fastest: which of two cores of one size goes depends on it.
    transposed = np.ascontiguousarray(probability.T)
    np.testing.assert_array_equal(mapping(probability).T, plain(transposed))


@settings(max_examples=60, deadline=None)
@given(volumes(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_9_turned_volumes_give_turned_masks(probability, axes, flips):
    labels, count = components(probability > 0.7)
    sizes = np.bincount(labels.ravel())[1:]
    assume(count <= 4 or (sizes == sizes.min()).sum() == 1)  # which of two equal ones goes, the scan order says

    def turned(volume):
        return np.flip(volume.transpose(axes), [axis for axis, flip in enumerate(flips) if flip])

    np.testing.assert_array_equal(mapping(turned(probability)), turned(mapping(probability)))


@settings(max_examples=60, deadline=None)
@given(volumes())
def test_9_what_can_become_lesion(probability):
    mask = mapping(probability).astype(bool)
    small = (probability > 0.5).sum() < 3000
    cores = probability > (0.7 if small else 0.55)
    if not cores.any():
        assert mask.any() == (probability.max() > 0.1)
        assert (probability[mask] > probability.max() - 0.1).all()
        return
    assert (probability[mask] > 0.3).all()
    if not small and (cores != (probability > 0.5)).any():
        assert (probability[mask] > 0.5).all()


@pytest.mark.parametrize("count", [1, 4])
def test_9_binary_maps_stay_as_they_are(count):
    binary = cubes(*[(corner, side, 1.0) for corner, side, _ in FIVE[:count]])
    np.testing.assert_array_equal(mapping(binary), binary)
    much = cubes(*[((x, y, 2), (6, 6, 40), 1.0) for x in (2, 12, 22) for y in (2, 12)])
    assert much.sum() > 3000
    np.testing.assert_array_equal(mapping(much), much)


def test_9_empty_and_constant_maps():
    shape = (7, 6, 5)
    assert mapping(np.zeros(shape, np.float32)).sum() == 0
    assert mapping(np.full(shape, 0.1)).sum() == 0, "no more than the margin: nothing, not everything"
    assert mapping(np.full(shape, 0.11)).all()
    assert mapping(np.full(shape, 0.11), fallback="empty").sum() == 0
    assert mapping(np.ones(shape)).all()
    assert mapping(np.full(shape, np.nan)).sum() == 0
    holed = cubes((5, 4, 0.9))
    holed[5, 5, 5] = np.nan
    assert mapping(holed).sum() == 63
