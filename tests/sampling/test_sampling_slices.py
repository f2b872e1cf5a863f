"""Which slices are samples, and what boxes are."""

from types import SimpleNamespace

import numpy as np
import pytest

from strokelab.errors import ConfigError
from strokelab.grid import Grid
from strokelab.sampling.boxes import Boxes, plane_axis
from strokelab.sampling.slices import Slices

RNG = np.random.default_rng(0)


def case(brain=(0, 3, 64, 63, 900), lesion_at=(2,), labelled=True):
    lesion = np.zeros((30, 40, len(brain)), dtype=np.uint8)
    lesion[4, 5, list(lesion_at)] = 1
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
    boxes = sampler.draw(case(), RNG)
    assert boxes.starts.tolist() == [[0, 0, z] for z in kept]
    assert boxes.size == (30, 40, 1)
    assert sampler.fixed


def test_no_slice_with_lesion():
    assert len(Slices(keep_empty=False).draw(case(lesion_at=()), RNG)) == 0
    assert len(Slices(keep_empty=False).draw(case(labelled=False), RNG)) == 0


def test_sample_shape_is_rows_then_columns():
    assert Slices().sample_shape((192, 224, None)) == (224, 192)
    assert Slices().sample_shape((None, 224, None)) is None
    assert Slices().sample_shape(None) is None


@pytest.mark.parametrize("settings", [{"axis": 1}, {"min_brain_pixels": -1}])
def test_settings_out_of_range(settings):
    with pytest.raises(ConfigError, match=r"view\.sampler"):
        Slices(**settings)


def test_boxes_hold_their_shape():
    with pytest.raises(ValueError, match="int64"):
        Boxes(np.zeros((2, 3)), (1, 1, 1))
    with pytest.raises(ValueError, match="size"):
        Boxes(np.zeros((2, 3), dtype=np.int64), (0, 1, 1))


@pytest.mark.parametrize(("size", "axis"), [((9, 8, 1), 2), ((1, 8, 7), 0), ((4, 4, 4), None), ((1, 1, 5), None)])
def test_plane_axis(size, axis):
    assert plane_axis(size) == axis
