"""Surfaces, their elements, and the two ways of finding the nearest goal (worked values: tests/papers)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from strokelab.metrics import nearest
from strokelab.metrics.nearest import both_ways
from strokelab.metrics.surface import Distances, average_distance, hausdorff, hausdorff_95, surface, surface_distances
from strokelab.metrics.surfels import surfel_areas, surfel_distances

SIX = np.zeros((12, 12, 12), bool)
SIX[4:10, 4:10, 4:10] = True


def test_empty_masks():
    nothing = np.zeros_like(SIX)
    for between in (surface_distances, surfel_distances):
        for pair, expected in [((nothing, nothing), 0), ((nothing, SIX), np.inf), ((SIX, nothing), np.inf)]:
            distances = between(*pair, (1, 1, 1))
            assert hausdorff(distances) == expected
            for pooled in (False, True):
                assert hausdorff_95(distances, pooled=pooled) == expected
                assert average_distance(distances, pooled=pooled) == expected


@pytest.mark.parametrize(("neighbours", "inner"), [(6, 1), (26, 0)])
def test_surface_of_a_ball_by_faces_and_by_all_neighbours(neighbours, inner):
    ball = np.zeros((5, 5, 5), bool)
    ball[1:4, 1:4, 1:4] = True
    ball[1, 1, 1] = False  # the corner matters to 26 neighbours only
    assert (ball & ~surface(ball, neighbours)).sum() == inner


@pytest.mark.parametrize("neighbours", [6, 26])
def test_surface_is_what_an_erosion_takes(neighbours):
    mask = np.random.default_rng(0).random((9, 8, 7)) < 0.9
    element = ndimage.generate_binary_structure(3, 1 if neighbours == 6 else 3)
    eroded = ndimage.binary_erosion(mask, element, border_value=0)
    np.testing.assert_array_equal(surface(mask, neighbours), mask & ~eroded)
    assert eroded.any()


def test_voxels_at_the_border_are_surface():
    full = np.ones((4, 4, 4), bool)
    for neighbours in (6, 26):
        assert (~surface(full, neighbours)).sum() == 8


spacings = st.tuples(*[st.floats(0.3, 7)] * 3)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), share=st.sampled_from([0.002, 0.02, 0.3]), spacing=spacings)
def test_nearest_is_the_distance_transforms(seed, share, spacing):
    random = np.random.default_rng(seed)
    one, other = random.random((2, 12, 11, 13)) < share
    one[0, 0, 0] = other[-1, -1, -1] = True
    there, back = both_ways(one, other, spacing)
    np.testing.assert_allclose(there, ndimage.distance_transform_edt(~other, sampling=spacing)[one], rtol=1e-12)
    np.testing.assert_allclose(back, ndimage.distance_transform_edt(~one, sampling=spacing)[other], rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), spacing=spacings)
def test_looking_nearby_and_asking_the_tree_agree(seed, spacing):
    """The first looks at neighbouring places until these are used up; the second gives up after the first look."""
    random = np.random.default_rng(seed)
    one, other = random.random((2, 12, 11, 13)) < 0.1
    both = []
    for looks in (10**9, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(nearest, "_LOOKS_PER_QUERY", looks)
            both.append(both_ways(one, other, spacing))
    for near, far in zip(*both, strict=True):
        np.testing.assert_allclose(near, far, rtol=1e-12)


def test_only_far_voxels_ask_the_tree(monkeypatch):
    asked = []
    tree = nearest.cKDTree
    monkeypatch.setattr(nearest, "cKDTree", lambda goals, **how: asked.append(len(goals)) or tree(goals, **how))
    assert hausdorff(surface_distances(np.roll(SIX, 1, 0), SIX, (1, 1, 1))) == 1
    assert not asked
    stray = SIX.copy()
    stray[0, 0, 0] = True
    assert hausdorff(surface_distances(stray, SIX, (1, 1, 1))) == pytest.approx(4 * np.sqrt(3))
    assert asked == [surface(SIX).sum()]  # from the stray voxel; all others have a neighbour


def test_the_95th_percentile_by_area():
    """Of five elements of areas 1, 2, 90, 4, 3: 95 % of the area lies within the fourth."""
    far = np.array([5.0, 4.0, 1.0, 3.0, 2.0])
    areas = np.array([3.0, 4.0, 90.0, 2.0, 1.0])
    assert hausdorff_95(Distances(far, far, areas, areas)) == 4.0
    assert hausdorff_95(Distances(far, np.zeros(5), areas, areas), pooled=True) == 1.0
    assert hausdorff(Distances(far, far, areas, areas)) == 5
    assert average_distance(Distances(far, far, areas, areas)) == pytest.approx((15 + 16 + 90 + 6 + 2) / 100)


def test_surfel_areas():
    areas = surfel_areas((1, 1, 1))
    triangle = np.sqrt(3) / 8
    assert areas[0] == areas[255] == 0
    np.testing.assert_allclose(areas[[1, 2, 128, 254]], triangle)  # one corner, or all but one
    np.testing.assert_allclose(areas[[15, 240, 51, 85]], 1.0)  # half the cube: one flat square
    assert areas[3] == pytest.approx(np.sqrt(0.5))  # an edge of two corners: a slanted rectangle
    assert areas[129] == pytest.approx(2 * triangle)  # opposite corners, cut off one by one
    assert areas[7] == pytest.approx(0.5 + 3 * triangle)  # three in an L
    assert areas[23] == pytest.approx(6 * triangle)  # a corner and its three neighbours: a regular hexagon
    assert areas[150] == pytest.approx(4 * triangle)  # four corners, none neighbours
    np.testing.assert_allclose(areas, areas[::-1])  # inside and outside have one surface
    assert surfel_areas((2, 3, 5))[15] == pytest.approx(15)  # the square lies across X


def test_the_elements_of_a_cube_have_its_surface():
    distances = surfel_distances(SIX, SIX, (2.0, 2.0, 2.0))
    assert distances.prediction_weights is not None
    flat, edges, corners = 6 * 25 * 4, 12 * 5 * 4 * np.sqrt(0.5), 8 * 4 * np.sqrt(3) / 8
    assert distances.prediction_weights.sum() == pytest.approx(flat + edges + corners)
