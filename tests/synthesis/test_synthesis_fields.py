"""Fields belong to the grid, whichever box of it is evaluated, and stay within their coefficients."""

import numpy as np
import pytest
import torch

from strokelab.errors import ConfigError
from strokelab.synthesis.deformation import Deformation
from strokelab.synthesis.fields import legendre_sum, legendre_terms, spline_field

GRID, BOX = (21, 18, 15), ((3, 12), (0, 18), (7, 9))
CPU = torch.device("cpu")
WHOLE = tuple((0, side) for side in GRID)
PART = tuple(slice(*span) for span in BOX)


def test_a_box_of_a_spline_is_the_box_of_the_whole():
    coefficients = np.random.default_rng(0).uniform(-1, 1, (3, 2, 5, 10))
    whole = spline_field(coefficients, GRID, WHOLE, CPU)
    assert whole.shape == (3, *GRID)
    assert torch.allclose(spline_field(coefficients, GRID, BOX, CPU), whole[(..., *PART)], atol=1e-6)
    assert float(whole.abs().max()) <= 1
    constant = spline_field(np.full((4, 4, 4), 0.7), GRID, WHOLE, CPU)
    assert torch.allclose(constant, torch.full(GRID, 0.7))


def test_a_spline_by_hand():
    """Three points 0, 1, 0 along an axis of five voxels: (1 + 4 c + 1) / 6 at a point, both ends repeated."""
    coefficients = np.zeros((3, 2, 2))
    coefficients[1] = 1
    line = spline_field(coefficients, (5, 3, 3), ((0, 5), (1, 2), (1, 2)), CPU).flatten()
    assert torch.allclose(line, torch.tensor([1 / 6, 23 / 48, 4 / 6, 23 / 48, 1 / 6]), atol=1e-6)


def test_a_legendre_sum_by_hand():
    terms = legendre_terms(2)
    coefficients = np.zeros(len(terms))
    coefficients[terms.index((2, 0, 0))] = 1
    coefficients[terms.index((0, 1, 1))] = 3
    whole = legendre_sum(coefficients, 2, GRID, WHOLE)
    x, y, z = (np.linspace(-1, 1, side) for side in GRID)
    expected = (1.5 * x**2 - 0.5)[:, None, None] + 3 * y[None, :, None] * z
    assert np.allclose(whole.numpy(), expected)
    assert torch.allclose(legendre_sum(coefficients, 2, GRID, BOX), whole[PART])


def test_positions_are_affine_and_elastic_together():
    warp = Deformation().sampled(np.random.default_rng(3))
    low = (2, -1, 4)
    whole = warp.positions(GRID, WHOLE, (0, 0, 0), CPU)
    part = warp.positions(GRID, BOX, low, CPU)
    assert torch.allclose(part, whole[(..., *PART)] - torch.tensor(low).view(3, 1, 1, 1), atol=1e-4)
    voxel = np.array([5, 11, 8])
    centre = (np.array(GRID) - 1) / 2
    elastic = spline_field(warp.elastic, GRID, tuple((at, at + 1) for at in voxel), CPU).numpy().ravel()
    expected = centre + warp.matrix @ (voxel - centre) + (warp.shift + elastic) * GRID
    assert np.allclose(whole[(slice(None), *voxel)].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "setting",
    [{"rotation": (15, -15)}, {"zoom": (0.1, 1)}, {"points": (1, 5)}, {"strength": (0, float("nan"))}, {"shear": (0,)}],
)
def test_ranges_are_checked(setting):
    with pytest.raises(ConfigError, match=next(iter(setting))):
        Deformation(**setting)
