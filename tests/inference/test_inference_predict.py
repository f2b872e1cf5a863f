"""From a prepared case to its native grid, with stub predictors."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from strokelab.contract import PreparedCase
from strokelab.grid import CropPad, Grid, Orient, Resample
from strokelab.inference import predict as predict_module
from strokelab.inference import windows as windows_module
from strokelab.inference.accumulate import WeightedSum, scan_on
from strokelab.inference.postprocess import threshold
from strokelab.inference.predict import case_scores, to_native

NATIVE = Grid.of((7, 9, 5), [[-2, 0, 0, 7], [0, 2, 0, -9], [0, 0, 2, 1], [0, 0, 0, 1]])


def case_on(native, *, crop=None, spacing=None):
    steps = [Orient(native)]
    if spacing is not None:
        steps.append(Resample(steps[-1].target, steps[-1].target.resized(spacing)))
    if crop is not None:
        steps.append(CropPad(steps[-1].target, *crop))
    grid = steps[-1].target
    image = np.random.default_rng(5).random((2, *grid.shape), dtype=np.float32)
    return PreparedCase(
        case_id="c",
        subject_id="c",
        site="nowhere",
        channels=("a", "b"),
        image=image,
        lesion=None,
        brain=np.ones(grid.shape, bool),
        grid=grid,
        steps=tuple(steps),
        native=native,
    )


def whole(image, predict, brain):
    return predict(torch.as_tensor(image)[None], torch.as_tensor(brain)[None])[0]


def channels(image, brain):
    return image


def predicted(prepared, postprocess=threshold, **how):
    return to_native(prepared, case_scores(prepared, predict=channels, windows=whole), postprocess=postprocess, **how)


def test_the_lesion_channel_is_taken_without_gradients_on_the_device():
    prepared = case_on(NATIVE)
    seen = []

    def predict(image, brain):
        seen.append((image.device.type, torch.is_inference_mode_enabled()))
        return image

    second = case_scores(prepared, predict=predict, windows=whole, lesion_channel=1).lesion
    assert seen == [("cpu", True)]
    assert second.dtype == np.float32
    assert np.array_equal(second, prepared.image[1])


def test_the_scan_moves_once_and_only_the_lesions_map_is_added_up(monkeypatch):
    moved, volumes = [], []
    monkeypatch.setattr(predict_module, "scan_on", lambda *scan: moved.append(scan[0]) or scan_on(*scan))
    monkeypatch.setattr(windows_module, "WeightedSum", lambda *size: volumes.append(size[0]) or WeightedSum(*size))
    prepared = case_on(NATIVE)

    def predict(image, brain):
        return torch.cat([image.sum(1, keepdim=True) + channel for channel in range(5)], dim=1)

    cut = windows_module.PatchWindows((4, 4, 4))
    lesion = case_scores(prepared, predict=predict, windows=cut, lesion_channel=-2, device="cpu").lesion
    assert np.allclose(lesion, prepared.image.sum(0) + 3, atol=1e-5)
    assert moved == ["cpu"]
    assert volumes == [(1, *prepared.grid.shape)]


def test_without_resampling_every_voxel_comes_home():
    prepared = case_on(NATIVE, crop=((1, 2, -1), (5, 6, 8)))
    result = predicted(prepared, provenance={"run": "r"})
    assert result.mask.shape == result.probability.shape == NATIVE.shape == result.grid.shape
    assert result.mask.dtype == np.uint8
    assert result.probability.dtype == np.float32
    assert result.provenance == {"run": "r"}
    # The native grid runs to the left: RAS x = 6 - native x. Outside the crop there is nothing.
    for x, y, z in np.ndindex(*NATIVE.shape):
        i, j, k = 6 - x - 1, y - 2, z + 1
        inside = 0 <= i < 5 and 0 <= j < 6 and 0 <= k < 8
        expected = prepared.image[0, i, j, k] if inside else 0
        assert result.probability[x, y, z] == expected
        assert result.mask[x, y, z] == (expected >= 0.5)


def test_post_processing_happens_on_the_prepared_grid():
    prepared = case_on(NATIVE, crop=((0, 0, 0), (4, 4, 4)))
    shapes = []

    def keep_all(probability):
        shapes.append(probability.shape)
        return np.ones(probability.shape, np.uint8)

    result = predicted(prepared, postprocess=keep_all)
    assert shapes == [(4, 4, 4)]
    assert int(result.mask.sum()) == 4 * 4 * 4


def test_resampled_cases_end_on_the_native_grid():
    prepared = case_on(NATIVE, spacing=(4.0, 4.0, 4.0))
    result = predicted(prepared)
    assert result.mask.shape == NATIVE.shape
    assert result.mask.any()
    assert not result.mask.all()


@pytest.mark.parametrize("site", [None, "A", "B"])
def test_labels_and_site_play_no_part(site):
    prepared = case_on(NATIVE)
    known = replace(prepared, site=site, lesion=np.ones(prepared.grid.shape, np.uint8))
    one, other = predicted(prepared), predicted(known)
    assert np.array_equal(one.mask, other.mask)
    assert np.array_equal(one.probability, other.probability)
