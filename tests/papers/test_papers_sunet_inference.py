"""Clèrigues 2019, dense inference (docs/methods/sunet.md): numbers of patches, coverage, equal to a plain loop."""

import numpy as np
import pytest
import torch

from strokelab.contract import PreparedCase
from strokelab.grid import Grid
from strokelab.inference.dense_patches import DensePatches
from strokelab.inference.predict import case_scores
from strokelab.networks.folding import for_prediction
from strokelab.networks.sunet import SUNet
from strokelab.preparation.background import background_of

PATCH = (24, 24, 16)
SISS, SPES = (230, 230, 153), (96, 110, 71)
SMALL = (40, 36, 25)


def ellipsoid(shape, share=0.75):
    """A brain in the middle of a grid; axes are a share of the grid's."""
    axes = np.ogrid[tuple(slice(-1, 1, size * 1j) for size in shape)]
    return sum((axis / share) ** 2 for axis in axes) <= 1


def case_of(image, brain):
    grid = Grid.of(brain.shape, np.eye(4))
    names = tuple(f"m{channel}" for channel in range(len(image)))
    named = {"case_id": "case", "subject_id": "case", "site": None, "channels": names, "steps": (), "native": grid}
    return PreparedCase(**named, image=image, lesion=None, brain=brain, grid=grid)


@pytest.fixture(scope="module")
def brain():
    return ellipsoid(SMALL)


@pytest.fixture(scope="module")
def image(brain):
    scan, _ = blobs(SMALL, seed=1000)
    return (scan * brain - 0.3).astype(np.float32)  # a background that is not 0


@pytest.fixture(scope="module")
def network():
    """A small SUNet that has learnt to find bright blobs."""
    torch.manual_seed(0)
    network = SUNet(2, base=4, depth=3, bn_momentum=0.2)
    optimiser = torch.optim.Adam(network.parameters(), lr=0.01)
    for step in range(40):
        scan, lesion = blobs(PATCH, seed=step)
        logits = network(torch.from_numpy(scan.astype(np.float32) - 0.3)[None])
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.from_numpy(lesion).long()[None]).backward()
        optimiser.step()
    return network.eval().requires_grad_(False)


def blobs(shape, seed):
    """Two noisy channels (2, *shape), bright where the second map is true."""
    stream, axes = np.random.default_rng(seed), np.ogrid[tuple(slice(0, side) for side in shape)]
    inside = np.zeros(shape, bool)
    for _ in range(1 + np.prod(shape) // 9000):
        centre, radius = stream.uniform(0, shape), stream.uniform(3, 7)
        inside |= sum((axis - middle) ** 2 for axis, middle in zip(axes, centre, strict=True)) < radius**2
    return stream.standard_normal((2, *shape)) + 3 * inside, inside


def plain_loop(network, image, brain, step):
    """One patch after the other in float32: the released code's geometry, sums and counts."""
    pad = [(12, 12), (12, 12), (8, 8)]
    background = background_of(image)
    padded = np.stack([np.pad(image[c], pad, constant_values=background[c]) for c in range(len(image))])
    mask, size = np.pad(brain, pad), [side + sum(ends) for side, ends in zip(brain.shape, pad, strict=True)]
    total, count = np.zeros(size, np.float32), np.zeros(size, np.float32)
    for x in range(12, size[0] - 11, step[0]):
        for y in range(12, size[1] - 11, step[1]):
            for z in range(8, size[2] - 7, step[2]):
                if not mask[x, y, z]:
                    continue
                centre = np.clip((x, y, z), (13, 13, 9), (size[0] - 13, size[1] - 13, size[2] - 9))
                box = tuple(slice(c - half, c + half) for c, half in zip(centre, (12, 12, 8), strict=True))
                with torch.inference_mode():
                    logits = network(torch.from_numpy(padded[:, *box].copy())[None])
                total[box] += logits.softmax(1)[0, 1].numpy()
                count[box] += 1
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0)
    return mean[12:-12, 12:-12, 8:-8] * brain


@pytest.mark.parametrize(("shape", "positions"), [(SISS, 518_056), (SPES, 50_400)])
def test_positions_of_the_two_grids(shape, positions):
    assert len(DensePatches(PATCH, centre_in_brain=False).corners(np.ones(shape, bool))) == positions


@pytest.mark.parametrize(
    ("step", "least", "most"), [((4, 4, 1), 16, 16), ((8, 8, 4), 250, 262), ((12, 12, 8), 1100, 1200)]
)
def test_patches_are_a_share_of_the_brain_voxels(step, least, most):
    """A brain of 1.5 million voxels: one sixteenth of them; coarser steps, that many times less."""
    brain = ellipsoid(SISS, 0.71)
    assert brain.sum() == pytest.approx(1.51e6, rel=0.02)
    assert least <= round(brain.sum() / DensePatches(PATCH, step).count(brain)) <= most


def test_every_brain_voxel_is_covered_and_576_times_deep_inside():
    brain = ellipsoid((80, 80, 60), 0.85)
    seen = torch.zeros(1)

    def counts(image, inside):
        seen.add_(len(image))
        return torch.ones(len(image), 1, *PATCH)

    plan = DensePatches(PATCH, batch_size=4096)
    coverage = plan._plan(brain).coverage(torch.device("cpu"))
    assert coverage.max() == 576
    assert coverage[40, 40, 30] == 576
    assert coverage[torch.from_numpy(brain)].min() > 100
    scores = plan(np.zeros((1, *brain.shape), np.float32), counts, brain)
    assert torch.equal(scores[0] == 1, torch.from_numpy(brain))
    assert seen == plan.count(brain)


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7])
def test_a_constant_network_gives_its_constant(value, brain):
    plan = DensePatches(PATCH)
    scores = plan(np.zeros((1, *SMALL), np.float32), lambda i, b: torch.full((len(i), 2, *PATCH), value), brain)
    assert (scores[:, brain] == torch.tensor(value)).all()
    assert not scores[:, ~brain].any()


@pytest.mark.parametrize("batch_size", [64, 11])
def test_fast_inference_is_a_plain_loop(network, image, brain, batch_size):
    step = (8, 4, 4)
    fast = for_prediction(network)
    windows = DensePatches(PATCH, step, batch_size)
    found = case_scores(
        case_of(image, brain), predict=lambda x, _: fast(x).softmax(1), windows=windows, lesion_channel=1
    ).lesion
    expected = plain_loop(network, image, brain, step)
    assert np.ptp(expected[brain]) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_bfloat16_is_close(network, image, brain):
    fast = for_prediction(network)

    def lesion(precision):
        return case_scores(
            case_of(image, brain),
            predict=lambda x, _: fast(x).float().softmax(1),
            windows=DensePatches(PATCH, (8, 8, 2)),
            lesion_channel=1,
            precision=precision,
        ).lesion

    full, half = lesion("32"), lesion("bf16")
    difference = np.abs(full - half)[brain]
    assert 0 < difference.max() <= 1e-2
    assert difference.mean() <= 1e-3
    one, other = full > 0.5, half > 0.5
    assert one.sum() > 500
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) >= 0.999
