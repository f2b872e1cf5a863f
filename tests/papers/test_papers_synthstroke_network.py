"""SynthStroke (Chalcroft 2024), section 15, points 1, 8, 9 and 13: network, loss, flips and learning rate."""

import math

import numpy as np
import pytest
import torch
from torch.optim.lr_scheduler import PolynomialLR

from strokelab.inference.windows import PatchWindows
from strokelab.losses.compound import SoftDiceCELoss
from strokelab.networks.cost import count_parameters
from strokelab.networks.synthstroke_unet import SynthStrokeUNet

BACKGROUND_AND_LESION = torch.tensor([[True, False, False, False, False, True]])


@pytest.mark.parametrize(("classes", "parameters"), [(6, 18_623_079), (2, 18_615_295)])
def test_parameters_and_shapes(classes, parameters):
    with torch.device("meta"):
        network = SynthStrokeUNet(1, classes)
    assert count_parameters(network) == parameters
    assert not list(network.buffers())
    assert network(torch.empty(1, 1, 64, 64, 64, device="meta")).shape == (1, classes, 64, 64, 64)
    bottom = network.encode(torch.empty(1, 1, 192, 192, 192, device="meta"))[-1]
    assert bottom.shape == (1, 320, 6, 6, 6)


def fractions(samples=2, voxels=50, seed=0):
    """Logits and targets (B, 6, voxels) that sum to 1."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(samples, 6, voxels, generator=generator, dtype=torch.float64)
    return logits, torch.randn(samples, 6, voxels, generator=generator, dtype=torch.float64).softmax(dim=1)


def test_the_loss_by_hand():
    """Two voxels, three classes; logits whose softmax is known."""
    p = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]).T[None]
    t = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]).T[None]
    first = (2 * 0.2 * 0.5 + 1e-5) / (0.45 + 0.5 + 1e-5)
    second = (2 * 0.6 * 0.5 + 1e-5) / (0.85 + 0.5 + 1e-5)
    entropy = (-math.log(0.5) - 0.5 * math.log(0.2) - 0.5 * math.log(0.6)) / 2
    expected = 1 - (first + second) / 2 + entropy
    assert SoftDiceCELoss()(p.log(), t).item() == pytest.approx(expected, abs=1e-6)
    assert SoftDiceCELoss(ce=0)(p.log(), t).item() == pytest.approx(1 - (first + second) / 2, abs=1e-6)
    assert SoftDiceCELoss()(100 * t, t.round()).item() >= 0


def test_sums_run_over_the_batch_and_an_absent_class_costs_nothing():
    logits, target = fractions()
    p, dims = logits.softmax(dim=1), (0, 2)
    dice = (2 * (p * target).sum(dims) + 1e-5) / (p.sum(dims) + target.sum(dims) + 1e-5)
    assert SoftDiceCELoss(ce=0)(logits, target).item() == pytest.approx(1 - dice[1:].mean().item(), abs=1e-12)
    nothing = torch.zeros(1, 3, 8)
    nothing[:, 0] = 1
    assert SoftDiceCELoss()(200 * nothing, nothing).item() == 0


def test_a_real_batch_knows_nothing_of_tissues():
    logits, _ = fractions()
    lesion = torch.zeros(2, 1, 50).double()
    lesion[:, :, :9] = 1
    target = torch.cat([1 - lesion, torch.zeros(2, 4, 50), lesion], dim=1)
    known = BACKGROUND_AND_LESION.expand(2, -1)
    logits.requires_grad = True
    loss = SoftDiceCELoss()(logits, target, known)
    loss.backward()
    assert (logits.grad[:, 1:5] == 0).all()
    assert (logits.grad[:, [0, 5]] != 0).all()
    other = logits.detach().clone()
    other[:, 1:5] = 50 * torch.randn(2, 4, 50)
    assert SoftDiceCELoss()(other, target, known).item() == loss.item()
    two = SoftDiceCELoss()(logits[:, [0, 5]], target[:, [0, 5]])
    assert loss.item() == pytest.approx(two.item(), abs=1e-12)


def test_a_batch_of_both_kinds_compares_each_with_what_it_knows():
    logits, target = fractions()
    known = torch.cat([torch.ones(1, 6, dtype=torch.bool), BACKGROUND_AND_LESION])
    target[1, 1:5] = 0
    target[1] /= target[1].sum(dim=0)
    logits.requires_grad = True
    SoftDiceCELoss()(logits, target, known).backward()
    assert (logits.grad[0] != 0).all()
    assert (logits.grad[1, 1:5] == 0).all()


def test_the_learning_rate_falls_to_nothing_and_goes_on_after_a_stop():
    def start():
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=1e-4)
        return optimizer, PolynomialLR(optimizer, total_iters=1000, power=0.9)

    optimizer, schedule = start()
    rates = []
    for step in range(1001):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
        if step == 299:
            kept = optimizer.state_dict(), schedule.state_dict()
            optimizer, schedule = start()
            optimizer.load_state_dict(kept[0])
            schedule.load_state_dict(kept[1])
    np.testing.assert_allclose([rates[0], rates[500], rates[1000]], [1e-4, 5.359e-5, 0], atol=5e-9)
    np.testing.assert_allclose(rates, [1e-4 * (1 - n / 1000) ** 0.9 for n in range(1001)], rtol=1e-9)


def logits_of_windows(image, mirror):
    """What the windows make of a network that commutes with flips: two classes, each voxel for itself."""
    windows = PatchWindows((8, 8, 8), mirror=mirror, scores="logits")
    return windows(image, lambda x, brain: torch.cat([-x, x], dim=1).softmax(dim=1), image[0] != 0)


def test_eight_flips_of_a_network_that_commutes_with_them_are_one_plain_pass():
    image = torch.randn(1, 12, 9, 10, generator=torch.Generator().manual_seed(0))
    plain, eight = (logits_of_windows(image, mirror) for mirror in ("none", "xyz"))
    torch.testing.assert_close(eight, plain, atol=1e-5, rtol=0)
    torch.testing.assert_close(eight[1] - eight[0], 2 * image[0], atol=1e-5, rtol=0)


def test_the_mean_of_flips_is_of_logits_and_divides_by_eight():
    """A network that answers 8 where its first voxel is the largest, else 0."""

    def predict(x, brain):
        corner = (x[:, :, 0, 0, 0] == 1).float().reshape(-1, 1, 1, 1, 1).expand_as(x)
        return torch.cat([torch.zeros_like(x), 8 * corner], dim=1).softmax(dim=1)

    image = torch.zeros(1, 4, 4, 4)
    image[0, 3, 0, 3] = 1  # in the first voxel after one of the eight flips
    logits = PatchWindows((4, 4, 4), gaussian=0, scores="logits")(image, predict, image[0] == 0)
    torch.testing.assert_close(logits[1] - logits[0], torch.ones(4, 4, 4), atol=1e-5, rtol=0)
