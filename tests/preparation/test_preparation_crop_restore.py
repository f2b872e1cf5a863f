import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preparation_cases import oriented

from strokelab.grid import Grid, Resample
from strokelab.preparation.crop import crop_box
from strokelab.preparation.recipe import Preparation, mask_onto, plan_steps
from strokelab.preparation.restore import restore, restore_mask

CODES = [a + b + c for a in "RL" for b in "AP" for c in "SI"]
CODES += ["ASR", "SPL", "PIR", "ILA", "SRA", "ALS"]


@pytest.mark.parametrize(
    ("length", "size", "offset", "start"),
    [
        (197, 192, None, 2),
        (197, 192, 2, 2),
        (233, 224, 5, 5),
        (233, 224, None, 4),
        (190, 192, None, -1),
        (5, 8, -3, -3),
    ],
)
def test_box_starts(length, size, offset, start):
    starts, sizes = crop_box((length, 9, 9), (size, None, None), (offset, None, None))
    assert starts == (start, 0, 0)
    assert sizes == (size, 9, 9)


axes = st.one_of(st.none(), st.integers(1, 14))


@settings(max_examples=120, deadline=None)
@given(
    codes=st.sampled_from(CODES),
    shape=st.tuples(*[st.integers(3, 9)] * 3),
    crop=st.tuples(axes, axes, axes),
    shift=st.tuples(*[st.one_of(st.none(), st.integers(-3, 4))] * 3),
    seed=st.integers(0, 99),
)
def test_what_lies_in_the_crop_comes_back_and_the_rest_is_zero(codes, shape, crop, shift, seed):
    native = Grid.of(shape, oriented(codes, shape))
    offset = tuple(None if size is None else begin for size, begin in zip(crop, shift, strict=True))
    steps = plan_steps(native, Preparation(("T1w",), crop=crop, offset=offset))
    target = steps[-1].target
    assert target.orientation == "RAS"
    drawn = (np.random.default_rng(seed).random(shape) > 0.6).astype(np.uint8)
    prepared = mask_onto(drawn, steps)
    back = restore_mask(prepared, steps)
    # Independent of the steps: world positions decide which native voxels have a place on the prepared grid.
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) @ native.matrix[:3, :3].T
    indices = (places + native.matrix[:3, 3] - target.matrix[:3, 3]) @ np.linalg.inv(target.matrix[:3, :3]).T
    inside = ((indices > -0.5) & (indices < np.array(target.shape) - 0.5)).all(-1)
    np.testing.assert_array_equal(back, drawn * inside)
    assert back.dtype == np.uint8
    assert prepared.sum() == (drawn * inside).sum()


def test_probabilities_come_back_with_their_channels():
    native = Grid.of((6, 7, 8), oriented("LPS", (6, 7, 8)))
    steps = plan_steps(native, Preparation(("T1w",), crop=(4, 4, None)))
    scores = np.random.default_rng(0).random((2, *steps[-1].target.shape), dtype=np.float32)
    back = restore(scores, steps)
    assert back.shape == (2, 6, 7, 8)
    assert back.sum() == pytest.approx(scores.sum(), rel=1e-6)
    # LPS: prepared x is 5 - (native x) ahead of a crop of 4 from 6 that starts at 1; y likewise 6 - y from 1
    assert back[1, 5 - (1 + 2), 6 - (1 + 3), 5] == scores[1, 2, 3, 5]


def test_array_of_another_shape_is_refused():
    steps = plan_steps(Grid.of((6, 7, 8), np.eye(4)), Preparation(("T1w",), crop=(4, 4, None)))
    with pytest.raises(ValueError, match="prepared grid"):
        restore(np.zeros((6, 7, 8)), steps)


def test_a_resampled_mask_comes_back_by_linear_interpolation():
    native = Grid.of((20, 20, 20), np.eye(4))
    steps = plan_steps(native, Preparation(("T1w",), spacing=(2, 2, 2)))
    assert any(isinstance(step, Resample) for step in steps)
    drawn = np.zeros((20, 20, 20), dtype=np.uint8)
    drawn[4:12, 6:14, 8:16] = 1  # borders on voxel edges of the 2 mm grid: nothing is lost
    prepared = mask_onto(drawn, steps)
    assert prepared.shape == (10, 10, 10)
    assert prepared.sum() == drawn.sum() / 8
    back = restore_mask(prepared, steps)
    overlap = (back & drawn).sum()
    assert back.dtype == np.uint8
    assert 2 * overlap / (back.sum() + drawn.sum()) > 0.9


def test_equal_spacing_is_no_resampling():
    native = Grid.of((6, 7, 8), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert len(plan_steps(native, Preparation(("T1w",), spacing=(2, 2, 2)))) == 1
