"""SG-Net (Yu 2022): what must hold of networks, losses and model, number by number."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from strokelab.configuration import bind, build, compose, plain
from strokelab.losses.dice import DiceLoss
from strokelab.models.adversary import SiteAdversary
from strokelab.models.segmenter import Segmenter
from strokelab.networks.cost import TorchstatReading, cost_of, count_parameters, torchstat_reading
from strokelab.networks.hemispheres import Hemispheres, merge, split
from strokelab.networks.masked_adain import MaskedAdaIN
from strokelab.networks.site_classifier import SiteClassifier
from strokelab.networks.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore:.*self.trainer.*")

FACTS = {"in_channels": 1, "n_sites": 8, "plane": (224, 192)}
LAPTOP = {"in_channels": 1, "n_sites": 4, "plane": (32, 64)}
SMALL = ["model.network.base=4", "model.network.depth=3"]


def model_of(overrides: list[str], facts: dict[str, object]) -> Segmenter:
    torch.manual_seed(0)
    return build(bind(plain(compose("train", overrides).model), facts, at="model"))


def switches(da: bool, sl: bool, main: bool) -> list[str]:
    """The three switches on top of the plain U-Net."""
    return [
        "model=unet2d",
        f"hemispheres={'split' if da else 'none'}",
        f"adversary={'site' if sl else 'none'}",
        f"standardizer={'main' if main else 'none'}",
    ]


def z_scored(image: Tensor, brain: Tensor) -> Tensor:
    inside = (brain != 0).to(image.dtype)
    count = inside.sum(dim=(2, 3), keepdim=True)
    mean = (image * inside).sum(dim=(2, 3), keepdim=True) / count
    variance = ((image - mean).square() * inside).sum(dim=(2, 3), keepdim=True) / count
    return (image - mean) / variance.sqrt()


def elliptic_brain(count: int, plane: tuple[int, int]) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, plane[0]), torch.linspace(-1, 1, plane[1]), indexing="ij")
    return ((y.square() + x.square()) < 0.9).to(torch.uint8).expand(count, 1, *plane)


# --- parameters and shapes: point 2 ---------------------------------------------------------------------------------


@pytest.mark.parametrize("da", [False, True])
def test_parameters_in_training_and_at_test_time(da):
    with torch.device("meta"):
        model = model_of(["model=sgnet", f"hemispheres={'split' if da else 'none'}"], FACTS)
    parts = {"network": 28_947_521, "standardizer": 688_494, "adversary": 18_886_664}
    assert {name: count_parameters(getattr(model, name)) for name in parts} == parts
    assert count_parameters(model) == 48_522_679
    assert count_parameters(model) - parts["adversary"] == 29_636_015


@pytest.mark.parametrize("da", [False, True])
def test_shapes_through_the_whole_pipeline(da):
    with torch.device("meta"):
        model = model_of(["model=sgnet", f"hemispheres={'split' if da else 'none'}"], FACTS)
        image, brain = torch.empty(2, 1, 224, 192), torch.ones(2, 1, 224, 192, dtype=torch.uint8)
        batch = model.condition({"image": image, "brain": brain})
        features = model.network.encode(batch["image"])
        logits = model.network.decode(features)
    samples, width = (4, 96) if da else (2, 192)
    assert [tuple(f.shape) for f in features] == [(samples, 64 * 2**k, 224 // 2**k, width // 2**k) for k in range(5)]
    assert logits.shape == (samples, 1, 224, width)
    assert model.adversary.classifier(features[-1]).shape == (samples, 8)


# --- published costs: section 5.5 -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def readings() -> dict[str, TorchstatReading]:
    with torch.device("meta"):
        unet, main, classifier = (
            nn.Sequential(UNet(1), nn.Sigmoid()),
            MaskedAdaIN(1, (224, 192)),
            SiteClassifier(1024, 8),
        )
        whole, half = torch.empty(1, 1, 224, 192), torch.empty(1, 1, 224, 96)
        deep_whole, deep_half = torch.empty(1, 1024, 14, 12), torch.empty(1, 1024, 14, 6)
    scale = torchstat_reading(main, whole, whole)
    test_time = scale + torchstat_reading(unet, half)
    training = test_time + torchstat_reading(classifier, deep_half)
    return {
        "U-Net": torchstat_reading(unet, whole),
        "SG-Net, one half, test": test_time,
        "SG-Net, one half, training": training,
        "SG-Net, two halves, training": training
        + torchstat_reading(unet, half)
        + torchstat_reading(classifier, deep_half),
        "SG-Net, whole, training": scale + torchstat_reading(unet, whole) + torchstat_reading(classifier, deep_whole),
    }


@pytest.mark.parametrize(
    ("what", "column", "paper"),
    [
        ("U-Net", "memory", "260.20"),
        ("U-Net", "macc", "63.20"),  # printed as 63.21 for the U-Net and as 63.20 for its residual twin
        ("U-Net", "flops", "31.63"),
        ("SG-Net, one half, test", "memory", "130.79"),
        ("SG-Net, one half, test", "macc", "31.60"),
        ("SG-Net, one half, training", "memory", "132.11"),
        ("SG-Net, one half, training", "macc", "33.59"),
        ("SG-Net, two halves, training", "flops", "33.61"),
        ("SG-Net, whole, training", "memory", "263.52"),
        ("SG-Net, whole, training", "macc", "67.17"),
        ("SG-Net, whole, training", "flops", "33.61"),
    ],
)
def test_cost_columns_of_tables_4_and_5(readings, what, column, paper):
    reading = readings[what]
    found = {"memory": reading.memory_mib, "macc": reading.madds / 1e9, "flops": reading.flops / 1e9}[column]
    assert f"{found:.2f}" == paper


def test_true_costs():
    with torch.device("meta"):
        unet, main, classifier = UNet(1), MaskedAdaIN(1, (224, 192)), SiteClassifier(1024, 8)
        whole, half, deep = torch.empty(1, 1, 224, 192), torch.empty(1, 1, 224, 96), torch.empty(1, 1024, 14, 6)
    part = [cost_of(unet, whole), cost_of(unet, half), cost_of(main, whole, whole), cost_of(classifier, deep)]
    assert [round(cost.macs / 1e9, 3) for cost in part] == [31.560, 15.780, 0.001, 0.991]
    slice_in_training = part[1] + part[1] + part[2] + part[3] + part[3]
    assert slice_in_training.macs / 1e9 == pytest.approx(33.54, abs=5e-3)


# --- starting loss: section 6; rates: section 7 and point 6 ---------------------------------------------------------


def test_untrained_loss_is_about_one_plus_the_logarithm_of_the_sites():
    model = model_of(["model=sgnet", "model.network.base=8"], {**FACTS, "plane": (64, 64)})
    generator = torch.Generator().manual_seed(0)
    brain = elliptic_brain(16, (64, 64))
    image = z_scored(torch.randn(16, 1, 64, 64, generator=generator), brain)
    lesion = torch.zeros_like(brain)
    lesion[::3, :, 20:26, 40:46] = 1
    batch = {"image": image, "brain": brain, "lesion": lesion, "site": torch.arange(16) % 8}
    loss = model.training_step(batch, 0)["loss"]
    assert loss.item() == pytest.approx(3.08, abs=0.25)


def test_learning_rates():
    model = model_of(["model=sgnet", *SMALL], LAPTOP)
    configured = model.configure_optimizers()
    optimizer, scheduler = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    assert configured["lr_scheduler"]["interval"] == "epoch"
    group = optimizer.param_groups[0]
    assert (type(optimizer), group["momentum"], group["weight_decay"]) == (torch.optim.SGD, 0.9, 0.0)
    assert sum(p.numel() for p in group["params"]) == count_parameters(model)
    rates = []
    for _ in range(50):
        rates.append(group["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[:2] == pytest.approx([0.001, 0.00096])
    assert [rates[10], rates[25], rates[49]] == pytest.approx([6.648e-4, 3.604e-4, 1.353e-4], rel=3e-4)


# --- hemispheres along the pipeline: points 1 and 9 ------------------------------------------------------------------


def test_a_mask_inside_the_crop_survives_crop_split_merge_paste():
    volume_slice = torch.zeros(1, 1, 233, 197, dtype=torch.uint8)
    rows, columns = slice(5, 229), slice(2, 194)
    volume_slice[..., rows, columns] = (torch.rand(224, 192, generator=torch.Generator().manual_seed(0)) > 0.7).byte()
    pasted = torch.zeros_like(volume_slice)
    pasted[..., rows, columns] = merge(split(volume_slice[..., rows, columns]))
    assert torch.equal(pasted, volume_slice)


# --- invariance of the pipeline: point 5 -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained() -> tuple[Segmenter, Tensor, Tensor]:
    """A model that has learned something, images in scanner units, their brains."""
    model = model_of(["model=sgnet", *SMALL, "model.standardizer.bn_momentum=null", "model.optimizer.lr=0.05"], LAPTOP)
    generator = torch.Generator().manual_seed(0)
    brain = elliptic_brain(8, (32, 64))
    image = 50 + 20 * torch.randn(8, 1, 32, 64, generator=generator)
    batch = {"image": z_scored(image, brain), "brain": brain, "lesion": brain * (image > 65)}
    batch["site"] = torch.arange(8) % 4
    optimizer = model.configure_optimizers()["optimizer"]
    for step in range(30):
        optimizer.zero_grad()
        model.training_step(batch, step)["loss"].backward()
        optimizer.step()
    return model, image, brain


@pytest.mark.parametrize(("gain", "offset"), [(0.01, 0.0), (250.0, -90.0), (3.0, 1000.0)])
def test_predictions_do_not_depend_on_gain_and_offset_of_the_scanner(trained, gain, offset):
    model, image, brain = trained
    expected = model.predict_scores(z_scored(image, brain), brain)
    found = model.predict_scores(z_scored(gain * image + offset, brain), brain)
    assert (found - expected).abs().max() < 1e-4
    assert expected.std() > 0.05  # a model that says the same everywhere would prove nothing
    assert (model.predict_scores(gain * image + offset, brain) - expected).abs().max() > 1e-3  # nor one that is blind


# --- the ablation: point 12 -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("da", "sl", "main"), list(itertools.product([False, True], repeat=3)))
def test_every_variant_composes_from_three_switches_and_trains_a_step(da, sl, main):
    model = model_of([*switches(da, sl, main), *SMALL], LAPTOP)
    assert isinstance(model.hemispheres, Hemispheres) is da
    assert isinstance(model.adversary, SiteAdversary) is sl
    assert isinstance(model.standardizer, MaskedAdaIN) is main
    optimizer = model.configure_optimizers()["optimizer"]
    brain = elliptic_brain(4, (32, 64))
    image = torch.randn(4, 1, 32, 64)
    batch = {"image": image, "brain": brain, "lesion": brain * (image > 1), "site": torch.arange(4)}
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    model.training_step(batch, 0)["loss"].backward()
    optimizer.step()
    unmoved = [name for name, p in model.named_parameters() if torch.equal(p, before[name])]
    # A MAIN gauge may be silent (its ReLUs), everything else moves.
    assert not [name for name in unmoved if not name.startswith("standardizer")]
    assert model.predict_scores(image, brain).shape == (4, 1, 32, 64)


def test_switching_off_on_sgnet_and_on_from_the_baseline_meet():
    off = ["hemispheres=none", "adversary=none", "standardizer=none"]
    assert compose("train", ["model=sgnet", *off]).model == compose("train", ["model=unet2d"]).model
    assert compose("train", switches(True, True, True)).model == compose("train", ["model=sgnet"]).model


def test_the_paper_s_loss_is_the_default():
    model = model_of(["model=sgnet", *SMALL], LAPTOP)
    assert isinstance(model.loss, DiceLoss)
    assert (model.loss.over, model.loss.eps) == ("sample", 1e-5)


# --- prediction: point 10 ---------------------------------------------------------------------------------------------


def test_prediction_uses_no_adversary():
    model = model_of(["model=sgnet", *SMALL], LAPTOP)
    image, brain = torch.randn(3, 1, 32, 64), elliptic_brain(3, (32, 64))
    expected = model.predict_scores(image, brain)
    model.adversary = None
    assert torch.equal(model.predict_scores(image, brain), expected)


# --- what site-invariant learning does: point 11 ----------------------------------------------------------------------

N_SITES = 4


def scanned(generator: torch.Generator, count: int = 16, plane: tuple[int, int] = (16, 32)) -> dict[str, Tensor]:
    """Slices of smooth tissue with a dark lesion, seen through their site's own contrast curve, z-scored."""
    site = torch.randint(0, N_SITES, (count,), generator=generator)
    brain = elliptic_brain(count, plane)
    tissue = nn.functional.interpolate(torch.rand(count, 1, 4, 8, generator=generator), size=plane, mode="bilinear")
    y, x = torch.meshgrid(torch.linspace(-1, 1, plane[0]), torch.linspace(-1, 1, plane[1]), indexing="ij")
    centre = 1.2 * torch.rand(count, 2, 1, 1, generator=generator) - 0.6
    lesion = ((y - centre[:, 0]).square() + (x - centre[:, 1]).square() < 0.08)[:, None] & (brain != 0)
    tissue = torch.where(lesion, 0.05 * tissue, 0.2 + 0.8 * tissue)
    curve = torch.tensor([0.4, 0.8, 1.6, 3.0])[site][:, None, None, None]
    image = tissue**curve + 0.03 * torch.randn(count, 1, *plane, generator=generator)
    return {"image": z_scored(image, brain), "brain": brain, "lesion": lesion.byte(), "site": site}


def balanced_accuracy_after_training(strength: float, steps: int = 100, counted: int = 40) -> float:
    """Of the classifier in the last steps, every one on slices it never saw."""
    switched = [*switches(True, True, True), "model.network.base=8", "model.network.depth=3"]
    model = model_of(
        [*switched, "model.standardizer.bn_momentum=null", "model.optimizer.lr=0.02"],
        {"in_channels": 1, "n_sites": N_SITES, "plane": (16, 32)},
    )
    model.adversary.strength = strength
    optimizer = model.configure_optimizers()["optimizer"]
    generator = torch.Generator().manual_seed(0)
    confusion = torch.zeros(N_SITES, N_SITES, dtype=torch.int64)
    for step in range(steps):
        outputs = model.training_step(scanned(generator), step)
        optimizer.zero_grad()
        outputs["loss"].backward()
        optimizer.step()
        if step >= steps - counted:
            confusion += outputs["site_confusion"]
    return (confusion.diagonal() / confusion.sum(dim=1)).mean().item()


@pytest.mark.slow
def test_reversal_hides_the_site():
    chance = 1 / N_SITES
    told, hidden = balanced_accuracy_after_training(0.0), balanced_accuracy_after_training(1.0)
    assert told > chance + 0.2
    assert abs(hidden - chance) < 0.5 * (told - chance)


# --- the table a newcomer is given ------------------------------------------------------------------------------------


def test_the_idea_table_names_files_that_exist():
    root = Path(__file__).resolve().parents[2]
    page = (root / "docs" / "methods" / "sgnet.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:strokelab|conf)/[^`*]+)`", page)
    assert len(named) > 20
    assert not [name for name in named if not (root / name).is_file()]
