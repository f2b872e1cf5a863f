"""Cut to what is not zero, normalised over it, interpolated by cubics, in the file's own axes; and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from preparation_cases import oriented

from strokelab.errors import ConfigError
from strokelab.grid import Grid, Orient
from strokelab.preparation.nonzero import nonzero_box, nonzero_region
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.restore import restore, restore_mask

UNIT = Grid.of((12, 14, 10), np.eye(4))
SHAPE = (20, 24, 16)
BOXED = Preparation(("T1w",), box="nonzero", normalize="none")


def stripped(low=(3, 5, 2), high=(15, 20, 12)) -> np.ndarray:
    """Zero outside a box, with a hole of zeros inside it."""
    voxels = np.zeros(SHAPE, dtype=np.float32)
    inside = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    voxels[inside] = np.random.default_rng(1).uniform(50, 90, voxels[inside].shape)
    voxels[8:10, 10:12, 5:7] = 0
    return voxels


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_box_is_the_smallest_and_holes_belong_to_the_region(data):
    points = data.draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in UNIT.shape)), min_size=1, max_size=6))
    voxels = np.zeros(UNIT.shape, dtype=np.float32)
    voxels[tuple(np.transpose(points))] = -1  # negative voxels are not zero
    box = nonzero_box([(voxels, UNIT)], UNIT)
    low, high = np.min(points, axis=0), np.max(points, axis=0)
    assert box.start == tuple(low)
    assert tuple(np.add(box.start, box.shape)) == tuple(high + 1)
    assert (nonzero_region([(voxels, UNIT)], UNIT) >= (voxels != 0)).all()


def test_a_case_is_cut_to_its_box_and_pasted_back(make_case):
    image, lesion = stripped(), np.zeros(SHAPE, dtype=np.uint8)
    lesion[4:7, 6:9, 3:5] = 1
    prepared = prepare(make_case(images={"T1w": image}, lesion=lesion), BOXED)
    assert prepared.image.shape == (1, 12, 15, 10)
    assert np.array_equal(prepared.image[0], image[3:15, 5:20, 2:12])
    assert np.array_equal(restore(np.asarray(prepared.image), prepared.steps)[0], image)
    assert np.array_equal(restore_mask(prepared.lesion, prepared.steps), lesion)
    everywhere = restore(np.ones_like(prepared.image[0]), prepared.steps)
    assert everywhere.sum() == prepared.image[0].size, "outside the box a prediction is 0"


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR"])
def test_box_and_axes_in_any_orientation(make_case, codes):
    image = stripped()
    case = make_case(codes, images={"T1w": image}, affine=oriented(codes, SHAPE))
    ras, own = prepare(case, BOXED), prepare(case, replace(BOXED, orientation="file"))
    assert ras.grid.orientation == "RAS"
    assert own.grid.orientation == codes
    assert np.array_equal(own.image[0], image[3:15, 5:20, 2:12]), "as in the file"
    assert np.array_equal(Orient(own.grid).apply(own.image[0]), ras.image[0])
    for prepared in (ras, own):
        assert np.array_equal(restore(np.asarray(prepared.image), prepared.steps)[0], image)


def test_a_box_before_spacing_and_crop(make_case):
    preparation = Preparation(("T1w",), (2.0, 2.0, 2.0), "none", (8, None, None), box="nonzero")
    prepared = prepare(make_case(images={"T1w": stripped()}), preparation)
    assert prepared.grid.shape == (8, 8, 5)  # 12 x 15 x 10 mm, of which x is padded from 6 to 8
    assert prepared.grid.spacing == (2, 2, 2)
    assert restore(np.asarray(prepared.image), prepared.steps).shape == (1, *SHAPE)


def test_normalised_over_the_region_that_is_not_zero(make_case):
    image = stripped()
    prepared = prepare(make_case(images={"T1w": image}), Preparation(("T1w",), normalize="zscore_nonzero"))
    region = nonzero_region([(image, Grid.of(SHAPE, np.eye(4)))], Grid.of(SHAPE, np.eye(4)))
    inside = prepared.image[0][region]
    assert (prepared.image[0][~region] == 0).all()
    assert region[8:10, 10:12, 5:7].all(), "a hole is inside"
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-5)


def test_cubics_follow_a_smooth_image_closer(make_case):
    x, y, z = np.meshgrid(*(np.arange(n, dtype=np.float32) for n in SHAPE), indexing="ij")
    image = (100 + 20 * np.sin(x / 2.5) + 10 * np.cos(y / 3) + z).astype(np.float32)
    errors = {}
    for how in ("linear", "cubic"):
        settings_ = Preparation(("T1w",), (0.8, 0.8, 0.8), "none", interpolation=how)
        prepared = prepare(make_case(how, images={"T1w": image}), settings_)
        inverse = np.linalg.inv(prepared.native.matrix) @ prepared.grid.matrix
        at = [np.arange(n) * inverse[a, a] + inverse[a, 3] for a, n in enumerate(prepared.grid.shape)]
        u, v, w = np.meshgrid(*at, indexing="ij")
        truth = 100 + 20 * np.sin(u / 2.5) + 10 * np.cos(v / 3) + w
        middle = np.s_[4:-4, 4:-4, 4:-4]
        errors[how] = np.abs(prepared.image[0] - truth)[middle].max()
    assert errors["cubic"] < errors["linear"] / 5


def test_settings_of_older_runs_keep_their_stored_cases():
    assert set(Preparation(("T1w",)).to_json()) == {"modalities", "spacing", "normalize", "crop", "offset"}
    assert Preparation(**BOXED.to_json()) == BOXED


@pytest.mark.parametrize("wrong", [{"box": "brain"}, {"interpolation": "sinc"}, {"orientation": "LPS"}])
def test_unknown_words_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Preparation(("T1w",), **wrong)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    low=st.tuples(*[st.integers(0, 3)] * 3),
    spacing=st.sampled_from([None, (1.6, 1.6, 1.6)]),
    crop=st.sampled_from([None, (24, None, 9)]),
)
def test_predictions_end_on_the_inputs_own_grid(make_case, low, spacing, crop):
    """Spec, section 12, point 11: shape and affine of the input, 0 outside the non-zero box."""
    image = stripped(low)
    case = make_case(f"{low}{spacing}{crop}", images={"T1w": image}, affine=oriented("LPS", SHAPE))
    prepared = prepare(case, Preparation(("T1w",), spacing, "zscore_volume", crop, box="nonzero"))
    back = restore(np.ones(prepared.grid.shape, dtype=np.float32), prepared.steps)
    assert back.shape == prepared.native.shape
    outside = np.ones(SHAPE, dtype=bool)
    outside[low[0] : 15, low[1] : 20, low[2] : 12] = False
    assert (back[outside] == 0).all()
