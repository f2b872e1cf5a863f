"""MAPPING (Huo 2022), section 12 of its spec, point 7: windows and Gaussian, on the grid of ATLAS."""

import math

import numpy as np
import pytest
import torch

from strokelab.inference.windows import PatchWindows, gaussian_profile, window_starts

ATLAS, PATCH = (197, 233, 189), (128, 128, 128)


def test_18_windows_half_a_window_apart_and_evenly_spread():
    starts = [window_starts(size, side) for size, side in zip(ATLAS, PATCH, strict=True)]
    assert starts == [(0, 34, 69), (0, 52, 105), (0, 61)]
    assert math.prod(map(len, starts)) == 18


def test_the_gaussian_has_an_sd_of_an_eighth_and_its_peak_at_index_64():
    profile = gaussian_profile(128, 0.125)
    assert (profile.argmax(), profile.max()) == (64, 1)
    assert [profile[64 - 16], profile[64 + 16]] == pytest.approx([0.60653] * 2, abs=5e-6)
    assert [profile[0], profile[127]] == pytest.approx([0.00033546, 0.00042990], abs=5e-9)


def test_a_constant_comes_out_constant_at_full_size():
    image = np.zeros((1, *ATLAS), np.float32)
    seen = []

    def constant(part, brain):
        seen.append(part.shape)
        return torch.full((len(part), 1, *part.shape[2:]), 0.3)

    scores = PatchWindows(PATCH, mirror="none", batch_size=4)(image, constant, np.ones(ATLAS, bool))
    assert [shape[0] for shape in seen] == [4, 4, 4, 4, 2]
    assert scores.shape == (1, *ATLAS)
    assert (scores - 0.3).abs().max() < 1e-6


def test_the_mirrored_mean_is_that_of_all_8_combinations():
    image = np.random.default_rng(0).standard_normal((1, 4, 6, 8)).astype(np.float32)
    ramp = torch.arange(4 * 6 * 8.0).reshape(4, 6, 8)
    flips = [[a for a, on in zip((-3, -2, -1), f"{turn:03b}", strict=True) if on == "1"] for turn in range(8)]
    expected = torch.stack([ramp.flip(flip) for flip in flips]).mean(0) + torch.from_numpy(image)
    scores = PatchWindows((4, 6, 8))(image, lambda part, brain: part + ramp, np.ones((4, 6, 8), bool))
    assert torch.allclose(scores, expected, atol=1e-4)
