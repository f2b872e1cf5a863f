"""The Segmenter around nnU-Net's networks: logits at several resolutions, softmax over two classes, parts in 3D."""

import pytest
import torch

from strokelab import build_model
from strokelab.losses.compound import DiceBCELoss, DiceCELoss
from strokelab.losses.deep_supervision import DeepSupervision
from strokelab.models.segmenter import Segmenter
from strokelab.networks import nnunet as module
from strokelab.networks.nnunet import NNUNet
from strokelab.networks.unet import UNet

PLAN = {"widths": (4, 6, 8), "kernels": ((3, 3, 3),) * 3, "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2))}


def batch_of(size=2, side=16):
    generator = torch.Generator().manual_seed(0)
    lesion = (torch.rand(size, 1, *[side] * 3, generator=generator) > 0.9).to(torch.uint8)
    return {
        "image": torch.randn(size, 1, *[side] * 3, generator=generator) + 2 * lesion,
        "lesion": lesion,
        "brain": torch.ones_like(lesion),
        "site": torch.arange(size) % 2,
        "case_id": [str(number) for number in range(size)],
        "origin": torch.zeros(size, 3, dtype=torch.int64),
    }


def model_of(name="nnunet", **overrides):
    torch.manual_seed(0)
    return build_model(name, **PLAN, **overrides)


@pytest.mark.parametrize("name", ["nnunet", "nnunet_topk", "nnunet_residual"])
def test_scores_are_shares_of_two_classes_and_the_second_is_the_lesion(name):
    model, batch = model_of(name), batch_of()
    scores = model.predict_scores(batch["image"], batch["brain"])
    assert scores.shape == (2, 2, 16, 16, 16)
    assert torch.allclose(scores.sum(1), torch.ones(2, 16, 16, 16), atol=1e-6)
    assert model.lesion_channel == 1


@pytest.mark.parametrize("name", ["nnunet", "nnunet_topk", "nnunet_residual"])
def test_every_weight_learns_from_a_step(name):
    """Also the head of weight 0: DDP waits for it."""
    model, batch = model_of(name).train(), batch_of()
    model.loss(model.network(batch["image"]), batch["lesion"].float()).backward()
    silent = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert not silent


def test_any_loss_serves_a_network_of_several_resolutions():
    network = NNUNet(1, 1, **PLAN)
    model = Segmenter(network, DiceBCELoss(), torch.optim.SGD)
    assert isinstance(model.loss, DeepSupervision)
    logits = network(batch_of()["image"])
    assert model.loss(logits, batch_of()["lesion"].float()).isfinite()
    asked = DeepSupervision(DiceCELoss(), skip_coarsest=False)
    assert Segmenter(NNUNet(1, **PLAN), asked, torch.optim.SGD).loss is asked
    plain = DiceBCELoss()
    assert Segmenter(UNet(1, base=2, depth=2), plain, torch.optim.SGD).loss is plain


def test_adversary_and_hemispheres_in_3d_on_the_bottleneck():
    from strokelab.models.adversary import SiteAdversary
    from strokelab.networks.hemispheres import Hemispheres

    torch.manual_seed(0)
    parts = {"hemispheres": Hemispheres(), "adversary": lambda **given: SiteAdversary(**given, n_sites=2)}
    model = Segmenter(NNUNet(1, **PLAN), DiceCELoss(), torch.optim.SGD, lesion_channel=1, **parts).train()
    halves = model.condition(batch_of())
    assert halves["image"].shape == (4, 1, 8, 16, 16)
    features = model.network.encode(halves["image"])
    site_loss, _ = model.adversary(features[-1], halves["site"])
    (model.loss(model.network.decode(features), halves["lesion"].float()) + site_loss).backward()
    assert all(weight.grad is not None for weight in model.parameters())
    batch = batch_of()
    assert model.predict_scores(batch["image"], batch["brain"]).shape == (2, 2, 16, 16, 16)


def test_channels_last_gives_the_same_numbers_in_3d():
    first, last = model_of(), model_of(channels_last=True)
    weight = last.network.encoder[1][1].conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    batch = batch_of()
    losses, gradients = [], []
    for model in (first, last):
        loss = model.train().loss(model.network(batch["image"]), batch["lesion"].float())
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    assert (gradients[0] - gradients[1]).norm() <= 1e-3 * gradients[0].norm()


def test_samples_that_follow_one_another_give_the_numbers_of_the_batch(monkeypatch):
    """Large patches on a CPU: the memory of one at a time."""
    batch, losses, gradients = batch_of(3), [], []
    for large in (2**24, 0):
        monkeypatch.setattr(module, "_LARGE", large)
        model = model_of().double()
        logits = model.train().network(batch["image"].double())
        assert [tuple(each.shape) for each in logits] == [(3, 2, 16, 16, 16), (3, 2, 8, 8, 8)]
        loss = model.loss(logits, batch["lesion"].double())
        loss.backward()
        losses.append(loss.item())
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        whole = model.eval().network(batch["image"].double())
        assert whole.shape == (3, 2, 16, 16, 16)
    assert losses[0] == pytest.approx(losses[1], abs=1e-12)
    assert torch.allclose(*gradients, atol=1e-12)
