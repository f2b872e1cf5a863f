"""Connected components by hand, and random streams that depend on nothing but their address."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from scipy import ndimage

from strokelab.lesions import count_lesions, drop_small_lesions, label_lesions, lesion_sizes
from strokelab.seeding import seed_of, stream

masks = st_numpy.arrays(np.uint8, st.tuples(*[st.integers(1, 6)] * 3), elements=st.integers(0, 1))


def at(*voxels, shape=(5, 5, 5)):
    out = np.zeros(shape, np.uint8)
    for voxel in voxels:
        out[voxel] = 1
    return out


@pytest.mark.parametrize(
    ("voxels", "counts"),
    [
        ([], (0, 0, 0)),
        ([(1, 1, 1)], (1, 1, 1)),
        ([(1, 1, 1), (1, 1, 2)], (1, 1, 1)),  # a face
        ([(1, 1, 1), (1, 2, 2)], (2, 1, 1)),  # an edge
        ([(1, 1, 1), (2, 2, 2)], (2, 2, 1)),  # a corner
        ([(0, 0, 0), (4, 4, 4), (0, 4, 0)], (3, 3, 3)),
    ],
)
def test_faces_edges_corners(voxels, counts):
    assert tuple(count_lesions(at(*voxels), n) for n in (6, 18, 26)) == counts


@given(masks, st.sampled_from([(6, 1), (18, 2), (26, 3)]))
def test_components_are_those_of_scipy(mask, neighbours):
    n, rank = neighbours
    labels, count = label_lesions(mask, n)
    theirs, expected = ndimage.label(mask, ndimage.generate_binary_structure(3, rank))
    assert count == expected
    assert np.array_equal(labels != 0, mask != 0)
    for value in range(1, count + 1):  # the same sets of voxels, under whatever number
        assert len(np.unique(theirs[labels == value])) == 1
    sizes = lesion_sizes(labels, count)
    assert sizes.tolist() == [int((labels == value).sum()) for value in range(1, count + 1)]
    assert sizes.sum() == mask.sum()


@given(masks, st.integers(0, 10), st.sampled_from([6, 18, 26]))
def test_what_is_dropped_is_small_and_what_stays_is_whole(mask, least, neighbours):
    kept = drop_small_lesions(mask, least, neighbours)
    assert kept.dtype == np.uint8
    assert kept.shape == mask.shape
    labels, count = label_lesions(mask, neighbours)
    for value, size in enumerate(lesion_sizes(labels, count), start=1):
        assert (kept[labels == value] == (size >= least)).all()
    assert not kept[mask == 0].any()
    assert np.array_equal(drop_small_lesions(kept, least, neighbours), kept)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 5), (3, 3, 3), (1, 31, 31), (2, 31, 31), (31, 1, 1), (31, 31, 31)])
@pytest.mark.parametrize("neighbours", [6, 18, 26])
def test_isolated_voxels_wherever_they_fit(shape, neighbours):
    mask = np.zeros(shape, np.uint8)
    mask[::2, ::2, ::2] = 1
    labels, count = label_lesions(mask, neighbours)
    assert labels.shape == shape
    assert count == mask.sum()
    assert lesion_sizes(labels, count).tolist() == [1] * count
    assert drop_small_lesions(mask, 2, neighbours).sum() == 0


def test_any_non_zero_is_lesion_in_any_memory_order():
    mask = np.asfortranarray(at((1, 1, 1), (3, 3, 3)) * 255)
    assert count_lesions(mask) == 2
    assert count_lesions(mask.astype(float) / 7) == 2
    assert count_lesions(mask[::-1]) == 2
    assert drop_small_lesions(mask, 1).max() == 1


keys = st.lists(st.text(max_size=5) | st.integers(-5, 10**6), max_size=4)


@given(st.integers(-(2**40), 2**40), keys)
def test_seeds_are_pure_and_fit_everywhere(seed, address):
    value = seed_of(seed, *address)
    assert value == seed_of(seed, *address)
    assert 0 <= value < 2**63
    assert np.array_equal(stream(seed, *address).random(3), stream(seed, *address).random(3))


@given(st.lists(st.tuples(st.integers(0, 50), keys), min_size=2, max_size=6))
def test_different_addresses_have_different_streams(addresses):
    typed = {(seed, tuple((type(key), key) for key in address)) for seed, address in addresses if all(
        "\x1f" not in str(key) for key in address)}  # fmt: skip
    assert len({seed_of(seed, *(key for _, key in address)) for seed, address in typed}) == len(typed)


def test_neighbouring_addresses_are_not_alike():
    assert seed_of(1) != seed_of(2)
    assert seed_of(1, "a", "b") != seed_of(1, "b", "a") != seed_of(1, "ab")
    assert seed_of(1, 2) != seed_of(1, "2")
    together = np.corrcoef([stream(0, "epoch", epoch).standard_normal(2000) for epoch in range(6)])
    assert np.abs(together - np.eye(6)).max() < 0.1


def test_the_same_in_every_process():
    """Python's own hash of text changes from process to process; this must not."""
    code = "from strokelab.seeding import seed_of; print(seed_of(7, 'augment', 3, 'case'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == seed_of(7, "augment", 3, "case")
