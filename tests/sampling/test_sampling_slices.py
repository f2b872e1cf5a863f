"""Which slices are samples, and what boxes are."""

from types import SimpleNamespace

import numpy as np
import pytest

from strokelab.contract import plane_axis, shape_of
from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.inference.slices import SliceWindows
from strokelab.sampling.boxes import Drawing, Listed
from strokelab.sampling.foreground_slices import ForegroundSlices
from strokelab.sampling.slices import Slices

DRAWING = Drawing("train", seed=0, batch_size=4)


def case(brain=(0, 3, 64, 63, 900), lesion_at=(2,), labelled=True):
    lesion = np.zeros((30, 40, len(brain)), dtype=np.uint8)
    lesion[4, 5, [z for z in lesion_at if z < len(brain)]] = 1
    return SimpleNamespace(
        case_id="a",
        grid=Grid.of(lesion.shape, np.eye(4)),
        brain_voxels_per_slice=tuple(brain),
        load=lambda: SimpleNamespace(lesion=lesion if labelled else None),
    )


@pytest.mark.parametrize(
    ("sampler", "kept"),
    [
        (Slices(), [2, 4]),
        (Slices(min_brain_pixels=63), [2, 3, 4]),
        (Slices(min_brain_pixels=0), [1, 2, 3, 4]),  # never one without any brain: it has no z-score
        (Slices(keep_empty=False), [2]),
    ],
)
def test_which_slices(sampler, kept):
    places = sampler.places([case(brain=(0, 70)), case()], DRAWING)
    first = 1 if sampler.keep_empty else 0  # the other case has lesion in slice 2 alone
    keys = [(3, index) for index in range(first, len(places))]
    rows, starts = places.at(keys)
    assert starts.tolist() == [[0, 0, z] for z in kept]
    assert rows.tolist() == [1] * len(kept) == places.rows[first:].tolist()
    assert (places.size, starts.dtype) == ((30, 40, 1), np.int64)


@pytest.mark.parametrize("one", [case(lesion_at=()), case(labelled=False)])
def test_no_slice_with_lesion(one):
    with pytest.raises(DataError, match="no sample in 1 cases"):
        Slices(keep_empty=False).places([one], DRAWING)


def test_sample_shape_is_rows_then_columns():
    assert Slices().sample_shape((192, 224, None)) == (224, 192)
    assert Slices().sample_shape((None, 224, None)) is None
    assert Slices().sample_shape(None) is None


@pytest.mark.parametrize("settings", [{"axis": 1}, {"min_brain_pixels": -1}])
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError, match=r"view\.sampler"):
        Slices(**settings)


def test_listed_places_hold_their_shape():
    one = np.zeros(1, dtype=np.int64)
    with pytest.raises(ValueError, match="expected integers of 1 x 3"):
        Listed((1, 1, 1), np.zeros((1, 3)), one)
    with pytest.raises(ValueError, match="expected integers of 1 x 3"):
        Listed((1, 1, 1), np.zeros((2, 3), dtype=np.int64), one)
    with pytest.raises(ValueError, match="size"):
        Listed((0, 1, 1), np.zeros((1, 3), dtype=np.int64), one)


@pytest.mark.parametrize(
    ("size", "axis", "shape"),
    [((9, 8, 1), 2, (8, 9)), ((1, 8, 7), 0, (7, 8)), ((4, 3, 2), None, (4, 3, 2)), ((1, 1, 5), None, (1, 1, 5))],
)
def test_what_a_sample_of_a_box_is(size, axis, shape):
    assert (plane_axis(size), shape_of(size)) == (axis, shape)


@pytest.mark.parametrize("part", [Slices, SliceWindows])
@pytest.mark.parametrize(("slices", "target"), [(0, 0), (4, 4), (4, -1), (65, 0)])
def test_a_slab_holds_its_own_slice(part, slices, target):
    with pytest.raises(ConfigError, match=rf"{slices}, {target}"):
        part(slices=slices, target=target)


def test_a_third_of_each_batch_of_nnunets_slices_holds_lesion():
    """Slice 5 has three lesion voxels and slice 2 one; slice 0 has lesion and no brain, so that it is never taken."""
    lesion = np.zeros((6, 6, 8), dtype=np.uint8)
    lesion[0, 0, [0, 2]] = lesion[:3, 1, 5] = 1
    one = SimpleNamespace(
        case_id="a",
        grid=Grid.of(lesion.shape, np.eye(4)),
        brain_voxels_per_slice=(0, *[70] * 7),
        lesion_voxels=5,
        load=lambda: SimpleNamespace(lesion=lesion),
    )
    healthy = SimpleNamespace(**{**vars(one), "case_id": "b", "lesion_voxels": 0})
    sampler = ForegroundSlices(iterations_per_epoch=400, validation_iterations=3)
    places = sampler.places([one, healthy], Drawing("train", 0, 9))
    assert (len(places), places.size, places.rows) == (3600, (6, 6, 1), None)
    keys = [(2, index) for index in range(len(places))]
    rows, starts = places.at(keys)
    assert np.array_equal(starts, sampler.places([one, healthy], Drawing("train", 0, 9)).at(keys)[1])
    assert np.array_equal(starts[5:7], places.at(keys[5:7])[1]), "a function of the place alone"
    assert not starts[:, :2].any()
    forced = np.arange(3600) % 9 >= 6
    of_one, z = rows == 0, starts[:, 2]
    assert set(z[forced & of_one]) == {2, 5}
    assert np.mean(z[forced & of_one] == 5) == pytest.approx(0.75, abs=0.04)
    assert set(z[~forced]) == set(z[forced & ~of_one]) == set(range(1, 8))
    assert of_one.mean() == pytest.approx(0.5, abs=0.03)
    assert len(sampler.places([one], Drawing("val", 0, 9))) == 27
    assert sampler.order("val").fixed
    assert set(sampler.places([one, healthy], Drawing("train", 0, 9, weights=[0, 2])).at(keys)[0]) == {1}
    for wrong in ({"foreground": 2}, {"iterations_per_epoch": 0}, {"foreground_mode": "first"}):
        with pytest.raises(ConfigError, match=r"view\.sampler"):
            ForegroundSlices(**wrong)
