"""MAPPING's post-processing: sixteen constructed cases of the released function, and what holds for any volume."""

from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from scipy import ndimage

from strokelab.errors import ConfigError
from strokelab.inference.postprocess import finish, mapping, small_components, threshold

CONF = Path(__file__).parents[2] / "conf" / "postprocess"


def cubes(*boxes, points=()):
    """A volume 48^3 of zeros with (corner, sides, value) boxes, later ones over earlier, and (place, value) voxels."""
    volume = np.zeros((48, 48, 48), np.float32)
    for corner, sides, value in boxes:
        corner = (corner,) * 3 if isinstance(corner, int) else corner
        sides = (sides,) * 3 if isinstance(sides, int) else sides
        volume[tuple(slice(start, start + side) for start, side in zip(corner, sides, strict=True))] = value
    for place, value in points:
        volume[place] = value
    return volume


FIVE = [((corner, 5, 5), side, 0.9) for corner, side in ((2, 2), (11, 3), (20, 4), (29, 5), (38, 6))]
TWO_LARGE = [((2, 2, 2), 14, 0.9), ((20, 2, 2), 14, 0.9)]
BLOCK = [((2, 2, 2), (15, 15, 13), 0.9)]

# Case: volume, voxels and components (6 neighbours) of the result; all of them from the authors' released function.
CASES = {
    1: (cubes((5, 4, 0.6), (20, 4, 0.6), points=[((21, 21, 21), 0.8)]), 64, 1),
    2: (cubes((5, 4, 0.6), (20, 4, 0.65)), 128, 2),
    3: (cubes((5, 3, 0.3), (20, 2, 0.15)), 27, 1),
    4: (cubes(*FIVE), 432, 4),
    5: (cubes(*FIVE[:4]), 224, 4),
    6: (cubes(*FIVE[1:], ((4, 5, 5), (7, 1, 1), 0.6), FIVE[0]), 447, 4),
    7: (cubes(*TWO_LARGE, ((16, 8, 8), (4, 1, 1), 0.52)), 5488, 2),
    8: (cubes(*TWO_LARGE, ((16, 8, 8), (4, 1, 1), 0.60)), 5492, 1),
    9: (cubes((2, 15, 0.9), (30, 3, 0.53)), 3402, 2),
    10: (cubes((2, 17, 0.53), (3, 15, 0.9)), 4913, 1),
    11: (
        cubes(
            *[((x, 2, 2), 16, 0.52) for x in (2, 22)],
            *[((x, 3, 3), 14, 0.9) for x in (3, 23)],
            ((18, 8, 8), (4, 1, 1), 0.52),
        ),
        5488,
        2,
    ),
    12: (cubes(*BLOCK, ((2, 2, 15), (15, 5, 1), 0.9), (30, 3, 0.6)), 3027, 2),
    13: (cubes(*BLOCK, ((2, 2, 15), (15, 4, 1), 0.9), (30, 2, 0.6)), 2985, 1),
    14: (cubes((5, 4, 0.9), ((9, 5, 5), (1, 4, 4), 0.4), (20, 4, 0.4), points=[((4, 4, 4), 0.4)]), 80, 1),
    15: (cubes((2, 15, 0.9), ((17, 2, 2), (1, 15, 15), 0.4), (30, 3, 0.4)), 3627, 2),
    16: (cubes((5, 3, 0.9), (8, 3, 0.6)), 27, 1),
}


def components(mask):
    """(labels, count) with faces, by another library than the one in use."""
    return ndimage.label(mask)


@pytest.mark.parametrize("number", CASES)
def test_constructed_cases_of_the_released_version(number):
    probability, voxels, count = CASES[number]
    before = probability.copy()
    mask = mapping(probability)
    assert mask.dtype == np.uint8
    assert (int(mask.sum()), components(mask)[1]) == (voxels, count)
    np.testing.assert_array_equal(probability, before)


def test_the_dropped_core_and_the_merged_one_are_the_right_ones():
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
def test_as_the_steps_taken_one_by_one(probability):
    # ndimage scans z fastest, files are scanned x fastest: which of two cores of one size goes depends on it.
    transposed = np.ascontiguousarray(probability.T)
    np.testing.assert_array_equal(mapping(probability).T, plain(transposed))


@settings(max_examples=60, deadline=None)
@given(volumes(), st.permutations(range(3)), st.tuples(*[st.booleans()] * 3))
def test_turned_volumes_give_turned_masks(probability, axes, flips):
    labels, count = components(probability > 0.7)
    sizes = np.bincount(labels.ravel())[1:]
    if count > 4 and (sizes == sizes.min()).sum() > 1:
        return  # which of two equal ones goes, the scan order says

    def turned(volume):
        return np.flip(volume.transpose(axes), [axis for axis, flip in enumerate(flips) if flip])

    np.testing.assert_array_equal(mapping(turned(probability)), turned(mapping(probability)))


@settings(max_examples=60, deadline=None)
@given(volumes())
def test_what_can_become_lesion(probability):
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
def test_binary_maps_stay_as_they_are(count):
    binary = cubes(*[(corner, side, 1.0) for corner, side, _ in FIVE[:count]])
    np.testing.assert_array_equal(mapping(binary), binary)
    much = cubes(*[((x, y, 2), (6, 6, 40), 1.0) for x in (2, 12, 22) for y in (2, 12)])
    assert much.sum() > 3000
    np.testing.assert_array_equal(mapping(much), much)


def test_empty_and_constant_maps():
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


def test_which_core_goes_can_be_chosen():
    weak = cubes(*FIVE)
    weak[11:14, 5:8, 5:8] = 0.75  # the second smallest, and the weakest of the three smallest
    assert not mapping(weak)[2:4].any()
    assert mapping(weak, drop_extra="weakest")[2:4].any()
    assert not mapping(weak, drop_extra="weakest")[11:14].any()
    for off in ("off", False):
        assert mapping(weak, drop_extra=off).sum() == 440
    twins = cubes(*[((corner, 5, 5), 3, 0.9) for corner in (2, 11, 20, 29, 38)])
    for order in "CF":
        mask = mapping(np.array(twins, order=order))
        assert not mask[2:5].any(), "of equal ones the first in the file's order, x fastest"
        assert mask.sum() == 4 * 27
        upright = mapping(np.array(twins.transpose(2, 1, 0), order=order))
        assert not upright[:, :, 2:5].any()


def test_the_size_limit_is_a_volume():
    fine = cubes((2, 15, 0.9), (30, 3, 0.53))  # 3402 voxels: much lesion at 1 mm, little at 0.5 mm
    assert mapping(fine).sum() == 3402
    assert mapping(fine, voxel_mm3=0.125).sum() == 3375, "the weak one has no core at 0.7"
    assert finish(mapping, fine, voxel_mm3=0.125).sum() == 3375
    assert finish(threshold, fine, voxel_mm3=0.125).sum() == 3402
    assert finish(lambda p: p > 0.6, fine, voxel_mm3=0.125).sum() == 3375, "a user's own takes the map alone"


def test_the_yaml_holds_the_constants_of_the_method():
    post = instantiate(OmegaConf.load(CONF / "mapping.yaml"))
    for probability, voxels, _ in CASES.values():
        assert finish(post, probability, voxel_mm3=1.0).sum() == voxels
    assert finish(instantiate(OmegaConf.load(CONF / "small_components.yaml")), CASES[9][0], voxel_mm3=8).sum() == 3402
    assert small_components(CASES[9][0]).sum() == 3402


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"high_small": 0.4}, "high_small"),
        ({"relax": 0.6}, "relax"),
        ({"low": -0.1, "relax": -0.2}, "low"),
        ({"high_large": float("nan")}, "high_large"),
        ({"size_limit": -1}, "size_limit"),
        ({"drop_extra": "largest"}, "smallest, weakest, off"),
        ({"fallback": "all"}, "nearest_max, empty"),
    ],
)
def test_impossible_constants_are_refused_by_name(wrong, named):
    with pytest.raises(ConfigError, match=named):
        mapping(CASES[1][0], **wrong)
