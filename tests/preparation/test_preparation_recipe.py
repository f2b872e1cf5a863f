import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from preparation_cases import head, oriented, save

from strokelab.contract import LesionFile
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.grid import Grid
from strokelab.preparation.brain import estimate_brain
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.preparation.restore import restore, restore_mask

SHAPE = (10, 12, 8)


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "ASR", "SPL"])
def test_arrays_are_ras_and_lead_back(make_case, codes):
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[7:9, 2:5, 1:3] = 1
    image = head(SHAPE)
    case = make_case(images={"T1w": image}, lesion=lesion, affine=oriented(codes, SHAPE), suffix=".nii.gz")
    prepared = prepare(case, Preparation(("T1w",), normalize="none"))
    assert prepared.grid.orientation == "RAS"
    assert prepared.native.orientation == codes
    # the same world point holds the same grey value
    for voxel in [(0, 0, 0), (7, 2, 1), (9, 11, 7)]:
        world = prepared.native.matrix @ [*voxel, 1]
        i, j, k = np.rint(np.linalg.inv(prepared.grid.matrix) @ world)[:3].astype(int)
        assert prepared.image[0, i, j, k] == image[voxel]
    np.testing.assert_array_equal(restore(prepared.image[0], prepared.steps), image)
    np.testing.assert_array_equal(restore_mask(prepared.lesion, prepared.steps), lesion)


@pytest.mark.parametrize(("axes", "order"), [("RSA", (0, 2, 1)), ("ASR", (1, 2, 0))])
def test_coronal_and_sagittal_slices_are_those_across_the_last_axis(make_case, axes, order):
    """The same voxels as in RAS+, their axes in another order; the way back is exact."""
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[7:9, 2:5, 1:3] = 1
    case = make_case(images={"T1w": head(SHAPE)}, lesion=lesion, affine=oriented("LPS", SHAPE))
    ras = prepare(case, Preparation(("T1w",), normalize="none"))
    turned = prepare(case, Preparation(("T1w",), normalize="none", orientation=axes))
    assert turned.grid.orientation == axes
    np.testing.assert_array_equal(turned.image[0], ras.image[0].transpose(order))
    np.testing.assert_array_equal(turned.lesion, ras.lesion.transpose(order))
    np.testing.assert_array_equal(restore_mask(turned.lesion, turned.steps), lesion)


def test_channels_follow_the_settings_not_the_case(make_case):
    images = {"DWI": head(SHAPE, 1), "ADC": head(SHAPE, 2), "FLAIR": head(SHAPE, 3)}
    prepared = prepare(make_case(images=images), Preparation(["FLAIR", "DWI"], normalize="none"))
    assert prepared.channels == ("FLAIR", "DWI")
    np.testing.assert_array_equal(prepared.image, np.stack([images["FLAIR"], images["DWI"]]))
    assert prepared.image.dtype == np.float32
    assert prepared.brain.dtype == bool


def test_arrays_cannot_be_written_to_and_slices_lie_together(make_case):
    prepared = prepare(make_case(lesion=np.ones(SHAPE, dtype=np.uint8)), Preparation(("T1w",)))
    with pytest.raises(ValueError, match="read-only"):
        prepared.image[0, 0, 0, 0] = 1
    assert prepared.image[0, :, :, 3].T.flags.c_contiguous


@pytest.mark.parametrize("crop", [None, (8, 8, None), (16, 16, 12)])
@pytest.mark.parametrize("spacing", [None, (1.5, 1.5, 1.5), (2.5, 2.5, 2.5)])
def test_gain_and_offset_of_a_scanner_disappear(make_case, crop, spacing):
    image = head(SHAPE) - 5
    brain = np.zeros(SHAPE, dtype=np.uint8)
    brain[2:8, 2:10, 1:7] = 1
    settings = Preparation(("T1w",), crop=crop, spacing=spacing)
    first = prepare(make_case("a", images={"T1w": image}, brain=brain), settings)
    second = prepare(make_case("b", images={"T1w": 3.7 * image + 250}, brain=brain), settings)
    assert first.image.any()
    np.testing.assert_allclose(second.image, first.image, atol=1e-4)


def test_padding_is_as_dark_as_the_border(make_case):
    image = head(SHAPE)
    prepared = prepare(make_case(images={"T1w": image}), Preparation(("T1w",), crop=(14, None, None), normalize="none"))
    border = [image[[0, -1]], image[:, [0, -1]], image[:, :, [0, -1]]]
    assert np.ptp(prepared.image[0, 0]) == 0
    assert prepared.image[0, 0, 0, 0] == pytest.approx(np.median(np.concatenate([side.ravel() for side in border])))
    np.testing.assert_allclose(prepared.image[0, 2:12], image, rtol=1e-5, atol=1e-4)


def test_another_grid_is_reached_through_the_affines_in_one_step(make_case, tmp_path):
    """A FLAIR whose grey value is a linear function of the world point is right everywhere after preparation."""
    reference = oriented("LPS", SHAPE, spacing=2.0)
    angle = np.deg2rad(12)
    oblique = np.eye(4)
    oblique[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    own = np.diag([1.7, 1.9, 1.6, 1.0])
    own[:3, 3] = (-40, -50, -25)
    own = oblique @ own
    shape = (36, 40, 34)
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    world = index @ own[:3, :3].T + own[:3, 3]
    weights = np.array([1.0, -2.0, 0.5])
    case = make_case(images={"DWI": head(SHAPE)}, affine=reference)
    flair = save(tmp_path / "flair.nii.gz", (world @ weights).astype(np.float32), own)
    case = replace(case, images={**case.images, "FLAIR": flair}, label_modality="DWI")
    settings = Preparation(("DWI", "FLAIR"), normalize="none", spacing=(1.8, 2, 2.2), crop=(8, 8, 6))
    prepared = prepare(case, settings)
    index = np.stack(np.meshgrid(*map(np.arange, prepared.grid.shape), indexing="ij"), -1)
    expected = (index @ prepared.grid.matrix[:3, :3].T + prepared.grid.matrix[:3, 3]) @ weights
    # Where the target is coarser a little smoothing comes first; it leaves linear functions alone away from borders.
    np.testing.assert_allclose(prepared.image[1], expected, atol=0.05)


def test_finer_detail_than_the_target_is_averaged_not_aliased(make_case):
    image = np.indices((24, 24, 24)).sum(0) % 2 * 100 + head((24, 24, 24)) * 1e-3
    prepared = prepare(
        make_case(images={"T1w": image.astype(np.float32)}, shape=(24, 24, 24)),
        Preparation(("T1w",), normalize="none", spacing=(3, 3, 3)),
    )
    assert prepared.image[0, 2:-2, 2:-2, 2:-2].std() < 10  # a single voxel of the checkerboard has 50


@pytest.mark.parametrize(("voxel", "rule", "left"), [(3, "nearest", [[1, 1, 1]]), (2, "empty", [])])
def test_a_lesion_that_interpolation_loses(make_case, voxel, rule, left):
    """Centres of the 2.5 mm grid lie at 0.75, 3.25, ...: voxel 3 has 0.75^3 there and is the nearest; 2 is not."""
    lesion = np.zeros((10, 10, 10), dtype=np.uint8)
    lesion[voxel, voxel, voxel] = 1
    with pytest.warns(DataWarning, match=f"too small.*{rule}"):
        prepared = prepare(make_case(lesion=lesion, shape=(10, 10, 10)), Preparation(("T1w",), spacing=(2.5, 2.5, 2.5)))
    assert np.argwhere(prepared.lesion).tolist() == left


def test_lesion_outside_the_crop_is_counted_in_a_warning(make_case):
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[0, 5, 4] = lesion[5, 5, 4] = lesion[6, 5, 4] = 1
    with pytest.warns(DataWarning, match="1 of 3 lesion voxels"):
        prepared = prepare(make_case(lesion=lesion), Preparation(("T1w",), crop=(6, None, None)))
    assert prepared.lesion.sum() == 2


def test_empty_and_missing_labels_are_different(make_case):
    empty = prepare(make_case("e", lesion=np.zeros(SHAPE, dtype=np.uint8)), Preparation(("T1w",)))
    assert empty.lesion is not None
    assert not empty.lesion.any()
    assert prepare(make_case("u"), Preparation(("T1w",))).lesion is None


def test_several_lesion_files_are_united(make_case, tmp_path):
    first, second = np.zeros((2, *SHAPE), dtype=np.uint8)
    first[4, 4, 4], second[5, 5, 5] = 255, 1
    case = make_case(lesion=first)
    other = save(tmp_path / "second.nii", second, oriented("RAS", SHAPE))
    prepared = prepare(replace(case, lesions=(*case.lesions, LesionFile(other))), Preparation(("T1w",)))
    assert np.argwhere(prepared.lesion).tolist() == [[4, 4, 4], [5, 5, 5]]


def test_missing_modality_names_the_case_and_what_it_has(make_case):
    case = make_case("sub-7", images={"DWI": head(SHAPE), "ADC": head(SHAPE, 1)})
    with pytest.raises(DataError) as error:
        prepare(case, Preparation(("T1w",)))
    assert "sub-7" in error.value.where
    assert "DWI, ADC" in error.value.found
    assert "T1w" in error.value.expected


def test_constant_image_and_constant_brain_are_refused(make_case):
    with pytest.raises(DataError, match="constant image") as error:
        prepare(make_case("c", images={"T1w": np.full(SHAPE, 7, np.float32)}), Preparation(("T1w",)))
    assert error.value.where.endswith("T1w.nii")
    image = np.full(SHAPE, 7, np.float32)
    image[0] = 3
    brain = np.zeros(SHAPE, dtype=np.uint8)
    brain[4:7, 4:7, 2:6] = 1
    with pytest.raises(DataError, match="without contrast"):
        prepare(make_case("d", images={"T1w": image}, brain=brain), Preparation(("T1w",)))


def test_mask_on_another_grid_names_both_files_and_grids(make_case):
    case = make_case(lesion=np.ones(SHAPE, dtype=np.uint8))
    moved = oriented("RAS", SHAPE)
    moved[0, 3] += 2
    save(case.lesions[0].path, np.ones(SHAPE, dtype=np.uint8), moved)
    with pytest.raises(DataError) as error:
        prepare(case, Preparation(("T1w",)))
    assert all(name in str(error.value) for name in ("lesion.nii", "T1w.nii", "-18", "-20"))


def test_a_crop_without_brain_is_refused(make_case):
    brain = np.zeros(SHAPE, dtype=np.uint8)
    brain[0:2] = 1
    with pytest.raises(DataError, match="no brain voxel"):
        prepare(make_case(brain=brain), Preparation(("T1w",), crop=(4, None, None), offset=(5, None, None)))


def test_not_a_number_becomes_zero_with_a_warning_and_no_slice_is_spoilt(make_case):
    image = head(SHAPE)
    image[5, 5, 4] = np.nan
    with pytest.warns(DataWarning, match="1 voxels"):
        prepared = prepare(make_case(images={"T1w": image}), Preparation(("T1w",)))
    assert np.isfinite(prepared.image).all()


def test_settings_survive_json_and_lists():
    settings = Preparation(["T1w"], spacing=[1, 1, 2], crop=[192, 224, None], offset=[2, 5, None])
    assert settings == Preparation(("T1w",), (1.0, 1.0, 2.0), "zscore_slice_brain", (192, 224, None), (2, 5, None))
    assert Preparation(**json.loads(json.dumps(settings.to_json()))) == settings
    assert hash(settings)
    assert Preparation("T1w").modalities == ("T1w",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"modalities": ()},
        {"modalities": ("T1w", "T1w")},
        {"spacing": (1, 1)},
        {"spacing": (1, 0, 1)},
        {"spacing": (1, None, 1)},
        {"crop": (0, 1, 1)},
        {"crop": "all"},
        {"offset": (1, 1, 1)},
        {"crop": (8, None, None), "offset": (1, 2, None)},
        {"normalize": "zscore"},
    ],
)
def test_wrong_settings_are_refused_by_name(wrong):
    with pytest.raises(ConfigError, match=rf"preparation\.({'|'.join(wrong)})"):
        Preparation(**{"modalities": ("T1w",), **wrong})


UNITS = {
    "slices": {},
    "resampled": {"spacing": (1.5, 1.5, 1.5), "normalize": "zscore_brain"},
    "cubic, padded": {"spacing": (0.8, 1.3, 1.0), "interpolation": "cubic", "crop": (20, 20, 20)},
    "nonzero": {"box": "nonzero", "normalize": "zscore_nonzero"},
}


@pytest.mark.parametrize("settings_of", UNITS)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(exponent=st.floats(-8, 8), shift=st.floats(-3, 3))
def test_unit_and_origin_of_the_grey_values_change_nothing(settings_of, exponent, shift, make_case):
    """a I + c is prepared as I is, a over 16 decades; where zeros are looked for, c stays 0."""
    preparation = Preparation(("T1w",), **UNITS[settings_of])
    image = head(SHAPE).astype(np.float64)
    if settings_of == "nonzero":
        image[:2], shift = 0, 0
    plain = prepare(make_case(images={"T1w": image.astype(np.float32)}), preparation)
    changed = ((image + 100 * shift) * 10**exponent).astype(np.float32)
    other = prepare(make_case("b", images={"T1w": changed}), preparation)
    assert other.brain_source == plain.brain_source
    np.testing.assert_array_equal(other.brain, plain.brain)
    np.testing.assert_allclose(other.image, plain.image, atol=1e-3)


def test_a_grey_ramp_on_a_high_plateau_has_a_brain():
    """Two hundred numbers of float32 lie between the darkest and the brightest voxel: no bins can be made of them."""
    voxels = (head(SHAPE).astype(np.float64) / 50 + 2**24).astype(np.float32)
    assert estimate_brain(voxels, Grid.of(SHAPE, oriented("RAS", SHAPE))).any()


def test_a_mask_stored_in_another_direction_is_turned_onto_its_image(make_case):
    lesion = np.zeros(SHAPE, dtype=np.uint8)
    lesion[2:5, 3:4, 1:3] = 1
    brain = (head(SHAPE) > 150).astype(np.uint8)
    case = make_case(lesion=lesion, brain=brain)
    plain = prepare(case, Preparation(("T1w",)))
    affine = oriented("RAS", SHAPE)
    turn = np.array([[0, -1, 0, SHAPE[0] - 1], [1, 0, 0, 0], [0, 0, -1, SHAPE[2] - 1], [0, 0, 0, 1]])
    for path, voxels in ((case.lesions[0].path, lesion), (case.brain, brain)):
        save(path, np.transpose(voxels, (1, 0, 2))[:, ::-1, ::-1], affine @ turn)
    turned = prepare(case, Preparation(("T1w",)))
    np.testing.assert_array_equal(turned.lesion, plain.lesion)
    np.testing.assert_array_equal(turned.image, plain.image)
