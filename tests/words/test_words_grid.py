"""Grids and steps: hand-computed places, and inverses for every orientation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.grid import CropPad, Grid, Orient, Resample, resample, step_from_json, step_to_json, turned

AXES = [p for p in itertools.permutations("xyz")]
CODES = {"x": "RL", "y": "AP", "z": "SI"}
ORIENTATIONS = ["".join(CODES[axis][flip] for axis, flip in zip(order, flips, strict=True))
                for order in AXES for flips in itertools.product((0, 1), repeat=3)]  # fmt: skip


def grid_of(codes="RAS", shape=(4, 5, 6), spacing=(1.0, 2.0, 3.0), origin=(7.0, -8.0, 9.0)):
    """A grid whose axes run as ``codes`` say."""
    matrix = np.zeros((4, 4))
    for axis, (code, step) in enumerate(zip(codes, spacing, strict=True)):
        world = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        matrix[world, axis] = step if code in "RAS" else -step
    matrix[:3, 3], matrix[3, 3] = origin, 1
    return Grid.of(shape, matrix)


def oblique(shape=(5, 6, 7)):
    angle = 0.3
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([1.0, 1.5, 2.0])
    matrix[:3, 3] = (3, 4, 5)
    return Grid.of(shape, matrix)


grids = st.builds(
    grid_of,
    codes=st.sampled_from(ORIENTATIONS),
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    spacing=st.tuples(*[st.floats(0.5, 4)] * 3),
    origin=st.tuples(*[st.floats(-100, 100)] * 3),
)


def numbered(grid, kind=np.float32):
    """Every voxel another number."""
    return np.arange(np.prod(grid.shape)).reshape(grid.shape).astype(kind)


def world(grid, index):
    return (grid.matrix @ [*index, 1])[:3]


# --- grids -----------------------------------------------------------------------------------------------------------


def test_spacing_volume_and_orientation_by_hand():
    grid = grid_of("LPI", spacing=(0.5, 2.0, 3.0))
    assert grid.spacing == (0.5, 2.0, 3.0)
    assert grid.voxel_volume_mm3 == pytest.approx(3.0)
    assert grid.orientation == "LPI"
    assert oblique().spacing == pytest.approx((1.0, 1.5, 2.0))
    assert oblique().voxel_volume_mm3 == pytest.approx(3.0)
    assert oblique().orientation == "RAS"


@pytest.mark.parametrize("codes", ORIENTATIONS)
def test_all_48_orientations_are_told(codes):
    assert grid_of(codes).orientation == codes


@given(grids)
def test_plain_data_come_back_exactly(grid):
    assert Grid.from_json(grid.to_json()) == grid
    assert hash(Grid.from_json(grid.to_json())) == hash(grid)


def test_grids_match_within_a_hundredth_of_a_voxel_at_the_farthest_corner():
    """Voxels of 1 x 2 x 3 mm: 0.01 mm along x is as much as 0.03 mm along z."""
    grid = grid_of(shape=(101, 5, 6))

    def changed(row, column, by, of=grid):
        matrix = of.matrix.copy()
        matrix[row, column] += by
        return Grid.of(of.shape, matrix)

    stretched = changed(0, 0, 9e-5)  # 9 micrometres after 100 voxels
    assert grid.matches(stretched)
    assert stretched.matches(grid)
    assert not grid.matches(changed(0, 0, 1.1e-4))
    assert grid.matches(changed(0, 0, 1.1e-4), tolerance=0.02)
    assert grid.matches(changed(2, 3, 0.029))
    assert not grid.matches(changed(0, 3, 0.029))
    assert not grid.matches(grid_of(shape=(100, 5, 6)))
    assert grid.apart_mm(changed(0, 3, 3, changed(1, 3, 4))) == pytest.approx(5)
    assert grid.apart_voxels(changed(0, 3, 3, changed(1, 3, 4))) == pytest.approx(3)


def test_the_difference_of_two_grids_is_stated_in_millimetres_and_voxels():
    grid = grid_of()
    matrix = grid.matrix.copy()
    matrix[2, 3] += 1.5
    assert "up to 1.5 mm (0.5 voxels) apart" in Grid.of(grid.shape, matrix).difference(grid)
    assert grid.difference(grid_of(shape=(4, 5, 7))) == grid.describe()


@given(grids, st.sampled_from(ORIENTATIONS))
def test_axes_in_another_order_or_direction_are_turned_exactly(grid, codes):
    step = Orient(grid, codes)
    array = numbered(grid)
    there = turned(array, grid, step.target)
    assert np.array_equal(there, step.apply(array))
    assert np.array_equal(turned(there, step.target, grid), array)


def test_oblique_grids_are_turned_whatever_axis_is_nearest():
    """At 45 degrees no axis is the nearest; against each other the grids are still flips."""
    angle = np.pi / 4
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    grid = Grid.of((4, 4, 4), matrix)
    array = numbered(grid)
    for order, flips in itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)):
        other = np.transpose(array, order)[:: flips[0], :: flips[1], :: flips[2]]
        change = np.zeros((4, 4))
        for axis, (old, flip) in enumerate(zip(order, flips, strict=True)):
            change[old, axis], change[old, 3] = flip, 0 if flip > 0 else 3
        change[3, 3] = 1
        assert np.array_equal(turned(array, grid, Grid.of((4, 4, 4), matrix @ change)), other)


def test_what_needs_more_than_flips_is_not_turned():
    grid = grid_of()
    array = numbered(grid)
    assert turned(array, grid, grid) is array
    assert turned(array, grid, oblique()) is None
    assert turned(array, grid, grid.resized((2, 2, 3))) is None
    for row, by in ((0, 0.02), (0, 1.0), (2, -3.0)):
        matrix = Orient(grid, "LPI").target.matrix.copy()
        matrix[row, 3] += by
        assert turned(array, grid, Grid.of(grid.shape, matrix)) is None


def test_volumes_overlap_in_the_world_or_do_not():
    grid = grid_of(shape=(4, 5, 6))

    def moved(by):
        matrix = grid.matrix.copy()
        matrix[0, 3] += by * grid.spacing[0]
        return Grid.of(grid.shape, matrix)

    for by, expected in ((0, True), (3.9, True), (-3.9, True), (4.1, False), (-4.1, False)):
        assert grid.overlaps(moved(by)) is moved(by).overlaps(grid) is expected
    assert oblique().overlaps(oblique())


def test_a_grid_describes_itself():
    text = grid_of("LAS").describe()
    for word in ("(4, 5, 6)", "1 x 2 x 3 mm", "LAS"):
        assert word in text


@given(grids, st.tuples(*[st.sampled_from([0.5, 1.0, 2.0])] * 3))
def test_resized_grids_keep_the_field_of_view(grid, ratio):
    spacing = tuple(s * r for s, r in zip(grid.spacing, ratio, strict=True))
    resized = grid.resized(spacing)
    assert resized.spacing == pytest.approx(spacing)
    assert resized.orientation == grid.orientation
    assert np.allclose(world(resized, (-0.5, -0.5, -0.5)), world(grid, (-0.5, -0.5, -0.5)))
    for axis in range(3):
        length = resized.shape[axis] * spacing[axis]
        assert abs(length - grid.shape[axis] * grid.spacing[axis]) <= max(
            spacing[axis] / 2 + 1e-6, spacing[axis] - 0.01
        )


def test_resizing_by_hand():
    """Ten voxels of 1 mm are five of 2 mm; the first centre moves by half a millimetre."""
    resized = grid_of(shape=(10, 10, 10), spacing=(1, 1, 1), origin=(0, 0, 0)).resized((2.0, 1.0, 5.0))
    assert resized.shape == (5, 10, 2)
    assert world(resized, (0, 0, 0)) == pytest.approx([0.5, 0, 2])
    assert world(resized, (4, 9, 1)) == pytest.approx([8.5, 9, 7])


# --- steps -----------------------------------------------------------------------------------------------------------


@given(grids, st.sampled_from(["RAS", "LPS", "SRA"]), st.integers(0, 2))
def test_orienting_moves_voxels_with_their_world_and_back(grid, codes, lead):
    step = Orient(grid, codes)
    array = np.broadcast_to(numbered(grid), (2,) * lead + grid.shape)
    there = step.apply(array)
    assert step.target.orientation == codes
    assert there.shape == (2,) * lead + step.target.shape
    assert np.array_equal(step.invert(there), array)
    place = {int(numbered(grid)[index]): world(grid, index) for index in np.ndindex(*grid.shape)}
    flat = there.reshape((-1, *step.target.shape))[0]
    for index in np.ndindex(*step.target.shape):
        assert np.allclose(world(step.target, index), place[int(flat[index])], atol=1e-9)


starts, lengths = st.tuples(*[st.integers(-4, 7)] * 3), st.tuples(*[st.integers(1, 9)] * 3)


@given(grids, starts, lengths)
def test_crops_and_pads_keep_world_places_and_paste_back(grid, start, shape):
    step = CropPad(grid, start, shape)
    array = numbered(grid) + 1
    cut = step.apply(array)
    assert cut.shape == shape == step.target.shape
    for index in np.ndindex(*shape):
        source = tuple(i + s for i, s in zip(index, start, strict=True))
        inside = all(0 <= i < n for i, n in zip(source, grid.shape, strict=True))
        assert cut[index] == (array[source] if inside else 0)
    assert np.allclose(world(step.target, (0, 0, 0)), world(grid, start))
    back = step.invert(cut)
    kept = back != 0
    assert np.array_equal(back[kept], array[kept])
    assert kept.sum() == (cut != 0).sum()


@given(grids, starts, lengths)
def test_steps_survive_json(grid, start, shape):
    for step in (Orient(grid, "LPS"), Resample(grid, oblique()), CropPad(grid, start, shape)):
        assert step_from_json(step_to_json(step)) == step


# --- resampling ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("interpolation", ["nearest", "linear"])
@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR"])
def test_resampling_onto_the_same_voxels_changes_nothing(interpolation, codes):
    source = grid_of()
    target = Orient(source, codes).target
    array = np.random.default_rng(0).random((2, *source.shape)).astype(np.float32)
    there = resample(array, source, target, interpolation)
    assert np.allclose(there, Orient(source, codes).apply(array), atol=1e-6)


@pytest.mark.parametrize(
    "target", [oblique((6, 6, 6)), grid_of(shape=(9, 9, 9), spacing=(0.8, 1.1, 1.7), origin=(8, -6, 11))]
)
def test_linear_interpolation_of_a_plane_is_exact_inside_and_zero_outside(target):
    source = grid_of(shape=(20, 20, 20), spacing=(1, 1, 1), origin=(-5, -10, -5))
    places = np.stack([world(source, index) for index in np.ndindex(*source.shape)]).reshape((*source.shape, 3))
    slope = np.array([0.5, -2.0, 1.0])
    there = Resample(source, target).apply((places @ slope + 100).astype(np.float32))
    assert there.dtype == np.float32
    for index in np.ndindex(*target.shape):
        place = world(target, index)
        position = place - [-5, -10, -5]
        if (position >= 0).all() and (position <= 19).all():
            assert there[index] == pytest.approx(place @ slope + 100, abs=1e-3)
        elif (position < -1).any() or (position > 20).any():
            assert there[index] == 0


@pytest.mark.parametrize("kind", [np.uint8, np.int16, bool, np.float64])
def test_nearest_keeps_the_dtype_and_invents_no_value(kind):
    source = grid_of()
    array = (np.random.default_rng(1).random(source.shape) * 3).astype(kind)
    there = resample(array, source, source.resized((0.7, 0.7, 0.7)), "nearest")
    assert there.dtype == array.dtype
    assert set(np.unique(there)) <= set(np.unique(array)) | {kind(0)}


@settings(max_examples=30)
@given(st.tuples(*[st.integers(1, 3)] * 3))
def test_a_block_of_voxels_survives_finer_grids(factor):
    source = grid_of(shape=(5, 5, 5), spacing=(3, 3, 3))
    mask = np.zeros(source.shape, np.uint8)
    mask[1:4, 1:4, 1:4] = 1
    target = source.resized(tuple(3.0 / f for f in factor))
    there = resample(mask, source, target, "nearest")
    assert int(there.sum()) == 27 * int(np.prod(factor))
    assert np.array_equal(Resample(source, target).invert(there, "nearest"), mask)
