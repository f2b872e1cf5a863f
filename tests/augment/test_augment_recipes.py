"""Recipes: drawn per sample from its own stream, applied to image and masks as one, foreign transforms included."""

import random

import numpy as np
import pytest
import torch
import torchio

from strokelab.augment.intensity import Contrast, Gamma, Noise, add_noise, adjust_contrast, adjust_gamma
from strokelab.augment.recipes import Foreign, Recipe
from strokelab.augment.spatial import Flip, flip
from strokelab.errors import ConfigError
from strokelab.seeding import stream


def a_batch(size=3, channels=2, space=(6, 5)):
    image = torch.randn(size, channels, *space, generator=torch.Generator().manual_seed(0))
    lesion = (image[:, :1] > 0.5).to(torch.uint8)
    return {"image": image, "lesion": lesion, "brain": 1 - lesion, "case_id": [str(i) for i in range(size)]}


def streams(size=3, epoch=0):
    return [stream(1, "augment", epoch, index) for index in range(size)]


def copy(batch):
    return {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in batch.items()}


def done(augmentation, batch, its_streams):
    """Both phases, as the dataset calls them."""
    channels, space = batch["image"].shape[1], tuple(batch["image"].shape[2:])
    patch = space if len(space) == 3 else (*space[::-1], 1)
    return augmentation.apply(batch, [augmentation.draw(one, channels, patch) for one in its_streams])


def same(one, other):
    return all(torch.equal(one[key], other[key]) for key in ("image", "lesion", "brain"))


FULL = Recipe([Flip(("x", "y")), Gamma(p=1), Contrast(p=0.5), Noise(p=0.5), torchio.RandomNoise(std=(0.1, 0.2))])


def test_a_sample_depends_on_its_stream_alone():
    batch = a_batch()
    whole = done(FULL, copy(batch), streams())
    again = done(FULL, copy(batch), streams())
    assert same(whole, again)
    for index in range(3):
        alone = {key: value[index : index + 1] for key, value in copy(batch).items()}
        out = done(FULL, alone, streams()[index : index + 1])
        assert torch.equal(out["image"][0], whole["image"][index])
    assert not same(whole, done(FULL, copy(batch), streams(epoch=1)))


def test_masks_move_with_the_image():
    moving = Recipe([Flip(("x", "y")), torchio.RandomAffine(default_pad_value=-9, image_interpolation="nearest")])
    changed = 0
    for epoch in range(6):
        batch = a_batch(space=(16, 12))
        out = done(moving, copy(batch), streams(epoch=epoch))
        inside = out["image"][:, :1] > -9
        assert torch.equal(out["lesion"][inside] == 1, out["image"][:, :1][inside] > 0.5)
        assert torch.equal(out["brain"][inside] == 0, out["image"][:, :1][inside] > 0.5)
        changed += not same(batch, out)
    assert changed == 6


def test_flip_axes_are_anatomical():
    plane = {"image": torch.arange(6.0).reshape(1, 2, 3)}  # (C, Y, X)
    assert flip(plane, ["x"])["image"].tolist() == [[[2, 1, 0], [5, 4, 3]]]
    assert flip(plane, ["y"])["image"].tolist() == [[[3, 4, 5], [0, 1, 2]]]
    volume = {"image": torch.arange(8.0).reshape(1, 2, 2, 2)}  # (C, X, Y, Z)
    assert flip(volume, ["x"])["image"].flatten().tolist() == [4, 5, 6, 7, 0, 1, 2, 3]
    assert flip(volume, ["z"])["image"].flatten().tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    with pytest.raises(ConfigError, match=r"\['z'\]"):
        Flip(("z",)).draw(stream(0), (1, 4, 4))


def test_flip_probability():
    drawn = [Flip(("x", "y"), p=0.25).draw(stream(0, i), (1, 4, 4)) or () for i in range(2000)]
    for axis in "xy":
        assert sum(axis in axes for axes in drawn) / 2000 == pytest.approx(0.25, abs=0.05)


def test_gamma_by_hand():
    image = torch.tensor([[[0.0, 1.0, 2.0, 4.0]]])
    expected = torch.tensor([[[0.0, 0.25, 1.0, 4.0]]])  # ((x / 4) ** 2) * 4
    torch.testing.assert_close(adjust_gamma(image, [2.0], keep_moments=False), expected)
    kept = adjust_gamma(image, [2.0])
    assert kept.mean().item() == pytest.approx(image.mean().item(), abs=1e-6)
    assert kept.std(correction=0).item() == pytest.approx(image.std(correction=0).item(), abs=1e-5)
    assert torch.equal(kept.flatten().argsort(), image.flatten().argsort())
    flat = torch.full((1, 2, 2), 3.0)
    torch.testing.assert_close(adjust_gamma(flat, [0.7]), flat)


def test_contrast_by_hand():
    image = torch.tensor([[[0.0, 1.0, 2.0, 5.0]], [[0.0, 1.0, 2.0, 5.0]]])  # mean 2
    expected = torch.tensor([[[0.0, 0.0, 2.0, 5.0]], [[1.0, 1.5, 2.0, 3.5]]])
    torch.testing.assert_close(adjust_contrast(image, [2.0, 0.5]), expected)


def test_noise_is_its_seed():
    image = torch.zeros(1, 50, 50)
    noisy = add_noise(image, 0.5, seed=3)
    assert torch.equal(noisy, add_noise(image, 0.5, seed=3))
    assert not torch.equal(noisy, add_noise(image, 0.5, seed=4))
    assert noisy.std().item() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize("transform", [Gamma(p=0.3), Contrast(p=0.3), Noise(p=0.3)])
def test_shares_and_ranges(transform):
    drawn = [transform.draw(stream(0, i), (2, 4, 4)) for i in range(2000)]
    assert sum(value is not None for value in drawn) / 2000 == pytest.approx(0.3, abs=0.05)
    if not isinstance(transform, Noise):
        values = np.array([value for value in drawn if value is not None])
        assert values.min() >= transform.low
        assert values.max() <= transform.high
        assert (values < 1).mean() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("space", [(8, 6), (8, 7, 6)])
def test_torchio_in_a_recipe(space):
    batch = a_batch(space=space)
    out = done(Recipe([torchio.RandomFlip(axes="LR", flip_probability=1)]), copy(batch), streams())
    left_right = -1 if len(space) == 2 else 2
    for key in ("image", "lesion", "brain"):
        assert torch.equal(out[key], batch[key].flip(left_right))
        assert out[key].dtype == batch[key].dtype


def test_dictionary_transforms():
    class Brighter:
        keys = ("image",)

        def __call__(self, sample):
            return {"image": sample["image"] + self.random.random()}

        def set_random_state(self, seed):
            self.random = np.random.RandomState(seed)

    batch = a_batch()
    out = done(Recipe([Brighter()]), copy(batch), streams())
    assert torch.equal(out["lesion"], batch["lesion"])
    steps = (out["image"] - batch["image"]).flatten(1).mean(1)
    assert len({round(step, 4) for step in steps.tolist()}) == 3
    assert same(out, done(Recipe([Brighter()]), copy(batch), streams()))


def test_plain_callables_get_the_image():
    batch = a_batch()
    out = done(Recipe([Foreign(lambda image: image.double() * torch.rand(1), p=0.5)]), copy(batch), streams(3))
    assert out["image"].dtype == torch.float32
    assert torch.equal(out["lesion"], batch["lesion"])


def test_the_rest_of_the_program_keeps_its_random_numbers():
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    done(
        Recipe([torchio.RandomNoise(), lambda image: image * random.random() + np.random.rand()]), a_batch(), streams()
    )
    after = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    assert after == (torch.rand(1).item(), np.random.rand(), random.random())


def test_a_changed_shape_is_refused():
    with pytest.raises(ConfigError, match=r"torchio.*CropOrPad"):
        done(Recipe([torchio.CropOrPad((3, 3, 1))]), a_batch(), streams())


def test_what_is_no_transform_is_refused():
    with pytest.raises(ConfigError, match="_target_"):
        Recipe([{"p": 0.5}])
