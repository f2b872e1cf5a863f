"""Surface distances: worked values, every variant, and a slow textbook implementation as the judge."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from strokelab.metrics.surface import average_distance, hausdorff, hausdorff_95, surface, surface_distances
from strokelab.metrics.surfels import average_distance_by_area, surfel_areas


def cube(*boxes, size=24):
    mask = np.zeros((size,) * 3, bool)
    for (x, y, z), (a, b, c) in boxes:
        mask[x : x + a, y : y + b, z : z + c] = True
    return mask


SIX = cube(((4, 4, 4), (6, 6, 6)))
WORKED = {
    "cube and far block": (
        cube(((4, 4, 4), (6, 6, 6)), ((16, 16, 16), (2, 2, 3))),
        SIX,
        (1, 1, 1),
        {"hd": 14.4568, "hd95": 12.7279, "hd95_pooled": 0.0, "pooled": 0.5056, "directed": 0.4871, "area": 0.6621},
    ),
    "shift by one": (
        cube(((4, 4, 4), (4, 4, 4))),
        cube(((5, 4, 4), (4, 4, 4))),
        (1, 1, 1),
        {"hd": 1, "hd95": 1, "pooled": 0.357143, "area": 0.336889},
    ),
    "apart": (
        cube(((2, 2, 2), (3, 3, 3))),
        cube(((10, 10, 10), (3, 3, 3))),
        (1, 1, 1),
        {"hd": 13.8564, "hd95": 13.3041, "pooled": 12.1814},
    ),
    "single voxels": (
        cube(((2, 2, 2), (1, 1, 1))),
        cube(((5, 6, 2), (1, 1, 1))),
        (1, 1, 1),
        {"hd": 5, "hd95": 5, "hd95_pooled": 5, "pooled": 5, "directed": 5, "area": 4.3301},
    ),
    "anisotropic": (SIX, cube(((4, 4, 5), (6, 6, 6))), (1, 1, 5), {"hd": 5, "pooled": 1.315789}),
}


def every_variant(prediction, reference, spacing):
    distances = surface_distances(prediction, reference, spacing)
    return {
        "hd": hausdorff(distances),
        "hd95": hausdorff_95(distances),
        "hd95_pooled": hausdorff_95(distances, pooled=True),
        "pooled": average_distance(distances),
        "directed": average_distance(distances, pooled=False),
        "area": average_distance_by_area(prediction, reference, spacing),
    }


@pytest.mark.parametrize("name", WORKED)
def test_worked_values(name):
    prediction, reference, spacing, expected = WORKED[name]
    values = every_variant(prediction, reference, spacing)
    for variant, value in expected.items():
        assert values[variant] == pytest.approx(value, abs=1e-4), variant


def test_empty_masks():
    nothing = np.zeros_like(SIX)
    assert set(every_variant(nothing, nothing, (1, 1, 1)).values()) == {0.0}
    assert set(every_variant(nothing, SIX, (1, 1, 1)).values()) == {np.inf}
    assert set(every_variant(SIX, nothing, (1, 1, 1)).values()) == {np.inf}


@pytest.mark.parametrize(("neighbours", "inner"), [(6, 1), (26, 0)])
def test_surface_of_a_ball_by_faces_and_by_all_neighbours(neighbours, inner):
    ball = np.zeros((5, 5, 5), bool)
    ball[1:4, 1:4, 1:4] = True
    ball[1, 1, 1] = False  # the corner matters to 26 neighbours only
    assert (ball & ~surface(ball, neighbours)).sum() == inner


def test_voxels_at_the_border_are_surface():
    full = np.ones((4, 4, 4), bool)
    for neighbours in (6, 26):
        assert (~surface(full, neighbours)).sum() == 8


def textbook(prediction, reference, spacing):
    """Surface voxel by surface voxel, every distance to every other one."""

    def shell(mask):
        points = {tuple(int(i) for i in p) for p in np.argwhere(mask)}
        moves = [step for step in itertools.product((-1, 0, 1), repeat=3) if sum(map(abs, step)) == 1]
        return [p for p in points if any(tuple(np.add(p, m)) not in points for m in moves)]

    one, other = (np.array(shell(mask), float).reshape(-1, 3) * spacing for mask in (prediction, reference))
    table = np.sqrt(((one[:, None] - other[None]) ** 2).sum(-1))
    a, b = table.min(1), table.min(0)
    return max(a.max(), b.max()), max(np.percentile(a, 95), np.percentile(b, 95)), np.concatenate([a, b]).mean()


masks = hnp.arrays(bool, (5, 4, 6), elements=st.booleans()).filter(np.any)
spacings = st.tuples(*[st.sampled_from([0.5, 1.0, 3.0])] * 3)


@settings(max_examples=60, deadline=None)
@given(prediction=masks, reference=masks, spacing=spacings)
def test_textbook_agrees(prediction, reference, spacing):
    values = every_variant(prediction, reference, spacing)
    assert (values["hd"], values["hd95"], values["pooled"]) == pytest.approx(textbook(prediction, reference, spacing))


@settings(max_examples=40, deadline=None)
@given(prediction=masks, reference=masks, spacing=spacings, k=st.floats(0.1, 10))
def test_invariants(prediction, reference, spacing, k):
    values = every_variant(prediction, reference, spacing)
    assert values["hd"] >= values["hd95"] >= 0
    assert values["hd"] >= values["hd95_pooled"] >= 0
    assert set(every_variant(reference, reference, spacing).values()) == {0.0}
    swapped = every_variant(reference, prediction, spacing)
    turned = every_variant(prediction.transpose(2, 0, 1), reference.transpose(2, 0, 1), np.roll(spacing, 1))
    padded = every_variant(np.pad(prediction, 3), np.pad(reference, 3), spacing)
    scaled = every_variant(prediction, reference, tuple(k * s for s in spacing))
    for name, value in values.items():
        assert swapped[name] == pytest.approx(value), name
        assert padded[name] == pytest.approx(value), name
        assert scaled[name] == pytest.approx(k * value), name
        if name != "area":  # a bent polygon under anisotropic spacing has an area per triangulation
            assert turned[name] == pytest.approx(value), name
    flipped = every_variant(prediction[::-1, :, ::-1], reference[::-1, :, ::-1], spacing)
    assert flipped["hd95"] == pytest.approx(values["hd95"])


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
