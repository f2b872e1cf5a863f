"""The generator: a crop has the values of the whole, crops with lesion, looks, skull stripping, bad settings."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from strokelab.errors import ConfigError
from strokelab.seeding import stream
from strokelab.synthesis.appearance import Appearance, Look, Noise
from strokelab.synthesis.deformation import Deformation
from strokelab.synthesis.generator import Generator
from strokelab.synthesis.rendering import Content, ends, rendered
from strokelab.synthesis.skull_strip import SkullStrip, Strip

GRID = (48, 44, 40)
QUIET = Appearance(noise_p=0.0, deviation=(0, 0), resolution=(1, 6))


def a_head(shape, centre=(0, 0, 0), radius=13.0):
    """Four smooth tissues in shells, a brain, a lesion; all within ``radius`` voxels of a place near the centre."""
    places = [np.arange(side) - (side - 1) / 2 - shift for side, shift in zip(shape, centre, strict=True)]
    distance = np.sqrt(sum(place**2 for place in np.meshgrid(*places, indexing="ij")))
    shells = np.stack([np.clip(1 - abs(distance - at * radius) / (0.2 * radius), 0, 1) for at in (0.1, 0.3, 0.5, 0.7)])
    lesion = np.roll(distance, 3, axis=0) < 3
    tensors = (torch.from_numpy(array) for array in (shells.astype(np.float32), distance < 0.8 * radius, lesion))
    return tuple(tensors)


def whole_of(generator, plan, images):
    """The same sample on the whole grid, not flipped."""
    return generator.made(*images, replace(plan, size=generator.grid, crops=((0, 0, 0),), flips=(False,) * 3))


@pytest.mark.parametrize("seed", range(6))
def test_a_crop_has_the_values_of_the_whole_image(seed):
    """Bias, gamma, blur, thick slices and coarse voxels; the extremes of the whole lie within the crop."""
    images = a_head((30, 30, 30), radius=10)
    appearance = replace(QUIET, slice_p=seed % 2, percentiles=(0, 100))
    generator = Generator(
        grid=GRID, appearance=appearance, deformation=Deformation(translation=(0, 0)), strip=SkullStrip(p=0.0)
    )
    plan = generator.sampled(stream(seed), size=(40, 36, 36), channels=4)
    plan = replace(plan, crops=((4, 4, 2),), flips=(False, False, False))
    whole, crop = whole_of(generator, plan, images), generator.made(*images, plan)
    part = (slice(None), slice(4, 44), slice(4, 40), slice(2, 38))
    assert torch.allclose(crop.image, whole.image[part], atol=2e-4)
    assert torch.allclose(crop.target, whole.target[part], atol=1e-5)
    assert torch.equal(crop.brain, whole.brain[part])


@pytest.mark.parametrize("seed", range(4))
def test_margins_reach_as_far_as_blur_and_resolution(seed):
    """A crop through the middle of the head, grey values as they are: what is beyond it shines in."""
    images = a_head((40, 40, 40), radius=17)
    appearance = replace(QUIET, gamma_p=0.0, percentiles=None, slice_p=seed % 2)
    generator = Generator(grid=GRID, appearance=appearance, strip=SkullStrip(p=0.0))
    plan = generator.sampled(stream(seed), size=(16, 20, 18), channels=4)
    plan = replace(plan, crops=((5, 17, 11),), flips=(False, False, False))
    whole, crop = whole_of(generator, plan, images), generator.made(*images, plan)
    part = (slice(None), slice(5, 21), slice(17, 37), slice(11, 29))
    assert torch.allclose(crop.image, whole.image[part], atol=1e-2)  # of 255
    assert float(crop.image.std()) > 1


def test_maps_are_laid_on_the_grid_centre_on_centre():
    """The same anatomy padded or cropped, and a lesion at the border of its map, give the same sample."""
    maps, brain, lesion = a_head((30, 31, 32), radius=18)
    lesion = torch.zeros_like(lesion)
    lesion[0, 13:17, 12:16] = True
    generator = Generator(grid=GRID)
    plan = generator.sampled(stream(5), size=(40, 40, 40), channels=4)
    sample = generator.made(maps, brain, lesion, plan)
    for side in (44, 60):
        before = [(side - length) // 2 for length in lesion.shape]
        pads = [
            n for low, length in zip(before[::-1], lesion.shape[::-1], strict=True) for n in (low, side - length - low)
        ]
        padded = [torch.nn.functional.pad(volume, pads) for volume in (maps, brain, lesion)]
        again = generator.made(*padded, plan)
        if side == 44:  # on 48 x 44 x 40: padded by 2, by nothing, cropped by 2 each way
            assert torch.equal(again.lesion, sample.lesion)
        assert torch.allclose(again.target, sample.target, atol=1e-5)


def test_several_images_share_everything_but_their_looks():
    images = a_head((30, 30, 30))
    generator = Generator(grid=GRID)
    plan = pickle.loads(pickle.dumps(generator.sampled(stream(2), size=(32, 32, 32), images=3, channels=4)))
    sample = generator.made(*images, plan)
    assert sample.image.shape == (3, 32, 32, 32)
    alone = generator.made(*images, replace(plan, looks=plan.looks[:1]))
    assert torch.equal(alone.target, sample.target)
    assert float((sample.image[0] - sample.image[1]).abs().mean()) > 0.01
    assert float(sample.image.min()) >= 0
    assert float(sample.image.max()) <= 1


def test_a_crop_without_lesion_is_sampled_again():
    images = a_head((30, 30, 30))
    generator = Generator(grid=GRID, deformation_p=0.0, flip_p=0.0, strip=SkullStrip(p=0.0))
    plan = generator.sampled(stream(0), size=(12, 12, 12), channels=4)
    far, near = (0, 0, 0), (17, 15, 14)

    def voxels(*crops):
        return int(generator.made(*images, replace(plan, crops=crops)).lesion.sum())

    assert voxels(far) == 0
    assert voxels(far, near) == voxels(near) > 10
    assert voxels(near, far) == voxels(near)
    assert voxels(far, far) == 0
    # Each further crop comes with probability a half.
    lengths = [len(generator.sampled(stream(i), size=(12, 12, 12), channels=4).crops) for i in range(400)]
    assert abs(np.mean(lengths) - 2) < 0.3


def test_nothing_to_see_is_zero():
    empty = torch.zeros(20, 20, 20)
    generator = Generator(grid=GRID)
    for noise in (0.0, 1.0):
        each = replace(generator, appearance=replace(generator.appearance, noise_p=noise), strip=SkullStrip(p=1.0))
        plan = each.sampled(stream(1), size=(32, 32, 32), channels=4)
        sample = each.made(torch.zeros(4, 20, 20, 20), empty, empty, plan)
        assert not bool(sample.image.any())
        assert bool((sample.target[0] == 1).all())


def look(**changes):
    """A look without anything."""
    still = {"bias": None, "gamma": None, "blur": 0.0, "factors": (1.0,) * 3, "thickness": (0.0,) * 3, "noise": None}
    return Look(**{"means": np.zeros(1), "deviations": np.zeros(1), "smoothing": 0.0, "seed": 7, **still, **changes})


def picture(settings, of, *, value=1.0, side=40):
    """One channel that fills the whole grid."""
    box = ((0, side),) * 3
    voxels = torch.arange(side**3)
    at = torch.stack([voxels // side**2, voxels // side % side, voxels % side]).int()
    content = Content(box, voxels, at, torch.full((1, side**3), value))
    return rendered(settings, of, content, of.axes((side,) * 3, box), (side,) * 3)


@pytest.mark.parametrize(("fwhm", "kept"), [(0.0, 1.0), (1.0, 0.71), (2.0, 0.20)])
def test_smoothing_takes_deviation_from_the_mixture(fwhm, kept):
    of = look(means=np.array([100.0]), deviations=np.array([10.0]), smoothing=fwhm)
    image = picture(Appearance(percentiles=None), of, side=64)
    assert abs(float(image.std()) / 10 - kept) < 0.015
    assert abs(float(image.mean()) - 100) < 0.2


def test_noise_has_the_deviation_that_was_sampled():
    """Of a dark image: chi-distributed, 8 degrees of freedom, scaled so that its standard deviation is the share."""
    side = 40
    half = torch.ones(side**3)
    half[: side**3 // 2] = 0  # one half 0, the other 1: the 1-99 % range is 1
    box, voxels = ((0, side),) * 3, torch.arange(side**3)
    at = torch.stack([voxels // side**2, voxels // side % side, voxels % side]).int()
    of = look(means=np.array([1.0]), noise=Noise(0.05, np.ones((2, 2, 2))))
    axes = of.axes((side,) * 3, box)
    image = rendered(Appearance(percentiles=None), of, Content(box, voxels, at, half[None]), axes, (side,) * 3)
    dark = image[: side // 2 - 1]
    assert abs(float(dark.std()) - 0.05) < 0.002
    assert (
        abs(float(dark.mean()) / 0.05 - 2.7386 / 0.7071 * 1.0) < 0.2
    )  # the chi distribution's mean over its deviation


def test_percentiles_count_what_is_beyond_the_crop_as_background():
    values = torch.arange(1000.0)[torch.randperm(1000)]
    assert ends(values, (1, 99), 1000) == (10, 989)
    assert ends(values, (1, 99), 4000) == (10, 959)
    assert ends(torch.ones(50), (1, 99), 50) == (1, 1)
    everything = torch.rand(30011)
    expected = np.sort(everything.numpy())
    assert ends(everything, (1, 99), 30011) == (expected[300], expected[29710])


@pytest.mark.parametrize("seed", range(3))
def test_a_strip_is_the_authors_rounds(seed):
    """Largest component; three times two voxels of dilation and filled holes; further dilation; erosion."""
    random = np.random.default_rng(seed)
    brain = ndimage.gaussian_filter(random.standard_normal((26, 24, 22)), 2) > 0.06
    labels, _ = ndimage.label(brain)
    mask = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    for _ in range(2):
        mask = ndimage.binary_fill_holes(ndimage.binary_dilation(mask, iterations=1))
    mask = ndimage.binary_dilation(mask, iterations=1)
    expected = ndimage.binary_erosion(mask, iterations=2, border_value=1)
    found = SkullStrip(rounds=2, step=1).mask(torch.from_numpy(brain), Strip(dilate=1, erode=2))
    assert np.array_equal(found.numpy(), expected)


def test_outside_a_strip_there_is_background_alone():
    images = a_head((30, 30, 30))
    generator = Generator(grid=GRID, strip=SkullStrip(p=1.0, rounds=0, erode_p=1.0, erode=(2, 2)), flip_p=0.0)
    plan = generator.sampled(stream(3), size=(40, 40, 40), channels=4)
    sample = generator.made(*images, plan)
    kept = generator.strip.mask(sample.brain[0] > 0, plan.strip)
    assert 0 < int(kept.sum()) < int(sample.brain.sum())
    assert not bool(sample.image[0][~kept].any())
    assert bool((sample.target[0][~kept] == 1).all())


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda: Generator(grid=(256, 256)), "grid"),
        (lambda: Generator(grid=(32, 32, 32)).sampled(stream(0), size=(40, 32, 32), channels=4), "size"),
        (lambda: Generator(again_p=1.0), "again_p"),
        (lambda: Appearance(mean=(5, 2)), "mean"),
        (lambda: Appearance(resolution=(0.5, 8)), "resolution"),
        (lambda: SkullStrip(p=1.5), "p"),
    ],
)
def test_settings_are_checked(build, named):
    with pytest.raises(ConfigError, match=named):
        build()
