"""SynthStroke's changes of real samples: steps by hand, what is outside, the same bits."""

import pickle
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from contract_checks import check_batch
from omegaconf import OmegaConf
from scipy import ndimage

from strokelab.augment.synthstroke import RealPlan, SynthStrokeAugment
from strokelab.augment.value_maps import bias_, bias_terms, histogram_shift_, zscore_
from strokelab.augment.warp import Warp, rotation_matrix
from strokelab.errors import ConfigError
from strokelab.inference.slices import SliceWindows
from strokelab.inference.windows import PatchWindows
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.crops import Crops
from strokelab.sampling.foreground import ForegroundPatches
from strokelab.sampling.slices import Slices
from strokelab.seeding import stream
from strokelab.view import View

CONF = Path(__file__).parents[2] / "conf" / "augment" / "synthstroke.yaml"
PATCH = (20, 24, 16)
PAPER = SynthStrokeAugment()


def a_batch(count, seed=0, channels=1, patch=PATCH):
    """Blurred noise, memory along x first as the store's."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.normal(size=(count, channels, *patch[::-1])), (0, 0, 1, 1, 1)) * 6
    image = torch.from_numpy(noise.astype(np.float32)).permute(0, 1, 4, 3, 2)
    return {
        "image": image,
        "lesion": (image[:, :1] > 0.8).to(torch.uint8),
        "brain": (image[:, :1] > -1).to(torch.uint8),
        "site": torch.zeros(count, dtype=torch.int64),
        "origin": torch.zeros(count, 3, dtype=torch.int64),
        "case_id": [str(index) for index in range(count)],
    }


def copied(batch):
    return {name: value.clone() if isinstance(value, torch.Tensor) else value for name, value in batch.items()}


def drawn(count, augment=PAPER, channels=1):
    return [augment.draw(stream(0, "augment", index), channels, PATCH) for index in range(count)]


def ranks(image):
    """Histogram equalisation and z-score alone, in NumPy."""
    counts, edges = np.histogram(image, 256)
    heights = np.interp(image, (edges[1:] + edges[:-1]) / 2, np.cumsum(counts))
    return (heights - heights.mean()) / heights.std()


def test_the_defaults_are_those_of_the_configuration():
    content = OmegaConf.to_container(OmegaConf.load(CONF))
    del content["_target_"], content["defaults"]
    assert set(content) == {field.name for field in fields(SynthStrokeAugment)}
    assert {name: tuple(v) if isinstance(v, list) else v for name, v in content.items()} == vars(PAPER)


# ---------------------------------------------------------------- each step, by hand


def test_nothing_drawn_is_equalisation_and_z_score():
    batch = a_batch(2, channels=2)
    out = PAPER.apply(copied(batch), [RealPlan(), RealPlan()])
    check_batch(out)
    for sample in range(2):
        for channel in range(2):
            expected = ranks(batch["image"][sample, channel].numpy())
            assert np.allclose(out["image"][sample, channel].numpy(), expected, atol=2e-3)
    assert torch.equal(out["lesion"], batch["lesion"])


def test_grey_values_in_other_units_give_the_same_sample():
    batch, plans = a_batch(4), drawn(4)
    other = {**copied(batch), "image": 37 * batch["image"] + 120}
    one, two = (PAPER.apply(copied(given), plans) for given in (batch, other))
    assert torch.allclose(one["image"], two["image"], atol=0.02)
    assert torch.equal(one["lesion"], two["lesion"])


def test_a_histogram_shift_is_piecewise_linear():
    channel = torch.tensor([[[10.0, 15.0, 20.0, 25.0, 30.0]]])
    histogram_shift_(channel, (0.0, 0.2, 1.0))  # the middle of the range goes to a fifth of it
    assert channel.flatten().tolist() == pytest.approx([10, 12, 14, 22, 30])
    flat = torch.full((2, 2, 2), 3.0)
    histogram_shift_(flat, (0.0, 0.2, 1.0))
    assert torch.equal(flat, torch.full((2, 2, 2), 3.0))


def test_a_bias_field_is_a_sum_of_legendre_polynomials():
    assert len(bias_terms(3)) == 20
    values = np.random.default_rng(0).uniform(0, 0.1, 20)
    channel = torch.ones(5, 3, 7)  # z, y, x
    bias_(channel, values)
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in (7, 3, 5)], indexing="ij")
    powers = [np.ones_like(x), None, None, None]
    legendre = [[powers[0], v, (3 * v**2 - 1) / 2, (5 * v**3 - 3 * v) / 2] for v in (x, y, z)]
    total = sum(
        value * legendre[0][i] * legendre[1][j] * legendre[2][k]
        for (i, j, k), value in zip(bias_terms(3), values, strict=True)
    )
    assert np.allclose(channel.numpy().T, np.exp(total), rtol=1e-5)
    assert channel[-1, -1, -1].item() == pytest.approx(np.exp(values.sum()), rel=1e-5)


def test_contrast_is_the_range_to_a_power():
    batch = a_batch(1)
    plain = PAPER.apply(copied(batch), [RealPlan()])["image"].numpy()
    out = PAPER.apply(copied(batch), [RealPlan(gamma=(2.0,))])["image"].numpy()
    expected = ((plain - plain.min()) / np.ptp(plain)) ** 2
    assert np.allclose(out, (expected - expected.mean()) / expected.std(), atol=1e-4)


def test_a_constant_sample_becomes_0():
    for plan in (RealPlan(), drawn(1)[0]):
        batch = a_batch(1)
        out = PAPER.apply({**batch, "image": torch.full_like(batch["image"], 7.0)}, [plan])
        assert not out["image"].any()
    channel = torch.full((2, 2, 2), 1e6)
    zscore_(channel)
    assert not channel.any()


def test_beyond_a_sample_lies_its_darkest_grey_value_and_no_lesion():
    """Zoomed by 1/2 about the middle, half of every axis comes from outside."""
    batch = a_batch(1)
    batch["lesion"].fill_(1)
    warp = Warp.of(np.diag([2.0, 2.0, 2.0]))
    out = SynthStrokeAugment().apply(copied(batch), [RealPlan(warp=warp)])
    lesion, image = out["lesion"][0, 0].numpy(), out["image"][0, 0].numpy()
    inside = np.zeros(PATCH, dtype=bool)
    inside[5:15, 6:18, 4:12] = True  # (side - 1) / 2 +- (side - 1) / 4 holds as many
    assert np.array_equal(lesion.astype(bool), inside)
    assert (image[~inside] == image.min()).all()
    assert image[inside].min() >= image.min()
    # Inside, the equalised voxel is the mean of eight; ranks keep the order of raw values.
    raw = batch["image"][0, 0].numpy()
    middles = raw.reshape(10, 2, 12, 2, 8, 2).mean(axis=(1, 3, 5))
    order = np.argsort(middles.ravel())
    assert np.diff(image[inside].reshape(10, 12, 8).ravel()[order]).min() > -1e-3


def test_image_and_lesion_move_as_one():
    batch = a_batch(3)
    batch["image"] = ball_of(3)
    batch["lesion"] = (batch["image"] > 0.5).to(torch.uint8)
    plans = [RealPlan(warp=plan.warp, mirror=plan.mirror) for plan in drawn(8) if plan.warp][:3]
    out = PAPER.apply(copied(batch), plans)
    for image, lesion in zip(out["image"], out["lesion"], strict=True):
        brightest = image >= image.flatten().sort(descending=True).values[int(lesion.sum()) - 1]
        overlap = 2 * float((brightest & lesion.bool()).sum()) / float(brightest.sum() + lesion.sum())
        assert overlap > 0.9  # a mask and a ramp are interpolated, each by itself
        assert not torch.equal(lesion, batch["lesion"][0])


def ball_of(count):
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in PATCH], indexing="ij"))
    distance = np.sqrt(((places - np.reshape([0.2, -0.1, 0.1], (3, 1, 1, 1))) ** 2).sum(axis=0))
    ball = np.clip((0.75 - distance) * 2, 0, 1).astype(np.float32)
    return torch.from_numpy(np.stack([ball.T] * count)[:, None]).permute(0, 1, 4, 3, 2)


def test_a_quarter_turn_is_a_quarter_turn():
    size = (12, 12, 12)
    batch = a_batch(1, patch=size)
    warp = Warp.of(np.rint(rotation_matrix(np.radians([0, 0, 90.0]))))
    out = PAPER.apply(copied(batch), [RealPlan(warp=warp)])
    turned = [np.rot90(batch["lesion"][0, 0].numpy(), turn, axes=(0, 1)) for turn in (1, 3)]
    assert sum(np.array_equal(out["lesion"][0, 0].numpy(), one) for one in turned) == 1


def test_noise_comes_after_the_z_score():
    augment = SynthStrokeAugment(noise_p=0.8)
    share = np.mean([plan.noise is not None for plan in drawn(400, augment)])
    assert abs(share - 0.8) < 0.07
    batch = a_batch(1)
    plain = augment.apply(copied(batch), [RealPlan()])["image"]
    noisy = augment.apply(copied(batch), [RealPlan(noise=(0.1, 3))])["image"]
    assert float((noisy - plain).std()) == pytest.approx(0.1, rel=0.05)


# ---------------------------------------------------------------- the same bits


def test_a_plan_decides_every_bit_whatever_the_batch():
    plans, batch = drawn(5, channels=2), a_batch(5, channels=2)
    together = PAPER.apply(copied(batch), plans)
    check_batch(together)
    again = PAPER.apply(copied(batch), pickle.loads(pickle.dumps(plans)))
    for name in ("image", "lesion", "brain"):
        assert torch.equal(together[name], again[name])
        for place, plan in enumerate(plans):
            alone = {key: value[place : place + 1] for key, value in copied(batch).items()}
            assert torch.equal(PAPER.apply(alone, [plan])[name][0], together[name][place])
    assert drawn(5, channels=2) == plans
    assert len({plan.gamma for plan in plans}) > 1
    assert torch.allclose(together["image"].mean(dim=(2, 3, 4)), torch.zeros(5, 2), atol=1e-5)


def test_further_maps_move_with_the_sample():
    batch = a_batch(1)
    fractions = torch.rand(1, 3, *PATCH)
    given = {**copied(batch), "tissues": fractions.clone(), "kinds": {"tissues": "fraction"}}
    warp = Warp.of(np.diag([2.0, 2.0, 2.0]))
    out = PAPER.apply(given, [RealPlan(warp=warp, mirror="y")])["tissues"][0].numpy()
    means = fractions[0].numpy().reshape(3, 10, 2, 12, 2, 8, 2).mean(axis=(2, 4, 6))[:, :, ::-1]
    assert np.allclose(out[:, 5:15, 6:18, 4:12], means, atol=1e-5)
    assert not out[:, :5].any()


def test_slices_are_refused_and_volumes_served():
    with pytest.raises(ConfigError, match="volumes"):
        View(Preparation(("T1w",)), Slices(), SliceWindows(), PAPER)
    for sampler in (Crops(PATCH), ForegroundPatches(PATCH)):
        assert not View(Preparation(("T1w",)), sampler, PatchWindows(PATCH), PAPER).augments_on_cpu


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip_p": 1.2},
        {"contrast": (2.0, 1.0)},
        {"contrast": (0.0, 1.0)},
        {"zoom": 1.0},
        {"control_points": 1},
        {"elastic_sigma": (0.5, 7.0)},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SynthStrokeAugment(**wrong)
