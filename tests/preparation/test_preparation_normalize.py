import numpy as np
import pytest
import torch

from strokelab.augment.equalisation import equalised as equalised_tensor
from strokelab.errors import DataWarning
from strokelab.preparation.images import normalized
from strokelab.preparation.normalize import NORMALIZATIONS, equalised, normalize


def volume(order="C"):
    rng = np.random.default_rng(0)
    image = rng.normal(100, 30, (7, 6, 5)).astype(np.float32)
    brain = rng.random((7, 6, 5)) > 0.5
    return np.asarray(image, order=order), np.asarray(brain, order=order)


def test_slice_statistics_come_from_brain_pixels_and_apply_to_every_pixel():
    image = np.zeros((2, 2, 1), dtype=np.float32)
    image[:, :, 0] = [[1, 3], [5, 100]]
    brain = np.array([[True, True], [True, False]])[:, :, None]
    # mean 3, population variance (4 + 0 + 4) / 3
    expected = (np.array([[1, 3], [5, 100]]) - 3) / np.sqrt(8 / 3)
    np.testing.assert_allclose(normalize(image, brain)[:, :, 0], expected, rtol=1e-6)


def test_each_slice_has_its_own_statistics():
    image, brain = volume()
    result = normalize(image, brain, "zscore_slice_brain")
    for z in range(image.shape[2]):
        inside = image[:, :, z][brain[:, :, z]].astype(np.float64)
        np.testing.assert_allclose(result[:, :, z], (image[:, :, z] - inside.mean()) / inside.std(), atol=1e-5)


def test_slices_without_brain_or_without_contrast_become_zero():
    image, brain = volume()
    brain[:, :, 0] = False
    image[:, :, 1][brain[:, :, 1]] = 7.0  # flat brain, lively outside
    result = normalize(image, brain)
    assert not result[:, :, :2].any()
    assert result[:, :, 2].any()


@pytest.mark.parametrize(("how", "inside"), [("zscore_brain", True), ("zscore_volume", False)])
def test_volume_statistics(how, inside):
    image, brain = volume()
    values = (image[brain] if inside else image).astype(np.float64)
    np.testing.assert_allclose(normalize(image, brain, how), (image - values.mean()) / values.std(), atol=1e-5)


def test_each_pixel_by_its_values_in_all_slices():
    image, brain = volume()
    image[2, 3] = 7.0
    values = image.astype(np.float64)
    with np.errstate(invalid="ignore"):
        expected = (values - values.mean(axis=2, keepdims=True)) / values.std(axis=2, keepdims=True)
    expected[2, 3] = 0
    result = normalize(image, brain, "zscore_pixel")
    np.testing.assert_allclose(result, expected, atol=1e-5)
    both = normalize(result, brain, "zscore_slice_brain")
    np.testing.assert_allclose(normalize(image, brain, "zscore_pixel_slice"), both, atol=1e-6)


def test_none_leaves_grey_values_alone():
    image, brain = volume()
    np.testing.assert_array_equal(normalize(image, brain, "none"), image)


@pytest.mark.parametrize("how", NORMALIZATIONS)
def test_memory_order_and_place_change_nothing_and_inputs_stay(how):
    image, brain = volume("C")
    before = image.copy()
    expected = normalize(image, brain, how)
    np.testing.assert_array_equal(image, before)
    other, mask = volume("F")
    np.testing.assert_allclose(normalize(other, mask, how), expected, atol=1e-6)
    assert normalize(other, mask, how, out=other) is other
    np.testing.assert_allclose(other, expected, atol=1e-6)


@pytest.mark.parametrize("how", ["zscore_slice_brain", "zscore_brain", "zscore_volume"])
def test_large_offsets_do_not_spoil_the_deviation(how):
    rng = np.random.default_rng(1)
    image = rng.normal(0, 1, (64, 64, 8)).astype(np.float32)
    brain = np.ones(image.shape, dtype=bool)
    shifted = (image.astype(np.float64) * 3 + 4000).astype(np.float32)
    np.testing.assert_allclose(normalize(shifted, brain, how), normalize(image, brain, how), atol=5e-4)


@pytest.mark.parametrize("how", [how for how in NORMALIZATIONS if how.startswith("zscore")])
@pytest.mark.parametrize("exponent", [-17, -8, -4, 0, 4, 8, 17])
def test_the_unit_of_the_grey_values_changes_nothing(how, exponent):
    """Two slices, one a thousand times weaker: limits are relative, whatever the numbers' size."""
    image, brain = volume()
    image[:, :, 2] = image[:, :, 2] * 1e-3 + 99
    scaled = (image.astype(np.float64) * 10.0**exponent * 3).astype(np.float32)
    result = normalize(scaled, brain, how)
    np.testing.assert_allclose(result, normalize(image, brain, how), atol=2e-3)
    assert result[:, :, 2].any()


@pytest.mark.parametrize("unit", [1e-7, 1.0, 1e7])
def test_rounding_is_no_contrast(unit):
    """What interpolation leaves of a flat slice, a ten-millionth of its value, is not blown up to one SD."""
    image, brain = volume()
    noise = np.random.default_rng(2).integers(-1, 2, image.shape[:2]) * np.spacing(np.float32(300))
    image[:, :, 1] = 300 + noise
    assert not normalize((image * unit).astype(np.float32), brain)[:, :, 1].any()
    whole = np.repeat(image[:, :, 1:2], 3, axis=2)
    for how in ("zscore_slice_brain", "zscore_brain", "zscore_volume"):
        assert not normalize((whole * unit).astype(np.float32), brain[:, :, :3], how).any()


@pytest.mark.parametrize(
    ("highest", "by_255", "by_the_rule"), [(255, 255, 255), (1020, 255, 255), (1021, 255, 999), (1.0, 255, 0.999)]
)
def test_division_by_the_brightest_grey_value(highest, by_255, by_the_rule):
    """One of a thousand voxels is the maximum, the next lower ones are the 99.9th percentile."""
    image = np.full((10, 10, 20), by_the_rule, dtype=np.float32)
    image[0, 0, 0] = highest
    image[5:] = 0
    brain = image > 0
    np.testing.assert_allclose(normalize(image, brain, "scale255"), image / np.float32(by_255), rtol=1e-6)
    np.testing.assert_allclose(normalize(image, brain, "max255"), image / np.float32(by_the_rule), rtol=1e-6)


@pytest.mark.parametrize(("highest", "how", "said"), [(2000.0, "max255", "by 1900,"), (2000.0, "scale255", "max255")])
def test_grey_values_of_another_range_are_said(highest, how, said, tmp_path):
    image = np.full((10, 10, 20), 1900, dtype=np.float32)
    brain = image > 0
    normalized(image / 10, brain, path=tmp_path, how=how)
    image[0, 0, 0] = highest
    with pytest.warns(DataWarning, match=said):
        normalized(image, brain, path=tmp_path, how=how)
    assert image[1, 1, 1] == pytest.approx(1 if how == "max255" else 1900 / 255)


def test_the_scan_with_negative_grey_values_is_named(tmp_path):
    image = np.full((10, 10, 20), 100, dtype=np.float32)
    image[0, 0] = -1  # 20 of 2000: 1 %
    normalized(image.copy(), image > 0, path=tmp_path, how="scale255")
    image[0, 1, 0] = -1
    with pytest.warns(DataWarning, match=f"{tmp_path}: 1.1 % of the grey values below 0"):
        normalized(image, image > 0, path=tmp_path, how="scale255")


def test_equalisation_by_hand():
    """0 four times, 1 twice, 256 twice: bins of 1; counts up to there 4, 6 and 8, stretched to 0, 127.5 and 255."""
    image = np.float32([0, 0, 0, 0, 1, 1, 256, 256]).reshape(2, 2, 2)
    # 0 lies below the first centre, 0.5, where it stays 0; 1 half-way between the centres 0.5 and 1.5.
    expected = np.float32([0, 0, 0, 0, 63.75, 63.75, 255, 255]).reshape(2, 2, 2)
    np.testing.assert_allclose(equalised(image), expected, rtol=1e-6)
    z = (expected - expected.mean()) / expected.std()
    np.testing.assert_allclose(normalize(image, image > 0, "zscore_equalised"), z, rtol=1e-5)


def test_equalisation_keeps_order_and_flattens():
    image, _ = volume()
    grey = equalised(image)
    assert (np.diff(grey.ravel()[np.argsort(image, axis=None)]) >= 0).all()
    assert (grey.min(), grey.max()) == (0, 255)
    np.testing.assert_allclose(equalised(3 * image + 7), grey, atol=0.2)
    assert not equalised(np.full((3, 2, 2), 7, np.float32)).any()
    many = np.random.default_rng(0).gamma(2, 50, (40, 40, 40)).astype(np.float32)
    np.testing.assert_allclose(np.percentile(equalised(many), [25, 50, 75]), [63.75, 127.5, 191.25], atol=3)


def test_tensors_are_equalised_as_arrays_are():
    image = np.random.default_rng(0).gamma(2, 50, (30, 20, 10)).astype(np.float32)
    np.testing.assert_allclose(equalised_tensor(torch.from_numpy(image)).numpy(), equalised(image), atol=0.05)
    assert not equalised_tensor(torch.full((3, 2, 2), 7.0)).any()


def test_equalisation_is_monais():
    monai = pytest.importorskip("monai.transforms")
    image, _ = volume()
    theirs = monai.HistogramNormalize(num_bins=256, min=0, max=255)(image[None])[0]
    np.testing.assert_allclose(equalised(image), np.asarray(theirs), atol=1e-4)
