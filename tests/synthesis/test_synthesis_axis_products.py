"""Products along an axis: bands change nothing, Gaussians have their width, resampling is linear."""

import math

import pytest
import torch

from strokelab.synthesis.axis_products import along, everywhere, gaussian, gaussian_inside, linear, needed


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_banded_product_is_the_product(axis):
    torch.manual_seed(axis)
    volume = torch.rand(2, 130, 7, 6).transpose(1, axis + 1)
    matrix = linear(97, 130) @ gaussian(130, 3.0)
    expected = torch.movedim(torch.movedim(volume, axis + 1, -1) @ matrix.T, -1, axis + 1)
    assert torch.allclose(along(volume, matrix, axis), expected, atol=1e-5)


def test_a_gaussian_has_its_width_and_keeps_constants():
    kernel = gaussian(61, 8.0)[30]
    assert math.isclose(float(kernel[34] / kernel[30]), 0.5, abs_tol=1e-4)  # half of it at half the width
    assert torch.allclose(gaussian(20, 5.0).sum(1), torch.ones(20))
    assert torch.equal(gaussian(5, 0.0), torch.eye(5))
    assert gaussian_inside(6, 2.0).shape == (6, 6 + 2 * 4)  # four standard deviations of 0.85


def test_linear_resampling_by_hand():
    assert torch.allclose(linear(2, 4) @ torch.tensor([0.0, 1, 2, 3]), torch.tensor([0.5, 2.5]))
    assert torch.allclose(linear(4, 2) @ torch.tensor([0.0, 1]), torch.tensor([0, 0.25, 0.75, 1]))
    assert needed(linear(2, 4), (1, 2)) == (2, 4)


def test_products_on_all_axes_commute():
    volume = torch.rand(9, 8, 7)
    matrices = [linear(4, 9), gaussian(8, 2.0), linear(10, 7)]
    backwards = volume
    for axis in (2, 1, 0):
        backwards = along(backwards, matrices[axis], axis)
    assert torch.allclose(everywhere(volume, matrices), backwards, atol=1e-6)
