"""Unlearning as in the comparators' spec, section 9: the points that are about it, by their numbers."""

from __future__ import annotations

import math
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from fingerprint import assert_fingerprint, fingerprinted, image
from lightning.pytorch import Callback
from small_segmenter import PLANE, SITES, Batches, batch_of, trainer_with
from torch import nn

from strokelab import build_model
from strokelab.configuration import build, compose, plain
from strokelab.errors import ConfigError
from strokelab.losses.dice import BatchDiceLoss
from strokelab.losses.site import confusion_loss, domain_loss
from strokelab.models.cost import model_cost
from strokelab.models.segmenter import Segmenter
from strokelab.models.unlearning import Unlearning
from strokelab.networks.comparators.unlearning import UnlearningUNet
from strokelab.networks.cost import count_parameters, torchstat_reading
from strokelab.networks.domain_head import DomainHead
from strokelab.networks.unet import UNet
from strokelab.sampling.order import EpochBatchSampler
from strokelab.sampling.site_stratified import SiteStratified
from strokelab.training.alternating import check_alternating, with_unused_parameters

WHERE = ("decoder", "bottleneck", "both")


def small(where="decoder", *, seed=0, stage1=0, beta=10.0, dropout=True, network=None, optimizer=None, **settings):
    torch.manual_seed(seed)
    network = UnlearningUNet(1, base=4, depth=3) if network is None else network
    adversary = partial(
        Unlearning, n_sites=SITES, plane=PLANE, where=where, beta=beta, stage1_epochs=stage1, **settings
    )
    model = Segmenter(network, BatchDiceLoss(), optimizer or partial(torch.optim.Adam, lr=1e-2), adversary=adversary)
    for layer in model.modules():
        if isinstance(layer, nn.Dropout) and not dropout:
            layer.p = 0.0
    return model


class Steps:
    """The model in a trainer, its state before and after each update of the first batch of an epoch."""

    def __init__(self, model: Segmenter, folder: Path, *, batches=1, epochs=1, **settings) -> None:
        self.states, self.gradients = [], []
        self.model = model
        backward = model.manual_backward

        def noted(loss, *args, **kwargs):
            self.states.append(state(model))
            backward(loss, *args, **kwargs)
            self.gradients.append({name: None if w.grad is None else w.grad.clone() for name, w in named(model)})

        model.manual_backward = noted
        self.trainer, self.memory = trainer_with(folder, epochs, **settings)
        self.trainer.fit(model, Batches(batches))
        self.states.append(state(model))
        del model.manual_backward


def named(model):
    return list(model.named_parameters())


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(before, after):
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_point_1_parameters():
    network = UnlearningUNet(1)
    assert count_parameters(network) == 27_938_113
    assert count_parameters(network) - count_parameters(network.segmenter) == 27_901_056
    assert count_parameters(DomainHead(64, 8, sides=(224, 192))) == 173_002
    assert count_parameters(build_model("unlearning")) == 27_938_113 + 173_002


def test_point_2_fingerprints():
    network = fingerprinted(UnlearningUNet(1))
    x = image(1, 1, 48, 32)
    with torch.no_grad():
        values = [-1.46952697, -8.36411014, -23.681687, 49.8107218, 75.167394, -1.29595591]
        assert_fingerprint(network(x), -0.599055263, 102.940997, values)
        values = [7.43829453, 11.3104936, 0, 1.1987579, 26.1106314, 0.700040582]
        assert_fingerprint(network.features(x), 21.4201705, 32.6385437, values)
        assert torch.equal(network(x), network.decode(network.encode(x)))
        assert torch.equal(network(x), network.segment(network.features(x)))
        head = fingerprinted(DomainHead(64, 8, sides=(96, 64)))
        values = [-0.022074523, 0.0469596946, -0.129253838, -0.0331442226, -0.014043284, 0.0860772526]
        assert_fingerprint(head(image(2, 64, 96, 64)), -0.0164036342, 0.0672381353, values)


class FeaturesAlone(nn.Module):
    """What Table V counted: the network up to its features."""

    def __init__(self):
        super().__init__()
        self.network = UnlearningUNet(1)
        self.network.segmenter = nn.Identity()

    def forward(self, image):
        return self.network.features(image)


def test_point_3_costs():
    assert model_cost(build_model("unlearning"), (224, 192)).macs / 1e9 == pytest.approx(26.804, abs=1e-3)
    with torch.device("meta"):
        reading = torchstat_reading(FeaturesAlone().eval(), torch.empty(1, 1, 224, 192))
    assert reading.memory_mib == pytest.approx(205.73, abs=0.01)
    assert reading.madds / 1e9 == pytest.approx(50.50, abs=0.01)
    assert reading.flops / 1e9 == pytest.approx(23.86, abs=0.01)


@pytest.mark.parametrize("size", [(40, 32), (32, 40)])
def test_point_5_sides_and_shapes(size):
    network = UnlearningUNet(1, base=2)
    assert network(torch.zeros(1, 1, 48, 32)).shape == (1, 1, 48, 32)
    with pytest.raises(ConfigError, match="UnlearningUNet") as caught:
        network(torch.zeros(1, 1, *size))
    assert "divisible by 16" in caught.value.expected


def test_point_9_losses():
    p, q = torch.tensor([1.0, 1, 0, 0]), torch.tensor([0.8, 0.4, 0.2, 0.0])
    found = BatchDiceLoss()(torch.logit(q).view(1, 1, 4), p.view(1, 1, 4))
    assert found.item() == pytest.approx(0.294118, abs=1e-6)
    site = torch.tensor([3])
    uniform, sure = torch.full((1, 8), 1 / 8), torch.full((1, 8), 0.1 / 7)
    sure[0, 3] = 0.9
    assert domain_loss(uniform.log(), site).item() == pytest.approx(0.376770, abs=1e-6)
    assert confusion_loss(uniform.log(), site).item() == pytest.approx(2.079442, abs=1e-6)
    assert domain_loss(sure.log(), site).item() == pytest.approx(0.025760, abs=1e-6)
    assert confusion_loss(sure.log(), site).item() == pytest.approx(3.730603, abs=1e-6)
    logits, sites = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), torch.arange(5)
    assert confusion_loss(logits, sites) > 5 * math.log(8)
    unknown = torch.tensor([0, 1, -1, 3, -1])
    assert confusion_loss(logits, unknown) == pytest.approx(confusion_loss(logits[[0, 1, 3]], sites[:3]).item())
    assert domain_loss(logits, unknown).item() == pytest.approx(
        domain_loss(logits[[0, 1, 3]], torch.tensor([0, 1, 3])).item()
    )
    extreme = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    (domain_loss(extreme, torch.tensor([1])) + confusion_loss(extreme, torch.tensor([1]))).backward()
    assert extreme.grad.isfinite().all()


@pytest.mark.parametrize("where", WHERE)
def test_point_10_each_step_changes_its_own(where, tmp_path):
    steps = Steps(small(where), tmp_path)
    before, after_a, after_b, after_c = steps.states
    weights = {name for name, _ in named(steps.model)}
    heads = {name for name in weights if name.startswith("adversary.")}
    features = {name for name in weights if name.startswith("network.")}
    features -= {name for name in features if ".segmenter." in name}
    reached = features if where != "bottleneck" else {name for name in features if ".encoder." in name}
    assert changed(before, after_a) & weights == weights - heads
    assert changed(after_a, after_b) & weights == heads
    assert changed(after_b, after_c) & weights == reached
    assert all(steps.gradients[1][name] is None for name in weights - heads), "gradient into the features"
    statistics = {name: value for name, value in after_c.items() if name.endswith("num_batches_tracked")}
    assert {value.item() for value in statistics.values()} == {1}
    running = {name for name in before if "running" in name}
    assert not changed(after_b, after_c) & running


def test_point_10_the_rate_of_step_c_is_its_strength(tmp_path):
    still = Steps(small(rates={"confuse": 0.0}), tmp_path)
    _, after_a, _, after_c = still.states
    network = {name for name in after_a if name.startswith("network.")}
    assert not changed(after_a, after_c) & {name for name, _ in named(still.model) if name in network}

    def moved(beta):
        *_, after_b, after_c = Steps(small(beta=beta, dropout=False), tmp_path).states
        moves = [(after_c[name] - after_b[name]).flatten() for name, _ in named(small()) if name in network]
        return torch.cat(moves)

    one, ten = moved(10.0), moved(100.0)
    assert (ten - one).norm() < 0.01 * one.norm()
    assert one.norm() > 0


def test_point_10_stage_1_ends_and_moments_are_fresh(tmp_path):
    assert plain(compose("train", ["model=unlearning", "run_dir=x"]))["model"]["adversary"]["stage1_epochs"] == 99
    for fresh in (True, False):
        model, seen = small(stage1=1, fresh_optimizers=fresh), []
        begin = model.adversary._begin

        def noted(optimizer, rate, *, afresh, begin=begin, seen=seen):
            begin(optimizer, rate, afresh=afresh)
            seen.append((afresh, len(optimizer.state)))

        model.adversary._begin = noted
        steps = Steps(model, tmp_path, batches=2, epochs=3)
        assert len(steps.gradients) == 2 + 2 * 2 * 3, "one update of each batch of stage 1, then three"
        firsts = [states for first, states in seen if first]
        assert len(firsts) == 6
        assert firsts[:3] == [0, 0, 0]
        assert (firsts[3:] == [0, 0, 0]) == fresh
        assert all(states > 0 for first, states in seen if not first)


def test_stage_1_is_one_update_of_everything(tmp_path):
    """The sum over sites of each site's Dice, and the head's loss, whose gradient goes on into the features."""
    model = small(stage1=1, dropout=False)
    batch = batch_of(seed=0)
    logits, site_loss, _ = model.adversary.judge(model.network, batch["image"], batch["site"])
    by_hand = sum(
        BatchDiceLoss()(logits[batch["site"] == k], batch["lesion"][batch["site"] == k].float())
        for k in batch["site"].unique()
    )
    steps = Steps(small(stage1=1, dropout=False), tmp_path)
    row = steps.memory.by_epoch()[0]
    assert row["train/segmentation_loss"] == pytest.approx(by_hand.item(), abs=1e-6)
    assert row["site/loss"] == pytest.approx(site_loss.item(), abs=1e-6)
    assert all(gradient is not None for gradient in steps.gradients[0].values())


@pytest.mark.parametrize("at", [2, 4, 6, 7])
def test_point_11_resumed_at_any_batch(at, tmp_path):
    """Three batches an epoch, one epoch of stage 1: within stage 1, just behind its end, between epochs of stage 2."""

    class Kept(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if trainer.global_step == at and batch_idx < 2:
                trainer.save_checkpoint(tmp_path / "kept.ckpt")

        def on_train_epoch_end(self, trainer, pl_module):
            if trainer.global_step == at == 6:
                trainer.save_checkpoint(tmp_path / "kept.ckpt")

    def built(seed):
        sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
        return small("both", stage1=1, optimizer=sgd, seed=seed, dropout=False)

    whole, kept = built(0), Kept()
    trainer, memory = trainer_with(tmp_path, 3, callbacks=[kept])
    trainer.fit(whole, Batches(3))
    assert trainer.global_step == 9, "one step a batch is counted"
    resumed = built(9)
    trainer, again = trainer_with(tmp_path, 3)
    trainer.fit(resumed, Batches(3, skip=at % 3), ckpt_path=tmp_path / "kept.ckpt", weights_only=True)
    assert trainer.global_step == 9
    assert not changed(state(whole), state(resumed))
    assert memory.by_epoch()[2] == again.by_epoch()[2]


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("+trainer.gradient_clip_val=1", "trainer.gradient_clip_val"),
        ("+trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches"),
        ("trainer.precision=16-mixed", "trainer.precision"),
        (
            "+callbacks.more={_target_:lightning.pytorch.callbacks.GradientAccumulationScheduler,scheduling:{1:2}}",
            "callbacks.more",
        ),
    ],
)
def test_point_11_what_cannot_be_heeded_is_an_error_by_name(setting, name):
    with pytest.raises(ConfigError) as caught:
        check_alternating(plain(compose("train", ["model=unet2d", "adversary=unlearning", "run_dir=x", setting])))
    assert str(caught.value).startswith(name)
    check_alternating(plain(compose("train", ["model=sgnet", "run_dir=x", setting])))


def test_point_11_ddp_looks_for_parameters_without_a_gradient():
    reversal = Segmenter(UNet(1, base=4, depth=3), BatchDiceLoss(), torch.optim.SGD)
    for strategy in ("ddp", "auto"):
        found = with_unused_parameters({"strategy": strategy, "devices": 2}, small())
        assert found == {"strategy": "ddp_find_unused_parameters_true", "devices": 2}
        assert with_unused_parameters({"strategy": strategy}, reversal) == {"strategy": strategy}


def test_point_11_prediction_needs_no_site():
    batch = batch_of()
    scores = small().predict_scores(batch["image"], batch["brain"])
    assert scores.shape == batch["lesion"].shape


def test_point_12_stratified_batches():
    sites = np.repeat(np.arange(8), [5, 400, 40, 30, 60, 20, 90, 8])
    batches = EpochBatchSampler(len(sites), 16, 3, order=SiteStratified(), sites=sites)
    again = EpochBatchSampler(len(sites), 16, 3, order=SiteStratified(), sites=sites)
    epoch = list(batches)
    assert epoch == list(again)
    assert len({index for batch in epoch for _, index in batch}) > 8 * 5
    for batch in epoch:
        counts = np.bincount(sites[[index for _, index in batch]], minlength=8)
        assert len(batch) < 16 or set(counts) == {2}
    batches.set_epoch(1)
    assert list(batches) != epoch
    batches.resume(1, skip=5)
    again.set_epoch(1)
    assert list(batches) == list(again)[5:]
    of_a_pass = [index for batch in epoch for _, index in batch if sites[index] == 1]
    assert len(set(of_a_pass)) == len(of_a_pass), "without repetition until all were there"
    with pytest.raises(ConfigError, match=r"view\.order"):
        SiteStratified().arrange(np.full(4, -1), np.random.default_rng(0))


def test_features_that_are_not_shown_are_an_error_and_the_bottleneck_serves_every_u_shape():
    plain_unet = partial(small, network=UNet(1, base=4, depth=3))
    assert set(plain_unet("auto").adversary.heads) == {"bottleneck"}
    assert set(small("auto").adversary.heads) == {"decoder"}
    with pytest.raises(ConfigError) as caught:
        plain_unet("decoder")
    assert "model.adversary.where=bottleneck" in caught.value.remedy
    with pytest.raises(ConfigError, match="does not show its features"):
        plain_unet("auto", network=nn.Conv2d(1, 1, 1))
    with pytest.raises(ConfigError, match=r"rates"):
        small(rates={"segmentation": 1.0})
    with pytest.raises(ConfigError, match="2 or more"):
        Unlearning(8, n_sites=1, where="bottleneck")


def test_a_training_that_ends_before_stage_2_is_warned_of(tmp_path):
    with pytest.warns(UserWarning, match="nothing is unlearned"):
        Steps(small(stage1=1), tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(stage1=1).adversary.check_length(2)


class Scripted(Callback):
    """Logs a validation loss of each epoch as it was written down."""

    def __init__(self, values):
        self.values = values

    def on_train_epoch_end(self, trainer, pl_module):
        pl_module.log("val/loss", self.values[trainer.current_epoch])


def stopping(folder):
    """The two callbacks of model=unlearning, with a patience of two and two epochs of stage 1."""
    nodes = plain(compose("train", ["model=unlearning", "model.adversary.stage1_epochs=2", "run_dir=x"]))["callbacks"]
    small = {"best": {"dirpath": str(folder / "checkpoints")}, "early_stopping": {"patience": 2}}
    return [build(nodes[name] | more) for name, more in small.items()]


def test_stage_2_ends_without_a_gain_and_its_best_weights_are_kept(tmp_path):
    """Stage 1 is better than all that follows, and neither counts nor is kept; two epochs without a gain end it."""
    best, early = stopping(tmp_path)
    losses = [0.1, 0.2, 0.9, 0.5, 0.6, 0.7, 0.1, 0.1]
    trainer, _ = trainer_with(tmp_path, 8, callbacks=[Scripted(losses), best, early])
    trainer.fit(small(stage1=2), Batches(1))
    assert trainer.current_epoch == 6, "epochs 5 and 6 gain nothing over epoch 4"
    kept = torch.load(tmp_path / "checkpoints/best.ckpt", weights_only=True)
    assert kept["epoch"] == 3
    assert early.best_score.item() == pytest.approx(0.5)
    settings = plain(compose("train", ["model=unlearning", "run_dir=x"]))
    assert (settings["callbacks"]["early_stopping"]["patience"], settings["checkpoint"]) == (25, "best")
    assert {settings["callbacks"][name]["first_epoch"] for name in ("best", "early_stopping")} == {99}
    assert settings["split"]["val_fraction"] == 0.1


def test_point_14_nothing_of_torchvision():
    assert not {"torchvision", "timm", "segmentation_models_pytorch"} & set(sys.modules)
