"""SynthStroke, section 15, points 2 to 7 and 11, and the numbers of sections 3 and 4."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from strokelab.seeding import stream
from strokelab.synthesis.appearance import Appearance
from strokelab.synthesis.fields import legendre_sum, legendre_terms
from strokelab.synthesis.generator import Generator
from strokelab.synthesis.lesion_paste import LesionPaste
from strokelab.synthesis.skull_strip import SkullStrip

GRID = (40, 36, 32)
PLAIN = Appearance(
    **dict.fromkeys(("bias_p", "gamma_p", "blur_p", "resolution_p", "noise_p"), 0.0), deviation=(0, 0), percentiles=None
)
STILL = {"deformation_p": 0.0, "flip_p": 0.0, "strip": SkullStrip(p=0.0), "grid": GRID}


def a_head(shape=GRID, *, hard=False, seed=0):
    """Four tissues in rings (fractional at their borders unless hard), the brain, and a ball of a lesion."""
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, side) for side in shape], indexing="ij"))
    radius = np.sqrt((places**2).sum(0))
    edges = [0, 0.3, 0.45, 0.6, 0.72]
    rings = [np.clip((radius - low) * 12, 0, 1) * np.clip((high - radius) * 12, 0, 1) for low, high in pairwise(edges)]
    rings = [(radius >= low) & (radius < high) for low, high in pairwise(edges)] if hard else rings
    maps = torch.from_numpy(np.stack(rings).astype(np.float32))
    maps /= maps.sum(0).clamp_min(1)
    lesion = ((places - np.array([0.2, 0.1, -0.1]).reshape(3, 1, 1, 1)) ** 2).sum(0) < 0.2**2
    return maps, torch.from_numpy((radius < 0.72).astype(np.uint8)), torch.from_numpy(lesion.astype(np.uint8))


def edge_of(mask):
    """The opacity of a mask that fills its box, without fading."""
    side = mask.shape[0]
    return LesionPaste(fade="none").opacity(mask, None, (side,) * 3, ((0, side),) * 3)


# Point 2


def test_the_soft_edge_of_a_half_space():
    mask = torch.zeros(16, 16, 16)
    mask[:8] = 1
    along = edge_of(mask)[6:12, 8, 8]
    assert torch.allclose(along, torch.tensor([1, 1, 13 / 15, 8 / 15, 0, 0]), atol=1e-4)


def test_the_soft_edge_of_a_lone_voxel():
    mask = torch.zeros(11, 11, 11)
    mask[5, 5, 5] = 1
    weight = edge_of(mask)
    assert [int((weight > level).sum()) for level in (0, 0.2, 0.5)] == [125, 81, 25]
    assert torch.allclose(weight[5, 5, 5:8], torch.tensor([1, 13 / 15, 8 / 15]), atol=1e-4)


def test_rings_keep_a_core_and_fade_by_alpha():
    mask = torch.zeros(15, 15, 15)
    mask[5:10, 5:10, 5:10] = 1
    weight = LesionPaste(fade="none", soft_edge="rings").opacity(mask, None, (15,) * 3, ((0, 15),) * 3)
    assert torch.allclose(weight[7, 7, 7:13], torch.tensor([1, 1, 0.9, 0.81, 0, 0]))


def test_the_legendre_field_leaves_most_of_the_grid_untouched():
    """84 % untouched, 13 % in 0.2..1, 3 % below 0.2; dark bands lie in nearly the same place each time (0.72)."""
    grid, terms = (48, 48, 48), len(legendre_terms(7))
    assert terms == 120
    box = tuple((0, side) for side in grid)
    fields = [
        legendre_sum(stream(seed).uniform(2, 3, terms), 7, grid, box).clamp(max=0).exp().flatten() for seed in range(12)
    ]
    every = torch.stack(fields)
    shares = [(every >= 1), (every >= 0.2) & (every < 1), every < 0.2]
    assert np.allclose([float(share.double().mean()) for share in shares], [0.84, 0.13, 0.03], atol=0.02)
    correlations = np.corrcoef(every.numpy())[np.triu_indices(12, 1)]
    assert abs(correlations.mean() - 0.72) < 0.1


# Points 3 and 4


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    fade=st.sampled_from(["legendre", "spline", "none"]),
    edge=st.sampled_from(["soft_cp", "rings", "none"]),
)
def test_a_target_is_a_share_of_everything(seed, fade, edge):
    """Channels within 0..1 that sum to 1, for any maps and lesion, before and after warping and skull stripping."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(9, 26, 3))
    maps = torch.from_numpy(random.dirichlet(np.full(6, 0.3), shape).astype(np.float32)).permute(3, 0, 1, 2)[:5]
    brain, lesion = (torch.from_numpy(random.random(shape) < share) for share in (0.9, 0.02))
    generator = Generator(grid=(24, 20, 22), paste=LesionPaste(fade=fade, soft_edge=edge), strip=SkullStrip(p=0.5))
    still = replace(generator, deformation_p=0.0, strip=SkullStrip(p=0.0))
    for each in (generator, still):
        plan = each.sampled(stream(seed), size=(20, 16, 20), channels=5)
        target = each.made(maps, brain, lesion, plan).target
        assert target.shape == (6, 20, 16, 20)
        assert float(target.min()) >= 0
        assert float((target.sum(0) - 1).abs().max()) <= 1e-5
    assert set(target[-1].unique().tolist()) <= {0.0, 1.0}  # binary before warping


def test_without_fading_the_target_holds_the_whole_mask():
    maps, brain, lesion = a_head()
    for edge in ("soft_cp", "rings", "none"):
        generator = Generator(**STILL, paste=LesionPaste(fade="none", soft_edge=edge), appearance=PLAIN)
        plan = generator.sampled(stream(1), size=GRID, channels=4)
        assert bool(generator.made(maps, brain, lesion, plan).lesion[0][lesion > 0].all())


@pytest.mark.parametrize("fade", ["legendre", "spline"])
def test_fading_only_thins_a_lesion_out(fade):
    box = tuple((0, side) for side in GRID)
    _, _, lesion = a_head()
    solid = LesionPaste(fade="none").opacity(lesion, None, GRID, box)
    paste = LesionPaste(fade=fade)
    thinned = 0
    for seed in range(8):
        faded = paste.opacity(lesion, paste.sampled(stream(seed)), GRID, box)
        assert bool((faded <= solid + 1e-6).all())
        thinned += bool((faded < solid - 0.05).any())
    assert thinned >= 1


# Point 5


@pytest.mark.parametrize("hard", [False, True])
def test_without_corruptions_the_image_is_the_sum_of_means(hard):
    maps, brain, lesion = a_head(hard=hard)
    generator = Generator(**STILL, appearance=PLAIN)
    plan = generator.sampled(stream(3), size=GRID, channels=4)
    image = generator.made(maps, brain, lesion * 0, plan).image[0]
    means = torch.from_numpy(plan.looks[0].means).float()
    assert torch.allclose(image, torch.einsum("c,cxyz->xyz", means[:4], maps), atol=1e-3)
    if hard:
        assert len(image.unique()) == 5  # four tissues and background


# Point 6


def test_five_hundred_plans_fill_their_ranges():
    generator = Generator()
    plans = [generator.sampled(stream(seed, "plan"), size=(192,) * 3, channels=4) for seed in range(500)]
    looks = [plan.looks[0] for plan in plans]
    for values, top in (
        (np.stack([look.means for look in looks]), 255),
        (np.stack([look.deviations for look in looks]), 16),
    ):
        for channel in values.T:
            assert stats.kstest(channel, "uniform", (0, top)).pvalue > 0.001
    ranges = {"smoothing": (0, 2), "blur": (0, 3)}
    for name, (low, high) in ranges.items():
        assert stats.kstest([getattr(look, name) for look in looks], "uniform", (low, high)).pvalue > 0.001
    assert stats.kstest(np.log([look.gamma for look in looks]), "norm", (0, 0.6)).pvalue > 0.001
    sliced = [look for look in looks if min(look.factors) == 1]
    assert abs(len(sliced) / 500 - 0.5) < 0.07
    shares = [max(look.thickness) / max(look.factors) for look in sliced]
    assert stats.kstest(shares, "uniform", (0.1, 0.9)).pvalue > 0.001
    assert abs(np.mean([plan.strip is not None for plan in plans]) - 0.3) < 0.07
    assert np.abs(np.mean([plan.flips for plan in plans], 0) - 0.449).max() < 0.07
    assert {len(np.unique(np.asarray(plan.crops)[0])) for plan in plans} <= {1, 2, 3}
    corners = np.array([plan.crops[0] for plan in plans])
    assert (corners.min(), corners.max()) == (0, 64)


def test_a_batch_has_the_class_means_and_the_lesions_it_was_given():
    """500 small samples: each class' mean grey value is what was sampled, lesions keep their share of the grid."""
    grid = (22, 20, 20)
    maps, brain, lesion = a_head(grid, hard=True)
    appearance = replace(PLAIN, deviation=(0, 16))
    generator = Generator(grid=grid, paste=LesionPaste(fade="none", soft_edge="none"), appearance=appearance)
    found, share, stripped = [], [], 0
    for seed in range(500):
        plan = generator.sampled(stream(seed, "batch"), size=(18, 18, 18), channels=4)
        sample = generator.made(maps, brain, lesion, plan)
        share.append(float(sample.target[-1].sum()))
        stripped += plan.strip is not None
        pure = sample.target[1] > 0.999
        if int(pure.sum()) >= 12:
            found.append((float(sample.image[0][pure].mean()), plan.looks[0].means[0], plan.looks[0].deviations[0]))
    means, expected, deviations = np.array(found).T
    assert len(means) > 450
    assert np.abs(means - expected).max() < 1.5 * deviations.max()
    assert stats.kstest(means, "uniform", (0, 255)).pvalue > 0.001
    # Zooms of 0.85..1.15 on coordinates keep the volume on average (E[1/z]^3 = 1.02); a crop may cut some of it off.
    assert 0.8 < np.mean(share) / float(lesion.sum()) < 1.1
    assert abs(stripped / 500 - 0.3) < 0.07


# Point 7


def test_image_and_target_are_warped_by_one_field():
    _, brain, lesion = a_head()
    paste = LesionPaste(fade="none", soft_edge="none")
    generator = Generator(grid=GRID, paste=paste, appearance=PLAIN, strip=SkullStrip(p=0.0))
    for seed in range(5):
        plan = generator.sampled(stream(seed), size=(32, 32, 28), channels=4)
        sample = generator.made(torch.zeros(4, *GRID), brain, lesion, plan)
        grey = sample.image[0] / float(plan.looks[0].means[-1])
        assert float(sample.target[-1].max()) > 0.5
        assert torch.allclose(grey, sample.target[-1], atol=1e-5)


# Point 11


def test_the_same_seed_is_the_same_sample_bit_for_bit():
    maps, brain, lesion = a_head()
    generator = Generator(grid=GRID)

    def sample(seed):
        plan = generator.sampled(stream(seed, "sample"), size=(32, 32, 32), images=2, channels=4)
        return generator.made(maps, brain, lesion, plan)

    first, again, other = sample(1), sample(1), sample(2)
    for name in ("image", "target", "lesion", "brain"):
        assert torch.equal(getattr(first, name), getattr(again, name))
    assert not torch.equal(first.image, other.image)
    assert not torch.equal(first.image[0], first.image[1])  # one anatomy, two looks
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if threads > 1 else 2)
        assert torch.equal(first.image, sample(1).image)
    finally:
        torch.set_num_threads(threads)
