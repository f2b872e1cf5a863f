"""nnU-Net's augmentation: drawn before anything is read, applied as drawn, one sample whatever its batch."""

import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from contract_checks import check_batch
from omegaconf import OmegaConf

from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.augment.patch_plan import PatchPlan
from strokelab.errors import ConfigError
from strokelab.seeding import stream

CONF = Path(__file__).parents[2] / "conf" / "augment"
PATCH = (16, 20, 12)
OFF = {field.name: 0.0 for field in fields(NNUNetAugmentation) if field.name.endswith("_p")}
NOTHING = NNUNetAugmentation(**OFF)


def settings_of(name):
    content = OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml"))
    inherited = [settings_of(parent) for parent in content.pop("defaults", [])]
    return {key: value for part in [*inherited, content] for key, value in part.items() if key != "_target_"}


STANDARD, STRONG = (
    NNUNetAugmentation(**{**settings_of(name), "normalize": "zscore_volume"}) for name in ("standard", "strong")
)


def only(**settings):
    """An augmentation of which only the named steps are on."""
    return NNUNetAugmentation(**{**OFF, **settings})


def tensors(size, seed, channels=2):
    """Image, lesion and brain of a box (x, y, z), memory along x first as the store's."""
    image = torch.randn(channels, *size[::-1], generator=torch.Generator().manual_seed(seed)).permute(0, 3, 2, 1)
    return {"image": image, "lesion": (image[:1] > 0.5).to(torch.uint8), "brain": (image[:1] > -1).to(torch.uint8)}


def a_batch(plans, seed=0, channels=2):
    samples = [tensors(plan.patch, seed + index, channels) for index, plan in enumerate(plans)]
    batch = {key: _stack([sample[key] for sample in samples]) for key in samples[0]}
    batch["site"] = torch.zeros(len(plans), dtype=torch.int64)
    batch["origin"] = torch.zeros(len(plans), 3, dtype=torch.int64)
    batch["case_id"] = [str(index) for index in range(len(plans))]
    batch["sources"] = {
        index: tensors(plan.source, seed + index, channels)
        for index, plan in enumerate(plans)
        if plan.source != plan.patch
    }
    return batch


def _stack(values):
    return torch.stack([value.permute(0, 3, 2, 1) for value in values]).permute(0, 1, 4, 3, 2)


def drawn(augmentation, count, channels=2, patch=PATCH):
    return [augmentation.draw(stream(0, "augment", index), channels, patch) for index in range(count)]


def changed(augmentation, plan, channels=2):
    """The image before and after, (C, X, Y, Z)."""
    before = tensors(plan.patch, 0, channels)["image"]
    return before, augmentation.apply(a_batch([plan], channels=channels), [plan])["image"][0]


def test_nothing_drawn_is_the_patch_bit_for_bit():
    plans = drawn(NOTHING, 3)
    assert plans == [PatchPlan(patch=PATCH, source=PATCH)] * 3
    batch = a_batch(plans)
    before = {key: batch[key].clone() for key in ("image", "lesion", "brain")}
    out = NOTHING.apply(batch, plans)
    assert all(torch.equal(out[key], before[key]) for key in before)
    assert out["image"].data_ptr() == batch["image"].data_ptr()  # nothing is copied either


def test_the_batch_of_the_contract_comes_out():
    for augmentation in (STANDARD, STRONG):
        plans = drawn(augmentation, 12)
        batch = a_batch(plans)
        assert batch["sources"]
        out = augmentation.apply(batch, plans)
        check_batch(out)
        assert "sources" not in out
        assert out["image"].shape == (12, 2, *PATCH)
        assert out["image"].isfinite().all()
        assert out["case_id"] == batch["case_id"]
        for key in ("lesion", "brain"):
            assert set(out[key].unique().tolist()) <= {0, 1}


def test_a_plan_is_a_function_of_its_stream_and_travels():
    plans = drawn(STRONG, 20)
    assert plans == drawn(STRONG, 20)
    assert len(set(plans)) > 15
    assert pickle.loads(pickle.dumps(plans)) == plans


def test_a_sample_depends_on_its_plan_alone():
    plans = drawn(STRONG, 8)
    whole = STRONG.apply(a_batch(plans), plans)
    for index, plan in enumerate(plans):
        alone = STRONG.apply(a_batch([plan], seed=index), [plan])
        for key in ("image", "lesion", "brain"):
            assert torch.equal(alone[key][0], whole[key][index])


def test_memory_order_makes_no_difference():
    plans = drawn(STRONG, 8)
    batch = a_batch(plans)
    dense = {key: value.contiguous() if torch.is_tensor(value) else value for key, value in a_batch(plans).items()}
    dense["sources"] = {i: {k: v.contiguous() for k, v in box.items()} for i, box in batch["sources"].items()}
    one, other = STRONG.apply(batch, plans), STRONG.apply(dense, plans)
    assert all(torch.equal(one[key], other[key]) for key in ("image", "lesion", "brain"))


def test_only_what_moves_reads_more():
    plans = drawn(STANDARD, 4000)
    moved = [plan for plan in plans if plan.warp is not None]
    assert len(moved) / len(plans) == pytest.approx(0.36, abs=0.03)
    assert all(plan.source == PATCH for plan in plans if plan.warp is None)
    assert all(np.greater_equal(plan.source, PATCH).all() for plan in moved)


SHARES = {  # MAPPING, section 7: standard and strong
    "noise": (0.1, 0.15),
    "blur": (0.2 * 0.75, 0.2 * 0.75),  # of two channels at least one
    "brightness": (0.15, 0.15),
    "contrast": (0.15, 0.15),
    "low_resolution": (0.25 * 0.75, 0.25 * 0.75),
    "gamma_inverted": (0.1, 0.15),
    "shift": (0.0, 0.3),
    "gamma": (0.3, 0.3),
}


def test_shares_of_samples():
    for column, augmentation in enumerate((STANDARD, STRONG)):
        plans = drawn(augmentation, 4000)
        for name, shares in SHARES.items():
            found = sum(bool(getattr(plan, name)) for plan in plans) / len(plans)
            assert found == pytest.approx(shares[column], abs=0.025), name
        for axis in "xyz":
            assert sum(axis in plan.mirror for plan in plans) / len(plans) == pytest.approx(0.5, abs=0.03)
        elastic = sum(plan.warp is not None and plan.warp.elastic is not None for plan in plans) / len(plans)
        assert elastic == pytest.approx((0, 0.3)[column], abs=0.03)


RANGES = {  # and whether half the draws lie below 1
    "blur": ((0.5, 1.0), (0.5, 1.5), False),
    "brightness": ((0.75, 1.25), (0.7, 1.3), False),
    "contrast": ((0.75, 1.25), (0.65, 1.5), True),
    "low_resolution": ((0.5, 1.0), (0.5, 1.0), False),
    "gamma_inverted": ((0.7, 1.5), (0.5, 1.6), True),
    "gamma": ((0.7, 1.5), (0.5, 1.6), True),
}


def test_ranges():
    for column, augmentation in enumerate((STANDARD, STRONG)):
        plans = drawn(augmentation, 4000)
        for name, (*limits, halves) in RANGES.items():
            values = np.array([value for plan in plans for _, value in getattr(plan, name)])
            low, high = limits[column]
            assert low <= values.min() < low + 0.02
            assert high - 0.05 < values.max() <= high
            if halves:
                assert (values < 1).mean() == pytest.approx(0.5, abs=0.06)
        assert max(plan.noise[0] for plan in plans if plan.noise) == pytest.approx(0.1, abs=0.005)
    shifts = np.array([value for plan in plans for _, value in plan.shift])
    assert shifts.std() == pytest.approx(0.2, rel=0.08)


def test_zoom_and_rotation():
    turned = [np.array(plan.warp.matrix) for plan in drawn(only(rotation_p=1), 200)]
    for matrix in turned:
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-12)
        assert np.linalg.det(matrix) == pytest.approx(1)
    assert max(np.degrees(np.arccos((np.trace(matrix) - 1) / 2)) for matrix in turned) > 30  # all axes at once
    zooms = np.array([np.diag(plan.warp.matrix) for plan in drawn(only(zoom_p=1, zoom=(0.65, 1.6)), 400)])
    assert (zooms == zooms[:, :1]).all()
    assert (zooms.min() >= 0.65, zooms.max() <= 1.6) == (True, True)
    assert (zooms[:, 0] < 1).mean() == pytest.approx(0.5, abs=0.08)
    free = np.array([np.diag(plan.warp.matrix) for plan in drawn(only(zoom_p=1, zoom_per_axis_p=0.3), 400)])
    assert (free != free[:, :1]).any(1).mean() == pytest.approx(0.3, abs=0.07)


def test_deformation_as_drawn():
    for plan in drawn(only(elastic_p=1), 100):
        elastic = plan.warp.elastic
        shares = np.divide(elastic.sigma, PATCH)
        assert shares.max() == pytest.approx(shares.min())
        assert shares.max() <= 0.25
        assert (np.divide(elastic.shift, elastic.sigma) >= 0.125).all()
        assert (np.divide(elastic.shift, elastic.sigma) <= 0.5).all()


def test_the_midline_stays_where_it_is():
    augmentation = replace(STRONG, keep_midline=True, rotation_p=0.8, zoom_p=0.8)
    for index in range(12):
        plan = augmentation.draw(stream(index), 1, PATCH)
        if plan.warp is None:
            continue
        assert plan.warp.elastic is None
        values = torch.randn(plan.source, generator=torch.Generator().manual_seed(index))[None]
        mask = (values > 0).to(torch.uint8)
        even = {"image": values + values.flip(1), "lesion": mask | mask.flip(1), "brain": mask | mask.flip(1)}
        batch = {key: value[None] for key, value in tensors(PATCH, 0, 1).items()}
        if plan.source == plan.patch:
            batch = {key: value[None] for key, value in even.items()}
        moved = PatchPlan(patch=PATCH, source=plan.source, warp=plan.warp)
        out = augmentation.apply({**batch, "sources": {0: even} if plan.source != PATCH else {}}, [moved])
        torch.testing.assert_close(out["image"], out["image"].flip(2), atol=1e-4, rtol=1e-4)
        assert (out["lesion"] == out["lesion"].flip(2)).float().mean() > 0.999  # ties at one half


def test_values_by_hand():
    image, out = changed(NOTHING, PatchPlan(PATCH, PATCH, brightness=((1, 1.2),), shift=((0, -0.5),)))
    torch.testing.assert_close(out, torch.stack([image[0] - 0.5, image[1] * 1.2]))
    image, out = changed(NOTHING, PatchPlan(PATCH, PATCH, contrast=((0, 1.4),)))
    mean = image[0].mean()
    expected = ((image[0] - mean) * 1.4 + mean).clamp(image[0].min(), image[0].max())
    torch.testing.assert_close(out[0], expected)
    assert torch.equal(out[1], image[1])


def test_gamma_both_ways_keeps_mean_and_spread():
    for name, sign in (("gamma", 1), ("gamma_inverted", -1)):
        image, out = changed(NOTHING, PatchPlan(PATCH, PATCH, **{name: ((0, 1.4),)}))
        x = image[0] * sign
        power = ((x - x.min()) / (x.max() - x.min())) ** 1.4
        expected = (power - power.mean()) / power.std() * x.std() + x.mean()
        torch.testing.assert_close(out[0], expected * sign, atol=1e-4, rtol=1e-4)
        assert float(out[0].mean()) == pytest.approx(float(image[0].mean()), abs=1e-4)


def test_noise_is_its_seed_and_as_strong_as_drawn():
    plan = PatchPlan(PATCH, PATCH, noise=(0.1, 7))
    image, out = changed(NOTHING, plan)
    assert float((out - image).std()) == pytest.approx(0.1, rel=0.05)
    assert torch.equal(out, changed(NOTHING, plan)[1])
    assert not torch.equal(out, changed(NOTHING, replace(plan, noise=(0.1, 8)))[1])


def test_mirror_axes_are_anatomical():
    for axes in ("x", "yz", "xyz"):
        plan = PatchPlan(PATCH, PATCH, mirror=axes)
        batch = a_batch([plan])
        expected = {key: batch[key].flip(["xyz".index(axis) + 2 for axis in axes]) for key in ("image", "lesion")}
        out = NOTHING.apply(batch, [plan])
        assert torch.equal(out["image"], expected["image"])
        assert torch.equal(out["lesion"], expected["lesion"])


def test_outside_stays_zero_where_only_the_inside_is_normalised():
    plan = PatchPlan(PATCH, PATCH, noise=(0.1, 1), shift=((0, 1.0), (1, 1.0)), gamma=((0, 1.3),))
    for normalize, zero in (("zscore_nonzero", True), ("zscore_volume", False)):
        batch = a_batch([plan])
        batch["image"][:, :, :5] = 0
        out = replace(NOTHING, normalize=normalize).apply(batch, [plan])["image"]
        assert bool((out[:, :, :5] == 0).all()) is zero
        assert (out[:, :, 5:] != 0).all()


def test_a_box_that_is_missing_or_wrong():
    plan = next(plan for plan in drawn(STANDARD, 50) if plan.source != PATCH)
    batch = a_batch([plan])
    with pytest.raises(ValueError, match="sample 0: no source box"):
        STANDARD.apply({**batch, "sources": {}}, [plan])
    with pytest.raises(ValueError, match="sample 0: a source box of"):
        STANDARD.apply({**batch, "sources": {0: tensors((30, 31, 32), 0)}}, [plan])


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("rotation_p", 1.2),
        ("zoom", (1.4, 0.7)),
        ("zoom", (1.1, 1.4)),
        ("gamma", (0.0, 1.5)),
        ("blur_sd", (-0.5, 1.0)),
        ("mirror", "xw"),
        ("interpolation", "nearest"),
    ],
)
def test_bad_settings_are_refused_by_name(setting, value):
    with pytest.raises(ConfigError, match=f"view.augment.{setting}"):
        NNUNetAugmentation(**{setting: value})


def test_the_yaml_is_the_default():
    settings = settings_of("standard")
    assert set(settings) == {field.name for field in fields(NNUNetAugmentation)}
    for field in fields(NNUNetAugmentation):
        value = settings[field.name]
        if value != "???":  # bound when the plan is known
            assert (tuple(value) if isinstance(value, list) else value) == field.default, field.name
