"""Overlapping windows against a plain reference; what may change nothing: batches, flips, place, skipped windows."""

import math
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from strokelab.errors import ConfigError
from strokelab.inference import accumulate, windows
from strokelab.inference.flips import flips_of
from strokelab.inference.windows import PatchWindows, window_starts
from strokelab.networks.hemispheres import Hemispheres, merge, split

PATCH = (6, 4, 8)
ALL = [tuple(axis for axis, on in zip((-3, -2, -1), turn, strict=True) if on) for turn in product((0, 1), repeat=3)]


def volume_of(shape, channels=2, seed=0):
    stream = np.random.default_rng(seed)
    return stream.standard_normal((channels, *shape)).astype(np.float32), stream.random(shape) < 0.3


def uneven(image, brain):
    """Two maps that depend on the place in the window, on the brain and on left and right."""
    ramp = torch.arange(image[0, 0].numel(), dtype=torch.float32).reshape(image.shape[2:])
    mixed = image.sum(1, keepdim=True) + brain + ramp / ramp.numel()
    return torch.cat([mixed.tanh(), image.roll(1, dims=2)[:, :1]], dim=1)


def reference(image, predict, brain, *, patch, step=0.5, gaussian=0.125, flips=ALL):
    """The definition in its plainest form, in float64: pad, go through all windows and flips, sum, divide."""
    lack = [max(side - size, 0) for side, size in zip(patch, brain.shape, strict=True)]
    around = [(lacking // 2, lacking - lacking // 2) for lacking in lack]
    padded = torch.from_numpy(np.pad(image, [(0, 0), *around]))
    mask = torch.from_numpy(np.pad(brain, around).astype(np.uint8))[None]
    starts = []
    for size, side in zip(mask.shape[1:], patch, strict=True):
        n = math.ceil((size - side) / (step * side)) + 1
        starts.append([0] if n == 1 else [int(np.round((size - side) / (n - 1) * i)) for i in range(n)])
    weight = np.ones(patch)
    for place in np.ndindex(*patch):
        for index, side in zip(place, patch, strict=True):
            weight[place] *= math.exp(-(((index - side // 2) / (gaussian * side)) ** 2) / 2) if gaussian else 1
    total, weights = 0.0, np.zeros(mask.shape[1:])
    for start in product(*starts):
        box = tuple(slice(first, first + side) for first, side in zip(start, patch, strict=True))
        weights[box] += weight * len(flips)
        for flip in flips:
            scores = predict(padded[:, *box].flip(flip)[None], mask[:, *box].flip(flip)[None])[0].flip(flip)
            part = np.zeros((len(scores), *mask.shape[1:]))
            part[:, *box] = scores.double().numpy() * weight
            total = total + part
    inner = [slice(before, before + size) for (before, _), size in zip(around, brain.shape, strict=True)]
    return (total / weights)[:, *inner]


@pytest.mark.parametrize("shape", [(6, 4, 8), (13, 9, 17), (11, 3, 19), (2, 1, 3), (12, 4, 9)])
@pytest.mark.parametrize("setting", [{}, {"step": 0.3}, {"step": 1.0, "mirror": "yz"}, {"gaussian": 0, "mirror": None}])
def test_scores_are_those_of_the_plain_definition(shape, setting):
    image, brain = volume_of(shape)
    scores = PatchWindows(PATCH, **setting)(image, uneven, brain)
    flips = {"yz": [f for f in ALL if -3 not in f], None: [()]}.get(setting.get("mirror", "xyz"), ALL)
    plain = {key: value for key, value in setting.items() if key != "mirror"}
    expected = reference(image, uneven, brain, patch=PATCH, flips=flips, **plain)
    assert scores.shape == (2, *shape)
    assert scores.dtype == torch.float32
    assert np.abs(scores.numpy() - expected).max() < 5e-6  # of scores up to 4


@given(size=st.integers(1, 300), side=st.integers(1, 64), step=st.floats(0.1, 1.0))
def test_windows_cover_an_axis_evenly_from_end_to_end(size, side, step):
    size = max(size, side)
    starts = window_starts(size, side, step)
    assert len(set(starts)) == len(starts)
    assert starts[0] == 0
    assert starts[-1] == size - side
    gaps = np.diff(starts)
    assert len(gaps) == 0 or (gaps.max() - gaps.min() <= 2 and gaps.max() <= math.ceil(step * side))


@settings(max_examples=25, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    patch=st.tuples(*[st.integers(1, 9)] * 3),
    step=st.floats(0.2, 1.0),
    gaussian=st.sampled_from([0.0, 0.01, 0.125, 2.0]),
    mirror=st.sampled_from(["xyz", "y", "none"]),
)
def test_a_network_that_returns_a_constant_gives_it_everywhere(shape, patch, step, gaussian, mirror):
    image, brain = volume_of(shape, channels=1)
    cut = PatchWindows(patch, step, gaussian, mirror)
    scores = cut(image, lambda part, mask: torch.full((len(part), 3, *part.shape[2:]), 0.625), brain)
    assert scores.shape == (3, *shape)
    assert (scores - 0.625).abs().max() < 1e-5


@pytest.mark.parametrize("batch_size", [2, 3, 7, 8, 1000])
def test_the_batch_size_changes_nothing_but_how_many_come_at_once(batch_size):
    image, brain = volume_of((13, 9, 17))
    sizes = []

    def counted(part, mask):
        sizes.append(len(part))
        assert (part.shape[2:], mask.dtype) == (PATCH, torch.uint8)
        return uneven(part, mask)

    one = PatchWindows(PATCH)(image, uneven, brain)
    many = PatchWindows(PATCH, batch_size=batch_size)(image, counted, brain)
    assert torch.equal(one, many)
    windows_in_all = math.prod(len(window_starts(*sides)) for sides in zip(brain.shape, PATCH, strict=True))
    assert sum(sizes) == 8 * windows_in_all
    assert set(sizes[:-1]) <= {batch_size}


def test_mirroring_an_equivariant_network_changes_nothing():
    image, brain = volume_of((13, 9, 17), channels=1)

    def equivariant(part, mask):
        return (part + part.mean(dim=(2, 3, 4), keepdim=True)) * mask

    plain = PatchWindows(PATCH, mirror="none")(image, equivariant, brain)
    assert (PatchWindows(PATCH)(image, equivariant, brain) - plain).abs().max() < 5e-6


def test_mirror_images_are_the_combinations_of_the_axes():
    assert flips_of("xyz")[0] == flips_of("none")[0] == ()
    assert set(flips_of("xyz")) == set(ALL)
    assert set(flips_of("zx")) == {(), (-3,), (-1,), (-3, -1)}
    assert flips_of("") == flips_of(None) == flips_of("none") == ((),)


def brain_in_a_corner(shape):
    brain = np.zeros(shape, bool)
    brain[:5, :4, 2:9] = True
    return brain


def test_windows_without_brain_are_skipped_and_the_brain_has_the_same_scores_to_the_last_bit():
    shape = (30, 20, 40)
    image, _ = volume_of(shape, channels=1)
    brain = brain_in_a_corner(shape)
    seen = {True: 0, False: 0}

    def positive(part, mask):
        seen[bool(mask.any())] += 1
        return part.sigmoid()

    every = PatchWindows(PATCH, mirror="x")(image, positive, brain)
    computed, seen[True], seen[False] = seen[True] + seen[False], 0, 0
    some = PatchWindows(PATCH, mirror="x", skip_outside_brain=True)(image, positive, brain)
    assert seen[False] == 0
    assert 0 < seen[True] < computed / 4
    inside = torch.from_numpy(brain)
    assert torch.equal(some[0][inside], every[0][inside])
    assert (some <= every).all()
    assert (some[0] == 0).any()
    assert (some < every).any()


def test_a_volume_without_brain_gives_zeros_where_windows_are_skipped():
    image, brain = volume_of((9, 9, 9))
    scores = PatchWindows(PATCH, skip_outside_brain=True)(image, uneven, np.zeros_like(brain))
    assert scores.shape == (2, 9, 9, 9)
    assert not scores.any()


def test_windows_as_wide_as_the_volume_serve_the_hemisphere_split():
    width = 12
    image, brain = volume_of((width, 11, 13), channels=1)
    network, halves = nn.Conv3d(1, 2, kernel_size=3, padding=1).requires_grad_(False), Hemispheres()
    widths = set()

    def predict(part, mask):
        parts = halves.split({"image": part, "brain": mask})
        widths.add(parts["image"].shape[2])
        return halves.join(network(parts["image"]))

    # A pixel of a cut-out sees the same neighbours as in the volume, but at the border of its window: compare the rest.
    whole = merge(network(split(torch.from_numpy(image)[None])))[0]
    scores = PatchWindows((width, 9, 9), step=1.0, gaussian=0, mirror="none")(image, predict, brain)
    assert widths == {width // 2}
    assert torch.allclose(scores[:, :, 3:8, 5:8], whole[:, :, 3:8, 5:8], atol=1e-6)
    # Mirrored left to right the two halves change places, and nothing else happens.
    mirrored = PatchWindows((width, 9, 9), step=1.0, gaussian=0, mirror="x")(image, predict, brain)
    assert torch.allclose(scores, mirrored, atol=1e-6)


def test_the_image_stays_as_it_was_and_may_be_read_only():
    image, brain = volume_of((7, 9, 8))
    before = image.copy()
    image.setflags(write=False)
    PatchWindows(PATCH)(image, uneven, brain)
    assert np.array_equal(image, before)


@pytest.mark.parametrize(
    ("free", "expected"), [(None, "meta"), (8 * 1001, "meta"), (8 * 999, "cpu")], ids=["unknown", "room", "tight"]
)
def test_sums_lie_with_the_network_where_there_is_twice_the_room(monkeypatch, free, expected):
    monkeypatch.setattr(accumulate, "free_bytes", lambda device: free)
    meta = torch.device("meta")
    assert accumulate.home_of(1000, meta).type == expected
    assert accumulate.home_of(1000, meta, "host").type == "cpu"
    assert accumulate.home_of(1000, meta, "device").type == "meta"


def test_sums_on_the_host_are_those_of_the_device(monkeypatch):
    image, brain = volume_of((13, 9, 17))
    asked = []
    monkeypatch.setattr(windows, "home_of", lambda *question: asked.append(question) or torch.device("cpu"))
    PatchWindows(PATCH, accumulate="host")(image, uneven, brain)
    assert asked == [(2 * brain.size, torch.device("cpu"), "host")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("accumulate", "home"), [("auto", "cuda"), ("device", "cuda"), ("host", "cpu")])
def test_on_a_gpu_scores_are_those_of_the_cpu(accumulate, home):
    image, brain = volume_of((13, 9, 17))
    expected = PatchWindows(PATCH)(image, uneven, brain)

    def predict(part, mask):
        return uneven(part.cpu(), mask.cpu()).cuda()

    on_device = torch.from_numpy(image).cuda(), torch.from_numpy(brain).cuda()
    scores = PatchWindows(PATCH, accumulate=accumulate)(on_device[0], predict, on_device[1])
    assert scores.device.type == home
    assert (scores.cpu() - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ({"patch": (8, 8)}, "patch"),
        ({"patch": (8, 8, 0)}, "patch"),
        ({"patch": (8, 8, 2.5)}, "patch"),
        ({"step": 0}, "step"),
        ({"step": 1.5}, "step"),
        ({"gaussian": -1}, "gaussian"),
        ({"gaussian": math.nan}, "gaussian"),
        ({"mirror": "xx"}, "mirror"),
        ({"mirror": "lr"}, "mirror"),
        ({"batch_size": 0}, "batch_size"),
        ({"accumulate": "gpu"}, "accumulate"),
        ({"scores": "odds"}, "scores"),
        ({"scores": "logits", "skip_outside_brain": True}, "skip_outside_brain"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(setting, name):
    with pytest.raises(ConfigError, match=rf"view\.windows\.{name}"):
        PatchWindows(**({"patch": PATCH} | setting))


def test_image_and_brain_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(C, X, Y, Z\)"):
        PatchWindows(PATCH)(np.zeros((1, 8, 8, 8), np.float32), uneven, np.zeros((8, 8, 7), bool))


def test_windows_that_are_too_many_to_list():
    volume = torch.zeros(1, 128, 128, 128)
    with pytest.raises(ConfigError) as caught:
        PatchWindows((2, 2, 2), step=1e-6)(volume, lambda image, _: pytest.fail("predicted"), volume[0])
    assert f"{127**3:,} windows" in caught.value.found
