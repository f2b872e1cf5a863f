"""Whole volumes through stub predictors: what is asked, in which order, and where the answers land."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError
from strokelab.inference.slices import SliceWindows
from strokelab.sampling.slices import Slices

SHAPE = (6, 5, 9)  # X, Y, Z all different, so that a swapped axis cannot pass


@pytest.fixture
def image():
    return np.random.default_rng(0).normal(size=(2, *SHAPE)).astype(np.float32)


def identity(images, brains):
    return images


def test_every_voxel_comes_back_to_its_place(image):
    scores = SliceWindows(batch_size=4, min_brain_pixels=1)(image, identity, np.ones(SHAPE, bool))
    assert scores.dtype == torch.float32
    np.testing.assert_array_equal(scores.numpy(), image)


def test_mirrored_predictions_are_turned_back_and_averaged(image):
    """Of a predictor that knows left from right and front from back, the mean over both, or over left and right."""
    brain, ramp = np.ones(SHAPE, bool), torch.arange(5.0)[:, None] * 10 + torch.arange(6.0)
    seen = []

    def look(images, brains):
        seen.append(images)
        return images * ramp

    scores = SliceWindows(batch_size=9, min_brain_pixels=1, mirror="xy")(image, look, brain)
    assert len(seen) == 4
    np.testing.assert_allclose(scores.numpy(), image * float(ramp.mean()), rtol=1e-5)
    scores = SliceWindows(min_brain_pixels=1, mirror="x")(image, look, brain)
    rows = ramp.mean(dim=1).numpy()  # of a row, the mean over its columns
    np.testing.assert_allclose(scores.numpy(), image * rows[None, None, :, None], rtol=1e-5)
    np.testing.assert_array_equal(seen[-1], seen[-2].flip(-1))
    with pytest.raises(ConfigError, match=r"view\.windows\.mirror"):
        SliceWindows(mirror="xyz")


def test_slices_are_rows_by_columns_with_their_brain(image):
    brain = np.random.default_rng(1).random(SHAPE) > 0.2
    seen = []

    def look(images, brains):
        assert images.shape[1:] == (2, 5, 6)
        assert images.is_contiguous()
        assert brains.dtype == torch.uint8
        assert brains.shape == (len(images), 1, 5, 6)
        seen.append((images, brains))
        return images[:, :1]

    SliceWindows(batch_size=4, min_brain_pixels=1)(image, look, brain)
    assert [len(images) for images, _ in seen] == [4, 4, 1]
    np.testing.assert_array_equal(seen[1][0][2, 1].numpy(), image[1, :, :, 6].T)
    np.testing.assert_array_equal(seen[1][1][2, 0].numpy(), brain[:, :, 6].T)


def test_slices_with_little_brain_are_never_shown_and_score_zero(image):
    brain = np.zeros(SHAPE, bool)
    brain[:2, :2, 3] = True  # 4 pixels: enough
    brain[:3, 0, 7] = True  # 3 pixels: too few
    shown = []

    def ones(images, brains):
        shown.append(len(images))
        return torch.ones(len(images), 1, 5, 6)

    scores = SliceWindows(min_brain_pixels=4)(image, ones, brain)
    assert shown == [1]
    assert scores.shape == (1, *SHAPE)
    assert scores.sum() == 30
    assert (scores[..., 3] == 1).all()


@pytest.mark.parametrize("least", [0, 64])
def test_volume_without_brain_gives_zeros_of_the_right_number_of_classes(image, least):
    def divides_by_brain(images, brains):
        return torch.full((len(images), 3, 5, 6), float("nan"))

    scores = SliceWindows(min_brain_pixels=least)(image, divides_by_brain, np.zeros(SHAPE, bool))
    assert scores.shape == (3, *SHAPE)
    assert not scores.any()


@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 12), least=st.integers(0, 31), seed=st.integers(0, 5))
def test_batch_size_does_not_change_the_result(batch, least, seed):
    random = np.random.default_rng(seed)
    image = random.normal(size=(1, *SHAPE)).astype(np.float32)
    brain = random.random(SHAPE) > random.random(SHAPE[2])

    def per_slice(images, brains):  # depends on the whole slice, and on no other
        return (images - images.mean((2, 3), keepdim=True)) * brains

    whole = SliceWindows(batch_size=100, min_brain_pixels=least)(image, per_slice, brain)
    assert torch.equal(whole, SliceWindows(batch_size=batch, min_brain_pixels=least)(image, per_slice, brain))


def test_tensors_memory_maps_and_arrays_agree_and_no_gradient_is_kept(image, tmp_path):
    brain = np.ones(SHAPE, bool)
    np.save(tmp_path / "image.npy", image)
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    weight = torch.nn.Parameter(torch.tensor(2.0))
    results = [
        SliceWindows(min_brain_pixels=30)(source, lambda images, _: images * weight, theirs)
        for source, theirs in [(image, brain), (mapped, brain), (torch.from_numpy(image), torch.from_numpy(brain))]
    ]
    assert not results[0].requires_grad
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
    np.testing.assert_array_equal(image * 2, results[0].numpy())


def test_half_precision_scores_come_out_as_float32(image):
    scores = SliceWindows(min_brain_pixels=1)(image, lambda images, _: images.bfloat16(), np.ones(SHAPE, bool))
    assert scores.dtype == torch.float32


def test_wrong_settings_and_shapes_are_refused(image):
    with pytest.raises(ConfigError, match="batch_size"):
        SliceWindows(batch_size=0)
    with pytest.raises(ConfigError, match="min_brain_pixels"):
        SliceWindows(min_brain_pixels=-1)
    with pytest.raises(ValueError, match=r"\(X, Y, Z\)"):
        SliceWindows()(image, identity, np.ones((5, 6, 9), bool))


def test_a_slab_is_the_slices_around_each_of_them_channel_by_channel(image):
    """What training gives of slice 0, 4 and 8 of nine is tested with the samples; 0 beyond the volume in both."""
    seen = []

    def own(images, brains):
        assert images.is_contiguous()
        seen.append(images)
        return images[:, [2, 6]]  # the slice itself, of both channels

    windows = SliceWindows(batch_size=4, min_brain_pixels=1, slices=4, target=2)
    scores = windows(image, own, np.ones(SHAPE, bool))
    np.testing.assert_array_equal(scores.numpy(), image)
    slabs = torch.cat(seen)
    assert slabs.shape == (9, 8, 5, 6)
    padded = np.pad(image, ((0, 0), (0, 0), (0, 0), (2, 1)))
    for z in range(9):
        expected = padded[:, :, :, z : z + 4].transpose(0, 3, 2, 1).reshape(8, 5, 6)
        np.testing.assert_array_equal(slabs[z].numpy(), expected)


def test_a_volume_without_brain_shows_one_blank_slab(image):
    shown = []

    def look(images, brains):
        shown.append(images)
        return images[:, :1]

    scores = SliceWindows(slices=4, target=2)(image, look, np.zeros(SHAPE, bool))
    assert [tuple(images.shape) for images in shown] == [(1, 8, 5, 6)]
    assert scores.shape == (1, *SHAPE)
    assert not scores.any()


def test_training_must_give_the_slabs_that_are_predicted():
    windows = SliceWindows(slices=4, target=2)
    windows.check_samples(Slices(slices=4, target=2))
    for sampler, name in ((Slices(), "slices"), (Slices(slices=4, target=1), "target")):
        with pytest.raises(ConfigError, match=rf"view\.windows\.{name}"):
            windows.check_samples(sampler)
