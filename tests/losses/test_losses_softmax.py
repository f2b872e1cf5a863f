"""nnU-Net's losses over softmax classes: against written-out definitions, partly known classes, several processes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from two_processes import in_two_processes

from strokelab.errors import ConfigError
from strokelab.losses.compound import DiceCELoss, SoftDiceCELoss
from strokelab.losses.cross_entropy import softmax_cross_entropy
from strokelab.losses.deep_supervision import DeepSupervision, weights
from strokelab.losses.dice import lesion_dice


def drawn(*shape, seed=0, classes=2):
    """Logits (B, K, *S) and a lesion (B, 1, *S)."""
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(shape[0], classes, *shape[1:], generator=generator, dtype=torch.float64)
    lesion = (torch.rand(shape[0], 1, *shape[1:], generator=generator) > 0.7).double()
    return logits, lesion


def one_hot(labels, classes):
    return functional.one_hot(labels, classes).movedim(-1, 1).double()


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_cross_entropy_of_two_classes_is_pytorchs(seed):
    logits, lesion = drawn(2, 5, 4, seed=seed)
    expected = functional.cross_entropy(logits, lesion[:, 0].long())
    assert softmax_cross_entropy(logits, lesion).item() == pytest.approx(expected.item(), abs=1e-8)
    both = torch.cat([1 - lesion, lesion], dim=1)
    assert softmax_cross_entropy(logits, both).item() == pytest.approx(expected.item(), abs=1e-8)
    known = torch.ones(2, 2, dtype=torch.bool)
    assert softmax_cross_entropy(logits, lesion, known).item() == pytest.approx(expected.item(), abs=1e-8)


def test_cross_entropy_of_many_classes_is_pytorchs():
    logits, _ = drawn(2, 5, 4, 3, classes=4)
    labels = torch.randint(0, 4, (2, 5, 4, 3), generator=torch.Generator().manual_seed(1))
    expected = functional.cross_entropy(logits, labels)
    assert softmax_cross_entropy(logits, one_hot(labels, 4)).item() == pytest.approx(expected.item(), abs=1e-10)


def test_fractions_of_a_lesion():
    logits = torch.tensor([0.0, 2.0]).reshape(1, 2, 1)
    p, q = 0.25, 1 / (1 + math.exp(-2))
    expected = -(p * math.log(q) + (1 - p) * math.log(1 - q))
    assert softmax_cross_entropy(logits, torch.full((1, 1, 1), p)).item() == pytest.approx(expected, abs=1e-6)


def test_unknown_classes_leave_a_softmax_over_the_known_ones():
    """A real scan in a model of tissues: background and lesion alone are compared."""
    logits, lesion = drawn(3, 6, 5, classes=4)
    target = torch.cat([1 - lesion, torch.zeros(3, 2, 6, 5), lesion], dim=1)
    known = torch.tensor([[True, False, False, True]] * 3)
    two = logits[:, [0, 3]]
    seen, expected = softmax_cross_entropy(logits, target, known), softmax_cross_entropy(two, lesion)
    assert seen.item() == pytest.approx(expected.item(), abs=1e-9)
    assert lesion_dice(logits, target, known).item() == pytest.approx(lesion_dice(two, lesion).item(), abs=1e-9)
    seen = softmax_cross_entropy(logits, target, known, worst_percent=20)
    expected = softmax_cross_entropy(two, lesion, worst_percent=20)
    assert seen.item() == pytest.approx(expected.item(), abs=1e-9)


@pytest.mark.parametrize("topk", [None, 10])
def test_a_sample_that_knows_a_single_class_counts_nowhere(topk):
    logits, lesion = drawn(3, 6, 5)
    logits.requires_grad = True
    known = torch.tensor([[True, True], [True, False], [True, True]])
    loss = DiceCELoss(topk=topk)(logits, lesion, known)
    alone = DiceCELoss(topk=topk)(logits[[0, 2]], lesion[[0, 2]])
    assert loss.item() == pytest.approx(alone.item(), abs=1e-9)
    loss.backward()
    assert logits.grad.isfinite().all()
    assert (logits.grad[1] == 0).all()
    nothing = DiceCELoss(topk=topk)(logits, lesion, torch.zeros(3, 2, dtype=torch.bool))
    assert nothing.item() == 0.0


def test_dice_of_sums_over_the_batch():
    logits, lesion = drawn(3, 6, 5)
    q = logits.softmax(dim=1)[:, 1:]
    overlap, size = (2 * (q * lesion).sum() + 1e-5), q.sum() + lesion.sum() + 1e-5
    assert lesion_dice(logits, lesion, over="batch").item() == pytest.approx((overlap / size).item(), abs=1e-7)


def test_dice_of_many_classes_leaves_the_background_out():
    logits, _ = drawn(2, 6, 5, classes=3)
    labels = torch.randint(0, 3, (2, 6, 5), generator=torch.Generator().manual_seed(2))
    p, q = one_hot(labels, 3), logits.softmax(dim=1)
    dims = (2, 3)
    each = (2 * (p * q).sum(dims) + 1e-5) / (p.sum(dims) + q.sum(dims) + 1e-5)
    assert lesion_dice(logits, p).item() == pytest.approx(each[:, 1:].mean().item(), abs=1e-7)


def test_a_single_map_passes_the_sigmoid():
    logits, lesion = drawn(2, 6, 5, classes=1)
    pair = torch.cat([torch.zeros_like(logits), logits], dim=1)
    assert DiceCELoss()(logits, lesion).item() == pytest.approx(DiceCELoss()(pair, lesion).item(), abs=1e-9)
    with pytest.raises(ConfigError, match="topk"):
        DiceCELoss(topk=10)(logits, lesion)


def test_a_single_map_of_the_soft_loss_passes_the_sigmoid():
    logits, lesion = drawn(2, 6, 5, classes=1)
    pair = torch.cat([torch.zeros_like(logits), logits], dim=1)
    assert SoftDiceCELoss()(logits, lesion).item() == pytest.approx(SoftDiceCELoss()(pair, lesion).item(), abs=1e-9)


@pytest.mark.parametrize("topk", [0, -1, 101])
def test_topk_is_a_share(topk):
    with pytest.raises(ConfigError, match="per cent"):
        DiceCELoss(topk=topk)


@given(st.integers(0, 1000), st.floats(0.5, 100))
@settings(max_examples=30, deadline=None)
def test_the_worst_voxels_cost_at_least_the_mean(seed, percent):
    logits, lesion = drawn(2, 7, 3, seed=seed)
    worst = softmax_cross_entropy(logits, lesion, worst_percent=percent).item()
    each = (
        functional.cross_entropy(logits, lesion[:, 0].long(), reduction="none").flatten().sort(descending=True).values
    )
    kept = max(1, math.floor(percent * 42 / 100))
    assert worst == pytest.approx(each[:kept].mean().item(), abs=1e-8)
    assert worst >= softmax_cross_entropy(logits, lesion).item() - 1e-9


def test_only_the_worst_voxels_have_gradients():
    logits, lesion = drawn(2, 10, 5)
    logits.requires_grad = True
    softmax_cross_entropy(logits, lesion, worst_percent=10).backward()
    assert int((logits.grad[:, 1] != 0).sum()) == 10


def test_half_precision_logits_are_summed_in_float32():
    logits, lesion = (each.float() for each in drawn(1, 60, 60))
    half = logits.bfloat16()
    loss = DiceCELoss()(half, lesion)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(DiceCELoss()(half.float(), lesion).item(), abs=1e-6)


def test_deep_supervision_takes_nearest_labels_and_weighs_them():
    generator = torch.Generator().manual_seed(0)
    lesion = (torch.rand(2, 1, 8, 8, 8, generator=generator) > 0.5).float()
    logits = [torch.randn(2, 2, *[side] * 3, generator=generator) for side in (8, 4, 2)]
    each = DiceCELoss()
    seen = DeepSupervision(each, skip_coarsest=False)(logits, lesion)
    parts = [
        each(map_, lesion[..., k // 2 :: k, k // 2 :: k, k // 2 :: k])
        for map_, k in zip(logits, (1, 2, 4), strict=True)
    ]
    assert seen.item() == pytest.approx(((4 * parts[0] + 2 * parts[1] + parts[2]) / 7).item(), abs=1e-6)
    seen = DeepSupervision(each)(logits, lesion)
    assert seen.item() == pytest.approx(((2 * parts[0] + parts[1]) / 3).item(), abs=1e-6)
    assert DeepSupervision(each)(logits[0], lesion).item() == parts[0].item()
    assert DeepSupervision(each)(logits[:1], lesion).item() == parts[0].item()


def test_logits_that_weigh_nothing_are_used_without_a_gradient():
    """DDP waits for the gradient of every weight."""
    logits = [torch.randn(1, 2, side, side, requires_grad=True) for side in (4, 2)]
    DeepSupervision(DiceCELoss())(logits, torch.zeros(1, 1, 4, 4)).backward()
    assert (logits[1].grad == 0).all()
    assert (logits[0].grad != 0).any()


def test_weights_of_any_number_of_outputs():
    for outputs in range(1, 8):
        for skip in (True, False):
            numbers = weights(outputs, skip_coarsest=skip)
            assert sum(numbers) == pytest.approx(1)
            assert (numbers[-1] == 0) == (skip and outputs > 1)


LOSSES = {
    "dice and cross-entropy": DiceCELoss(),
    "sums over the batch": DiceCELoss(batch_dice=True),
    "worst voxels": DiceCELoss(topk=10),
    "worst voxels, ties": DiceCELoss(topk=50),
    "soft, of the batch": SoftDiceCELoss(),
}


def loss_of_a_share(rank: int, name: str, unequal: bool) -> tuple[float, torch.Tensor]:
    """Loss and gradient by the logits of this process's samples: two here and one there, or one and one."""
    logits, lesion = drawn(3 if unequal else 2, 6, 5)
    if name.endswith("ties"):
        logits, lesion = logits.round().clamp(-1, 1), torch.zeros_like(lesion)
    mine = slice(0, len(logits) - 1) if rank == 0 else slice(len(logits) - 1, None)
    own = logits[mine].clone().requires_grad_()
    loss = LOSSES[name](own, lesion[mine])
    loss.backward()
    return loss.item(), own.grad / 2  # DDP takes the mean of two processes


def every_share(rank: int) -> dict[tuple[str, bool], tuple[float, torch.Tensor]]:
    return {(name, unequal): loss_of_a_share(rank, name, unequal) for name in LOSSES for unequal in (False, True)}


def test_two_processes_see_the_loss_and_the_gradients_of_one(tmp_path):
    shares = in_two_processes(every_share, tmp_path)
    for name, loss in LOSSES.items():
        for unequal in (False, True):
            logits, lesion = drawn(3 if unequal else 2, 6, 5)
            ties = name.endswith("ties")
            if ties:
                logits, lesion = logits.round().clamp(-1, 1), torch.zeros_like(lesion)
            logits.requires_grad = True
            whole = loss(logits, lesion)
            whole.backward()
            gradient = torch.cat([share[name, unequal][1] for share in shares])
            for share in shares:
                assert share[name, unequal][0] == pytest.approx(whole.item(), abs=1e-9)
            if ties:  # one process takes any of equal values, two share them out: their sum is the same
                assert gradient.sum().item() == pytest.approx(logits.grad.sum().item(), abs=1e-9)
            else:
                assert torch.allclose(gradient, logits.grad, atol=1e-9)
