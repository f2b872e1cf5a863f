"""Blur and low resolution against SciPy and by hand."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from strokelab.augment.axis_filters import blur, cubic_taps, low_resolution, nearest_voxels


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("sd", [0.5, 0.8, 1.5])
def test_blur_as_scipy_does_it(sd):
    volume = noise(12, 9, 14)
    expected = ndimage.gaussian_filter(volume.numpy(), sd, mode="reflect", radius=int(np.ceil(4 * sd)))
    np.testing.assert_allclose(blur(volume, sd).numpy(), expected, atol=1e-5)


def test_blur_of_less_than_its_reach():
    torch.testing.assert_close(blur(torch.full((3, 4, 5), 2.0), 1.5), torch.full((3, 4, 5), 2.0))


def test_low_resolution_by_hand():
    assert nearest_voxels(8, 4).tolist() == [1, 3, 5, 7]
    assert nearest_voxels(5, 5).tolist() == [0, 1, 2, 3, 4]
    voxels, weights = cubic_taps(4, 8)
    assert voxels[:, 3].tolist() == [0, 1, 2, 3]  # position 1.25
    assert weights[:, 3].tolist() == pytest.approx([-0.0703125, 0.8671875, 0.2265625, -0.0234375])
    assert voxels[:, 0].tolist() == [0, 0, 0, 1]  # position -0.25, the first voxel stands for those before it


def test_low_resolution_axis_by_axis():
    volume = noise(12, 10, 16)
    expected = volume
    for axis, side in enumerate(volume.shape):
        few = round(side * 0.6)
        down = expected.index_select(axis, nearest_voxels(side, few))
        voxels, weights = cubic_taps(few, side)
        shape = [-1 if i == axis else 1 for i in range(3)]
        expected = sum(
            down.index_select(axis, voxel) * weight.view(shape) for voxel, weight in zip(voxels, weights, strict=True)
        )
    torch.testing.assert_close(low_resolution(volume, 0.6), expected)


def test_full_resolution_is_the_image_and_flat_stays_flat():
    volume = noise(6, 7, 8)
    torch.testing.assert_close(low_resolution(volume, 1.0), volume)
    torch.testing.assert_close(low_resolution(torch.full((6, 7, 8), 3.0), 0.5), torch.full((6, 7, 8), 3.0))
