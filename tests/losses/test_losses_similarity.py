"""Structural similarity at several scales, against a plain program; the losses of U-Net 3+ and D-UNet at their ends."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from strokelab.errors import ConfigError
from strokelab.losses.compound import EnhancedMixingLoss
from strokelab.losses.cross_entropy import binary_cross_entropy
from strokelab.losses.similarity import OverlapSimilarityLoss, multiscale_similarity

WEIGHTS = [0.0448, 0.2856, 0.3001, 0.2363, 0.1333]


def by_hand(x: np.ndarray, y: np.ndarray) -> float:
    """MS-SSIM of two images, with a window as large as fits."""
    product = 1.0
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            x, y = (one.reshape(one.shape[0] // 2, 2, one.shape[1] // 2, 2).mean((1, 3)) for one in (x, y))
        side = min(11, *x.shape)
        line = np.exp(-((np.arange(side) - (side - 1) / 2) ** 2) / (2 * 1.5**2))
        window = np.outer(line, line) / line.sum() ** 2

        def mean(image, window=window):
            return convolve2d(image, window, mode="valid")

        mx, my = mean(x), mean(y)
        sx, sy, sxy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
        similar = (2 * sxy + 9e-4) / (sx + sy + 9e-4)
        if scale == 4:
            similar = similar * (2 * mx * my + 1e-4) / (mx**2 + my**2 + 1e-4)
        product *= max(similar.mean(), 1e-6) ** weight
    return product


def smooth(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    grid = np.stack(np.meshgrid(*(np.arange(side) for side in shape), indexing="ij"))
    return 0.5 + 0.5 * np.sin((grid * rng.uniform(0.1, 0.4, (2, 1, 1))).sum(0) + rng.uniform(0, 6))


@pytest.mark.parametrize("shape", [(48, 32), (16, 80)])
def test_it_is_what_a_plain_program_computes(shape):
    rng = np.random.default_rng(0)
    first = np.stack([smooth(rng, shape) for _ in range(4)])
    second = 0.7 * first + 0.3 * np.stack([smooth(rng, shape) for _ in range(4)])
    found = multiscale_similarity(*(torch.from_numpy(one).view(2, 2, *shape) for one in (first, second)))
    expected = [by_hand(x, y) for x, y in zip(first, second, strict=True)]
    assert min(expected) < 0.9
    np.testing.assert_allclose(found.flatten().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("shape", [(24, 28), (16, 16, 18)])
def test_equal_maps_and_flat_ones(shape):
    maps = torch.rand(2, 1, *shape, dtype=torch.float64)
    torch.testing.assert_close(multiscale_similarity(maps, maps), torch.ones(2, 1, dtype=torch.float64))
    low, high = torch.full_like(maps, 0.2), torch.full_like(maps, 0.6)
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    torch.testing.assert_close(
        multiscale_similarity(low, high), torch.full((2, 1), luminance**0.1333, dtype=torch.float64)
    )


def test_small_sides_are_an_error():
    with pytest.raises(ConfigError, match="at least 16"):
        multiscale_similarity(torch.zeros(1, 1, 15, 32), torch.zeros(1, 1, 15, 32))


def lesions(*shape: int) -> torch.Tensor:
    target = torch.zeros(shape)
    target[..., 4:12, 6:14] = 1
    return target


def test_the_loss_is_0_for_a_perfect_map_and_its_gradient_is_finite_for_the_worst():
    target = lesions(2, 1, 32, 32)
    assert OverlapSimilarityLoss()(40 * (target - 0.5), target).item() == pytest.approx(0, abs=1e-5)
    logits = (-40 * (target - 0.5)).requires_grad_()
    loss = OverlapSimilarityLoss()(logits, target)
    loss.backward()
    assert loss.item() == pytest.approx(20 + 1 + 1, abs=0.1)
    assert logits.grad.isfinite().all()


def test_unknown_maps_count_nowhere():
    logits = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    target = lesions(2, 2, 16, 16)
    known = torch.tensor([[True, False], [True, False]])
    loss = OverlapSimilarityLoss()
    assert loss(logits, target, known).item() == pytest.approx(loss(logits[:, :1], target[:, :1]).item(), abs=1e-6)


@pytest.mark.parametrize("loss", [OverlapSimilarityLoss(), EnhancedMixingLoss()])
def test_half_precision_logits_are_compared_in_float32(loss):
    logits = torch.randn(2, 1, 64, 64, generator=torch.Generator().manual_seed(1)).bfloat16()
    target = lesions(2, 1, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = loss(logits, target)
    assert half.dtype == torch.float32
    assert torch.equal(half, loss(logits.float(), target))


@pytest.mark.parametrize("loss", [OverlapSimilarityLoss(), EnhancedMixingLoss()])
def test_two_maps_are_an_error(loss):
    with pytest.raises(ConfigError, match="2 maps"):
        loss(torch.zeros(1, 2, 16, 16), torch.zeros(1, 1, 16, 16))


def test_the_mixing_loss_without_overlap_keeps_its_digits():
    """-ln of a Dice of one in a million, of which 1 minus it would leave one digit."""
    target = torch.zeros(1, 1, 1000, 1000)
    target[..., :500] = 1
    logits = 100 * (0.5 - target)
    dice = EnhancedMixingLoss()(logits, target) - EnhancedMixingLoss().focal(logits, target)
    assert dice.item() == pytest.approx(math.log(1_000_001), rel=1e-5)
    assert binary_cross_entropy(logits, target).isfinite()
