"""SynthStroke, section 6 of its method: what is drawn for a real sample has the distributions of the paper."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from strokelab.augment.synthstroke import SynthStrokeAugment
from strokelab.augment.warp import Elastic, smooth_shift
from strokelab.grid import Grid
from strokelab.sampling.boxes import Drawing
from strokelab.sampling.crops import Crops
from strokelab.seeding import stream


def drawn(count):
    return [SynthStrokeAugment().draw(stream(0, "augment", index), 1, (192, 192, 192)) for index in range(count)]


def test_what_is_drawn_has_the_distributions_of_the_paper():
    plans = drawn(1500)
    for name in ("warp", "shift", "bias", "gamma"):
        assert abs(np.mean([bool(getattr(plan, name)) for plan in plans]) - 0.8) < 0.04, name
    assert all(plan.noise is None for plan in plans)
    for axis in "xyz":
        assert abs(np.mean([axis in plan.mirror for plan in plans]) - 0.449) < 0.05
    warps = [plan.warp for plan in plans if plan.warp]
    matrices = np.array([warp.matrix for warp in warps])
    assert abs(matrices - np.eye(3)).max() < 0.5
    scales = np.linalg.det(matrices)  # of three factors, each uniform on 0.85..1.15
    assert 0.85**3 <= scales.min() < 0.8
    assert 1.2 < scales.max() <= 1.15**3
    assert 49 < min(warp.elastic.magnitude for warp in warps) < 55 < 145 < max(warp.elastic.magnitude for warp in warps)
    sigmas = [warp.elastic.sigma[0] for warp in warps]
    assert 5 <= min(sigmas) < 5.1 < 6.9 < max(sigmas) <= 7
    gammas = [plan.gamma[0] for plan in plans if plan.gamma]
    assert 0.5 <= min(gammas) < 0.6 < 4.4 < max(gammas) <= 4.5
    coefficients = np.array([plan.bias[0] for plan in plans if plan.bias])
    assert coefficients.shape[1] == 20
    assert 0 <= coefficients.min() < 0.001 < 0.099 < coefficients.max() <= 0.1


def test_inner_points_of_the_histogram_lie_between_new_left_and_old_right():
    points = np.array([plan.shift[0] for plan in drawn(1500) if plan.shift])
    assert points.shape[1] == 10
    assert (points[:, 0] == 0).all()
    assert (points[:, -1] == 1).all()
    assert (np.diff(points, axis=1) >= 0).all()
    old = np.linspace(0, 1, 10)
    share = (points[:, 1:-1] - points[:, :-2]) / (old[2:] - points[:, :-2])  # uniform on 0..1, each
    assert np.allclose(share.mean(axis=0), 0.5, atol=0.04)
    assert np.allclose(share.std(axis=0), 12**-0.5, atol=0.03)


@pytest.mark.parametrize("sigma", [5.0, 7.0])
def test_shifts_are_noise_of_every_voxel_smoothed(sigma):
    """0.23 to 1.16 voxels, from the smoothest and weakest to the roughest and strongest field of the paper."""
    rng = np.random.default_rng(1)
    by_hand = ndimage.gaussian_filter(rng.uniform(-1, 1, (128, 128, 128)), sigma, mode="wrap").std()
    shifts = [
        smooth_shift(Elastic((sigma,) * 3, (0.0,) * 3, seed, 1.0), (64, 48, 56), torch.device("cpu"))
        for seed in range(12)
    ]
    found = float(torch.stack(shifts).std())
    assert found == pytest.approx(by_hand, rel=0.06)
    assert 0.2 < 50 * found < 150 * found < 1.4
    # As strong at the border as inside.
    faces = torch.stack([shift[:, 0] for shift in shifts]).std()
    assert float(faces) == pytest.approx(found, rel=0.15)


def test_crops_of_192_lie_anywhere_in_the_256_around_atlas():
    """ATLAS has 197 x 233 x 189 voxels in the middle of the 256: starts run from -30, -12 and -34, over 65 each."""
    case = SimpleNamespace(case_id="a", grid=Grid.of((197, 233, 189), np.eye(4)), lesion_voxels=0)
    places = Crops((192, 192, 192), within=(256, 256, 256)).places([case], Drawing("train", 1, 1))
    starts = places.at([(epoch, 0) for epoch in range(2000)])[1]
    assert starts.min(axis=0).tolist() == [-30, -12, -34]
    assert starts.max(axis=0).tolist() == [34, 52, 30]
    assert abs(starts.mean(axis=0) - (2, 20, -2)).max() < 1.5
