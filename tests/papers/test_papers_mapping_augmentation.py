"""MAPPING, section 12, point 5: shapes and types stay, the label moves with the image, all off is the central crop."""

import numpy as np
import pytest
import torch

from strokelab.augment.nnunet import NNUNetAugmentation
from strokelab.seeding import stream

PATCH = (64, 64, 64)
GEOMETRY = {
    **dict.fromkeys(
        ("noise_p", "blur_p", "brightness_p", "contrast_p", "low_resolution_p", "gamma_inverted_p", "gamma_p"), 0.0
    ),
    **{"rotation_p": 0.7, "zoom_p": 0.7, "zoom": (0.65, 1.6), "zoom_per_axis_p": 0.3, "elastic_p": 0.6},
}


def a_cube(size, side=24, corner=None):
    """A bright cube, labelled as lesion; corner in voxels from the middle."""
    low = [length // 2 + at for length, at in zip(size, corner or (-side // 2,) * 3, strict=True)]
    lesion = torch.zeros(1, *size, dtype=torch.uint8)
    lesion[0, low[0] : low[0] + side, low[1] : low[1] + side, low[2] : low[2] + side] = 1
    return {"image": lesion.float() * 2, "lesion": lesion, "brain": lesion.clone()}


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_the_label_moves_with_the_image(interpolation):
    augmentation = NNUNetAugmentation(**GEOMETRY, interpolation=interpolation)
    moved, worst = 0, 1.0
    for index in range(24):
        plan = augmentation.draw(stream(index), 1, PATCH)
        batch = {key: value[None] for key, value in a_cube(PATCH, corner=(-20, -6, -12)).items()}
        before = batch["lesion"].clone()
        if plan.source != PATCH:
            batch["sources"] = {0: a_cube(plan.source, corner=(-20, -6, -12))}
        out = augmentation.apply(batch, [plan])
        assert (out["image"].shape, out["image"].dtype) == ((1, 1, *PATCH), torch.float32)
        assert (out["lesion"].shape, out["lesion"].dtype) == ((1, 1, *PATCH), torch.uint8)
        bright, lesion = out["image"] > 1, out["lesion"] > 0
        worst = min(worst, float(2 * (bright & lesion).sum() / (bright.sum() + lesion.sum())))
        moved += not torch.equal(out["lesion"], before)
        assert torch.equal(out["lesion"], out["brain"])
    assert worst >= (0.999 if interpolation == "linear" else 0.97)  # the issue asks for 0.9
    assert moved >= 20


def test_all_off_is_the_central_crop():
    off = {name: 0.0 for name in vars(NNUNetAugmentation()) if name.endswith("_p")}
    augmentation = NNUNetAugmentation(**off)
    plan = augmentation.draw(stream(0), 1, PATCH)
    assert plan.source == PATCH
    image = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 1, *PATCH)).astype(np.float32))
    masks = {key: (image > 1).to(torch.uint8) for key in ("lesion", "brain")}
    out = augmentation.apply({"image": image.clone(), **masks}, [plan])
    assert torch.equal(out["image"], image)


def test_most_standard_patches_are_read_at_their_own_size():
    """64 % are neither rotated nor zoomed; the others read what they need, far below 205^3 on average."""
    plans = [NNUNetAugmentation().draw(stream(index), 1, (128, 128, 128)) for index in range(2000)]
    moved = [plan for plan in plans if plan.source != plan.patch]
    assert sum(plan.warp is None for plan in plans) / 2000 == pytest.approx(0.64, abs=0.03)
    assert np.mean([np.prod(plan.source) for plan in plans]) < 1.6 * 128**3
    assert len(moved) < 800
