"""MAPPING (Huo 2022), section 12, points 1 to 3: networks, losses and learning rates, number by number."""

import math
from functools import partial

import pytest
import torch
from torch import nn

from strokelab.callbacks.schedule import learning_rates
from strokelab.configuration import build, build_model, compose, plain
from strokelab.errors import ConfigError
from strokelab.losses.compound import DiceCELoss
from strokelab.losses.cross_entropy import softmax_cross_entropy
from strokelab.losses.deep_supervision import weights
from strokelab.losses.dice import lesion_dice
from strokelab.networks.cost import cost_of, count_parameters


def fresh(name: str) -> nn.Module:
    """The network of a scheme, without memory for its weights."""
    with torch.device("meta"):
        return build_model(name).network


@pytest.fixture(scope="module")
def schemes() -> dict[str, nn.Module]:
    return {name: fresh(name) for name in ("nnunet", "nnunet_topk", "nnunet_residual")}


COUNTS = {  # section 5
    ("nnunet", "encoder"): [28_704, 166_272, 664_320, 2_655_744, 4_978_560, 5_531_520],
    ("nnunet", "ups"): [819_200, 655_360, 262_144, 65_536, 16_384],
    ("nnunet", "decoder"): [8_296_320, 5_309_952, 1_327_872, 332_160, 83_136],
    ("nnunet", "heads"): [640, 512, 256, 128, 64],
    ("nnunet_residual", "encoder"): [55_488, 390_016, 2_443_776, 13_310_464, 21_655_680, 22_229_120],
    ("nnunet_residual", "decoder"): [5_530_560, 3_539_712, 885_120, 221_376, 55_392],
}


@pytest.mark.parametrize(("name", "part"), list(COUNTS))
def test_parameters_of_every_stage(schemes, name, part):
    assert [count_parameters(stage) for stage in getattr(schemes[name], part)] == COUNTS[name, part]


def test_parameters_of_all(schemes):
    assert count_parameters(schemes["nnunet"]) == count_parameters(schemes["nnunet_topk"]) == 31_194_784
    residual = schemes["nnunet_residual"]
    assert count_parameters(residual) == 72_137_888
    assert count_parameters(residual.stem) == 960
    assert count_parameters(residual.stem) + count_parameters(residual.encoder) == 60_085_504
    assert sum(count_parameters(part) for part in (residual.ups, residual.decoder, residual.heads)) == 12_052_384


@pytest.mark.parametrize(("name", "gmacs"), [("nnunet", 477.3), ("nnunet_residual", 595.1)])
def test_multiply_accumulates(schemes, name, gmacs):
    image = torch.empty(1, 1, 128, 128, 128, device="meta")
    assert cost_of(schemes[name], image).macs / 1e9 == pytest.approx(gmacs, abs=0.1)  # training has heads more


@pytest.mark.parametrize("name", ["nnunet", "nnunet_residual"])
def test_five_logits_while_training_and_one_after(schemes, name):
    image = torch.empty(1, 1, 128, 128, 128, device="meta")
    logits = schemes[name].train()(image)
    assert [tuple(each.shape) for each in logits] == [(1, 2, side, side, side) for side in (128, 64, 32, 16, 8)]
    assert schemes[name].eval()(image).shape == (1, 2, 128, 128, 128)


def test_a_side_that_is_not_divisible_by_32_is_refused_by_name(schemes):
    with pytest.raises(ConfigError, match=r"\(128, 112, 120\).*\n.*divisible by \(32, 32, 32\)"):
        schemes["nnunet"](torch.empty(1, 1, 128, 112, 120, device="meta"))


def test_the_worked_loss():
    """One sample of 64 voxels, 8 of them lesion, all logits 0: d = 0.2, CE = ln 2."""
    lesion = torch.zeros(1, 1, 4, 4, 4)
    lesion.view(-1)[:8] = 1
    logits = torch.zeros(1, 2, 4, 4, 4)
    assert lesion_dice(logits, lesion).item() == pytest.approx(0.2, abs=1e-6)
    assert softmax_cross_entropy(logits, lesion).item() == pytest.approx(math.log(2), abs=1e-6)
    assert DiceCELoss()(logits, lesion).item() == pytest.approx(math.log(2) - 0.2, abs=1e-6)
    assert DiceCELoss()(logits, lesion).item() == pytest.approx(0.4931, abs=5e-5)
    assert DiceCELoss()(60 * torch.cat([1 - 2 * lesion, 2 * lesion - 1], dim=1), lesion).item() == pytest.approx(-1)


def logits_that_cost(values: torch.Tensor) -> torch.Tensor:
    """(1, 2, N) logits whose cross-entropies with an empty lesion are the values, rounded to float64."""
    return torch.stack([torch.zeros_like(values), torch.log(torch.expm1(values))]).unsqueeze(0)


def test_the_worked_topk():
    """Values 0.01, 0.02 ... 0.64: n = 6, mean 0.615; k = 100 is the mean of all."""
    values = torch.arange(1, 65, dtype=torch.float64) / 100
    logits, empty = logits_that_cost(values), torch.zeros(1, 1, 64)
    worst = partial(softmax_cross_entropy, logits, empty)
    assert worst(worst_percent=10).item() == pytest.approx(0.615, abs=1e-8)
    assert worst(worst_percent=100).item() == pytest.approx(worst().item(), abs=1e-12)
    assert worst(worst_percent=1).item() == pytest.approx(0.64, abs=1e-8)  # at least one voxel


def test_the_batch_of_two_patches_keeps_419430_voxels():
    """Not per sample: all of them may come from one."""
    logits = torch.zeros(2, 2, 128, 128, 128)
    logits[1, 1] = 1.0
    logits.requires_grad = True
    softmax_cross_entropy(logits, torch.zeros(2, 1, 128, 128, 128), worst_percent=10).backward()
    chosen = (logits.grad[:, 1] != 0).flatten(1).sum(1)
    assert chosen.tolist() == [0, 419_430]


def test_weights_of_deep_supervision(schemes):
    plan = {name: plain(compose("train", [f"model={name}"]))["model"]["loss"] for name in schemes}
    skipped = {name: node["skip_coarsest"] for name, node in plan.items()}
    assert skipped == {"nnunet": True, "nnunet_topk": True, "nnunet_residual": False}
    assert weights(5, skip_coarsest=True) == pytest.approx([0.53333, 0.26667, 0.13333, 0.06667, 0], abs=1e-5)
    assert weights(5, skip_coarsest=False) == pytest.approx([0.51613, 0.25806, 0.12903, 0.06452, 0.03226], abs=1e-5)
    assert [node["each"]["topk"] for node in plan.values()] == [None, 10, None]


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("nnunet", {0: 0.01, 1: 0.009991, 500: 0.0053589, 999: 1.995e-5}),
        ("nnunet_topk", {400: 0.0053589, 799: 2.439e-5}),
        ("nnunet_residual", {500: 0.0053589, 999: 1.995e-5}),
    ],
)
def test_learning_rates(name, rates):
    settings = plain(compose("train", [f"model={name}"]))
    node, epochs = settings["model"], settings["trainer"]["max_epochs"]
    seen = learning_rates(build(node["optimizer"]), build(node["scheduler"]), epochs)
    assert len(seen) == max(rates) + 1
    for epoch, rate in rates.items():
        assert seen[epoch] == pytest.approx(rate, rel=2e-4)
    assert seen[-1] > 0


def test_the_training_settings_of_section_7():
    settings = plain(compose("train", ["model=nnunet"]))
    optimizer = {key: value for key, value in settings["model"]["optimizer"].items() if not key.startswith("_")}
    assert optimizer == {"lr": 0.01, "momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}
    assert settings["trainer"]["gradient_clip_val"] == 12
    assert settings["checkpoint"] == "last"
