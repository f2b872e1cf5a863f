"""Dense patches against a plain loop over centres; what may change nothing: batches, place, members beside; borders."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.errors import ConfigError
from strokelab.inference.dense_patches import DensePatches
from strokelab.preparation.background import background_of

PATCH = (6, 4, 8)


def volume_of(shape, channels=2, seed=0, inside=0.5):
    stream = np.random.default_rng(seed)
    return stream.standard_normal((channels, *shape)).astype(np.float32), stream.random(shape) < inside


def uneven(image, brain):
    """Two maps that depend on the place in the patch, on the brain and on the whole patch."""
    ramp = torch.arange(image[0, 0].numel(), dtype=torch.float32).reshape(image.shape[2:])
    mixed = image.sum(1, keepdim=True) + brain + ramp / ramp.numel() + image.mean(dim=(1, 2, 3, 4), keepdim=True)
    return torch.cat([mixed.tanh(), image.roll(1, dims=2)[:, :1]], dim=1)


def reference(image, predict, brain, *, patch, step, centre_in_brain):
    """The definition in its plainest form, in float64: one centre after the other, as the method's page counts them."""
    lack = [max(side - size, 0) for side, size in zip(patch, brain.shape, strict=True)]
    ends = [
        ((side + 1) // 2 + gap // 2, (side + 1) // 2 + gap - gap // 2) for side, gap in zip(patch, lack, strict=True)
    ]
    around = background_of(image)
    padded = np.stack([np.pad(image[c], ends, constant_values=around[c]) for c in range(len(image))])
    mask = np.pad(brain, ends)
    total, count = np.zeros((2, *mask.shape)), np.zeros(mask.shape)
    axes = [
        range(side // 2, size - side + side // 2 + 1, s) for size, side, s in zip(mask.shape, patch, step, strict=True)
    ]
    for centre in np.array(np.meshgrid(*axes, indexing="ij")).reshape(3, -1).T:
        if centre_in_brain and not mask[tuple(centre)]:
            continue
        box = []
        for c, size, side in zip(centre, mask.shape, patch, strict=True):
            c = min(max(c, side // 2 + 1), size - side + side // 2 - 1)
            box.append(slice(c - side // 2, c - side // 2 + side))
        part = (
            torch.from_numpy(padded[:, *box].copy())[None],
            torch.from_numpy(mask[tuple(box)][None, None].astype(np.uint8)),
        )
        total[:, *box] += predict(*part)[0].double().numpy()
        count[tuple(box)] += 1
    inner = tuple(slice(first, first + size) for (first, _), size in zip(ends, brain.shape, strict=True))
    mean = total[:, *inner] / np.maximum(count[inner], 1)
    return mean * brain if centre_in_brain else mean


@settings(max_examples=12, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    patch=st.tuples(*[st.integers(1, 7)] * 3),
    step=st.tuples(*[st.integers(1, 4)] * 3),
    centre_in_brain=st.booleans(),
    batch_size=st.integers(1, 40),
)
def test_mean_of_a_plain_loop(shape, patch, step, centre_in_brain, batch_size):
    step = tuple(min(pair) for pair in zip(step, patch, strict=True))
    image, brain = volume_of(shape, seed=sum(shape))
    plan = DensePatches(patch, step, batch_size, centre_in_brain)
    expected = reference(image, uneven, brain, patch=patch, step=step, centre_in_brain=centre_in_brain)
    if plan.count(brain) == 0:
        expected = np.zeros_like(expected)
    np.testing.assert_allclose(plan(image, uneven, brain).numpy(), expected, atol=1e-5)


def test_batch_size_and_place_of_sums_change_no_bit():
    image, brain = volume_of((13, 10, 17))
    plans = [DensePatches(PATCH, (2, 2, 1), batch) for batch in (1, 7, 10_000)]
    plans.append(DensePatches(PATCH, (2, 2, 1), accumulate="host"))
    first, *others = [plan(image, uneven, brain) for plan in plans]
    assert all(torch.equal(first, other) for other in others)


def test_brain_at_the_border_counts_twice_where_centres_meet():
    brain = np.zeros((12, 12, 12), bool)
    brain[:, 6, 6] = True  # from end to end
    plan = DensePatches((4, 4, 4), (1, 2, 2))
    # Padded by 2: centres at 2 to 13 along x. The first patch would begin at 0, where the padded volume does.
    assert plan.corners(brain)[:, 0].tolist() == [1, 1, *range(2, 12)]
    assert plan.count(brain) == 11


def test_own_background_surrounds_each_channel():
    image = np.stack([np.full((6, 6, 6), 3.0), np.full((6, 6, 6), -2.0)]).astype(np.float32)
    seen = []

    def predict(image, brain):
        seen.append(image)
        return image[:, :1]

    DensePatches((8, 8, 8))(image, predict, np.ones((6, 6, 6), bool))
    patches = torch.cat(seen)
    assert patches[:, 0].unique().tolist() == [3.0]
    assert patches[:, 1].unique().tolist() == [-2.0]


def test_no_brain_asks_for_one_blank_patch_and_scores_nothing():
    asked = []

    def predict(image, brain):
        asked.append(len(image))
        return torch.ones(len(image), 3, *PATCH)

    scores = DensePatches(PATCH)(np.ones((1, 9, 9, 9), np.float32), predict, np.zeros((9, 9, 9), bool))
    assert scores.shape == (3, 9, 9, 9)
    assert not scores.any()
    assert asked == [1]


def test_the_volume_and_its_brain_are_left_as_they_are():
    image, brain = volume_of((9, 9, 9))
    copies = image.copy(), brain.copy()
    DensePatches(PATCH)(torch.from_numpy(image), uneven, torch.from_numpy(brain))
    assert np.array_equal(image, copies[0])
    assert np.array_equal(brain, copies[1])


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ({"patch": (6, 4)}, "patch"),
        ({"patch": (6, 4, 0)}, "patch"),
        ({"patch": (2**10, 2**10, 2**10), "step": (1, 1, 1)}, "patch"),
        ({"step": (7, 1, 1)}, "step"),
        ({"step": (0, 1, 1)}, "step"),
        ({"step": (1, 1)}, "step"),
        ({"batch_size": 0}, "batch_size"),
        ({"accumulate": "disk"}, "accumulate"),
    ],
)
def test_settings_out_of_range_are_refused(wrong, setting):
    with pytest.raises(ConfigError, match=f"view.windows.{setting}"):
        DensePatches(**{"patch": PATCH, **wrong})


def test_more_patches_than_a_case_may_have_are_refused(monkeypatch):
    from strokelab.inference import dense_patches

    monkeypatch.setattr(dense_patches, "MOST_WINDOWS", 10)
    image, brain = volume_of((9, 9, 9))
    with pytest.raises(ConfigError, match=r"view\.windows\.step"):
        DensePatches(PATCH)(image, uneven, brain)


def test_image_and_brain_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="expected"):
        DensePatches(PATCH)(np.zeros((1, 9, 9, 9), np.float32), uneven, np.zeros((9, 9, 8), bool))
