"""One sampling grid for rotation, zoom and deformation: what it needs is what is read, and read right."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from scipy import ndimage

from strokelab.augment.interpolation import Positions, corner_bits, cubic, keys_weights, linear, linear_mask
from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.augment.warp import IDENTITY, Elastic, Warp, sampling_positions, smooth_shift
from strokelab.seeding import stream

CPU = torch.device("cpu")
HARD = NNUNetAugmentation(rotation_p=1, zoom_p=1, zoom_per_axis_p=0.5, elastic_p=0.6)
STIFF = NNUNetAugmentation(rotation_p=0.8, zoom_p=0.8, zoom_per_axis_p=0.5)


def positions(warp, patch, source):
    """(3, X, Y, Z), put together from the chunks."""
    parts = [torch.stack(coordinates) for _, coordinates in sampling_positions(warp, patch, source, CPU)]
    return torch.cat(parts, 1).permute(0, 3, 2, 1)


def sampled(volume, warp, patch, how):
    """A volume (X, Y, Z) read through a warp."""
    dense = volume.permute(2, 1, 0).contiguous()
    out = []
    for _, coordinates in sampling_positions(warp, patch, tuple(volume.shape), CPU):
        at = Positions.of(coordinates, tuple(volume.shape))
        out.append(linear_mask(corner_bits(dense), at) if how == "mask" else how(dense.flatten(), at))
    return torch.cat(out).view(patch[::-1]).permute(2, 1, 0)


sides = some.integers(4, 30)


@given(some.integers(0, 10**6), some.tuples(sides, sides, sides), some.sampled_from([2, 4]))
@settings(max_examples=40, deadline=None)
def test_the_box_holds_all_that_is_read(seed, patch, taps):
    warp = HARD.draw(stream(seed), 1, patch).warp
    source = warp.source(patch, taps)
    below, above = taps // 2 - 1, taps // 2
    for axis, read in enumerate(positions(warp, patch, source)):
        assert (source[axis] - patch[axis]) % 2 == 0
        assert read.min().floor() - below >= 0
        assert read.max().floor() + above <= source[axis] - 1


def test_the_box_is_no_larger_than_needed():
    patch = (24, 30, 20)
    for seed in range(60):
        warp = STIFF.draw(stream(seed), 1, patch).warp
        if warp is None:
            continue
        source = warp.source(patch, 2)
        for axis, read in enumerate(positions(warp, patch, source)):
            assert source[axis] == patch[axis] or read.min() < 1.01 or read.max() > source[axis] - 2.01
    assert Warp(((0.7, 0, 0), (0, 0.7, 0), (0, 0, 0.7))).source(patch, 2) == patch


def test_linear_and_masks_as_scipy_does_it():
    patch = (21, 16, 18)
    for seed in range(6):
        warp = HARD.draw(stream(seed), 1, patch).warp
        source = warp.source(patch, 2)
        volume = torch.randn(source, generator=torch.Generator().manual_seed(seed))
        at = positions(warp, patch, source).double().numpy()
        expected = ndimage.map_coordinates(volume.numpy(), at, order=1)
        np.testing.assert_allclose(sampled(volume, warp, patch, linear), expected, atol=1e-4)
        mask = (volume > 0.3).to(torch.uint8)
        share = ndimage.map_coordinates(mask.numpy().astype(float), at, order=1)
        decided = abs(share - 0.5) > 1e-4
        found = sampled(mask, warp, patch, "mask")
        assert found.dtype == torch.uint8
        assert (found.numpy() == (share > 0.5))[decided].all()


def test_masks_alike_with_and_without_looking_for_the_border():
    from strokelab.augment.interpolation import _exceeds_half

    bits = torch.arange(256, dtype=torch.uint8)
    fraction = torch.rand(3, 256, generator=torch.Generator().manual_seed(0))
    at = Positions(torch.arange(256, dtype=torch.int32), tuple(fraction), (1, 2, 4))
    assert torch.equal(linear_mask(bits, at), _exceeds_half(bits, tuple(fraction)))  # the second is a GPU's way


def test_corner_bits_by_hand():
    mask = torch.zeros(3, 3, 3, dtype=torch.uint8)
    mask[1, 1, 1] = 1
    bits = corner_bits(mask).view(3, 3, 3)
    for k, j, i in itertools.product((0, 1), repeat=3):
        assert bits[1 - k, 1 - j, 1 - i] == 1 << (4 * k + 2 * j + i)
    assert int((bits > 0).sum()) == 8


def test_cubic_is_exact_for_quadratics_and_its_own_voxels():
    patch, warp = (9, 8, 7), Warp(((0.9, 0.2, -0.1), (-0.2, 0.95, 0.1), (0.1, -0.1, 1.1)))
    source = warp.source(patch, 4)
    x, y, z = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in source), indexing="ij")
    quadratic = 0.1 * x * x - 0.2 * y * y + 0.05 * z * z + x * y - z
    at = positions(warp, patch, source)
    expected = 0.1 * at[0] ** 2 - 0.2 * at[1] ** 2 + 0.05 * at[2] ** 2 + at[0] * at[1] - at[2]
    torch.testing.assert_close(sampled(quadratic, warp, patch, cubic), expected, atol=1e-3, rtol=1e-4)
    noise = torch.randn(12, 12, 12)
    torch.testing.assert_close(sampled(noise, Warp(IDENTITY), (8, 8, 8), cubic), noise[2:10, 2:10, 2:10])
    weights = torch.stack(keys_weights(torch.linspace(0, 1, 11)))
    torch.testing.assert_close(weights.sum(0), torch.ones(11))


def test_chunks_make_no_difference(monkeypatch):
    warp = HARD.draw(stream(3), 1, (16, 12, 20)).warp
    source = warp.source((16, 12, 20), 2)
    whole = positions(warp, (16, 12, 20), source)
    monkeypatch.setattr("strokelab.augment.warp._CHUNK", 500)
    assert len(list(sampling_positions(warp, (16, 12, 20), source, CPU))) == 10
    assert torch.equal(positions(warp, (16, 12, 20), source), whole)


def test_axes_are_anatomical():
    turned = Warp(((0.0, -1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)))  # output +x is read at source +y
    volume = torch.zeros(9, 9, 9)
    volume[4, 7, 4] = 1
    assert sampled(volume, turned, (7, 7, 7), linear)[6, 3, 3] == 1


@pytest.mark.parametrize("sigma", [0.4, 1.5, 6.0])
def test_shift_is_as_large_and_as_smooth_as_drawn(sigma):
    elastic = Elastic((sigma, sigma, sigma), (0.5, 1.0, 2.0), seed=5)
    field = smooth_shift(elastic, (40, 36, 32), CPU)
    assert field.shape == (3, 32, 36, 40)
    assert field.abs().flatten(1).amax(1).tolist() == pytest.approx([0.5, 1.0, 2.0], rel=1e-5)
    assert torch.equal(field, smooth_shift(elastic, (40, 36, 32), CPU))
    other = smooth_shift(Elastic(elastic.sigma, elastic.shift, seed=6), (40, 36, 32), CPU)
    assert not torch.equal(field, other)


def test_shift_is_noise_smoothed_by_a_gaussian():
    """Its correlation at distance d is that of smoothed white noise, exp(-d^2 / (4 sigma^2)), at the border, too."""
    sigma, distance = 4.0, 6
    fields = torch.cat([smooth_shift(Elastic((sigma,) * 3, (1.0,) * 3, seed), (48,) * 3, CPU) for seed in range(12)])
    expected = np.exp(-(distance**2) / (4 * sigma**2))
    for axis in (1, 2, 3):
        first, second = fields.narrow(axis, 0, 48 - distance), fields.narrow(axis, distance, 48 - distance)
        found = (first * second).mean() / (first.square().mean() * second.square().mean()).sqrt()
        assert float(found) == pytest.approx(expected, abs=0.12)
    border, middle = fields[..., :4].square().mean(), fields[..., 22:26].square().mean()
    assert 0.6 < float(border / middle) < 1.6
