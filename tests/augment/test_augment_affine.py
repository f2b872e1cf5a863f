"""Slices turned, zoomed and shifted: known places, all maps alike, numbers within their ranges."""

import math

import numpy as np
import pytest
import torch

from strokelab.augment.recipes import Recipe
from strokelab.augment.spatial import Affine
from strokelab.errors import ConfigError
from strokelab.seeding import stream


def a_sample(side=6):
    image = torch.arange(2.0 * side * side).view(2, side, side)
    return {"image": image, "lesion": (image[:1] % 3 == 0).to(torch.uint8)}


def test_nothing_is_nothing():
    sample = a_sample()
    for name, moved in Affine().apply(sample, (0.0, 1.0, 1.0, 0.0, 0.0)).items():
        torch.testing.assert_close(moved, sample[name])


def test_a_shift_of_a_sixth_is_a_pixel_and_the_border_is_repeated():
    sample = a_sample()
    moved = Affine().apply(sample, (0.0, 1.0, 1.0, 1 / 6, 0.0))
    for name, value in sample.items():
        torch.testing.assert_close(moved[name], torch.cat([value[:, :, :1], value[:, :, :-1]], dim=2))


def test_a_right_angle_is_a_turn_of_the_array():
    sample = a_sample()
    moved = Affine().apply(sample, (math.pi / 2, 1.0, 1.0, 0.0, 0.0))
    for name, value in sample.items():
        torch.testing.assert_close(moved[name], torch.rot90(value, -1, (1, 2)), atol=1e-4, rtol=0)


def test_a_factor_of_two_doubles_an_object():
    image = torch.zeros(1, 8, 8)
    image[0, 3:5, 3:5] = 1
    lesion = image.to(torch.uint8)
    moved = Affine().apply({"image": image, "lesion": lesion}, (0.0, 2.0, 2.0, 0.0, 0.0))
    assert moved["lesion"].dtype == torch.uint8
    assert moved["lesion"][0, 2:6, 2:6].all()
    assert moved["lesion"].sum() == 16
    assert moved["image"].sum().item() == pytest.approx(16, abs=1e-4)


def test_numbers_fill_their_ranges():
    affine = Affine(rotation=20, zoom=0.2, shift=0.1)
    drawn = np.array([affine.draw(stream(0, index), (4, 8, 8)) for index in range(500)])
    half = np.array([math.radians(20), 0.2, 0.2, 0.1, 0.1])
    assert (abs(drawn - [0, 1, 1, 0, 0]) <= half).all()
    np.testing.assert_allclose(drawn.min(0), np.array([0, 1, 1, 0, 0]) - half, atol=0.05 * half.max())
    np.testing.assert_allclose(drawn.std(0), half / math.sqrt(3), rtol=0.1)


def test_who_turns_the_midline_says_so():
    assert Recipe([Affine(zoom=0.2)]).keeps_midline
    assert not Recipe([Affine(rotation=5)]).keeps_midline
    assert Recipe([torch.nn.Identity()]).keeps_midline


@pytest.mark.parametrize("settings", [{"rotation": -1}, {"zoom": 1.0}, {"shift": -0.1}])
def test_impossible_numbers(settings):
    with pytest.raises(ConfigError, match="Affine"):
        Affine(**settings)


def test_volumes_are_no_slices():
    with pytest.raises(ConfigError, match="slices"):
        Affine().draw(stream(0), (1, 4, 4, 4))
