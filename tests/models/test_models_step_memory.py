"""Memory of a training step: counted by hand where that can be done, and measured."""

import json
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import nn

from strokelab import build_model
from strokelab.costs.memory import largest_cubes
from strokelab.losses.compound import BCEDiceLoss
from strokelab.models.adversary import SiteAdversary
from strokelab.models.segmenter import Segmenter
from strokelab.models.step_memory import step_loss, step_memory
from strokelab.networks.hemispheres import Hemispheres
from strokelab.networks.peak_memory import Ledger, without_numbers
from strokelab.networks.resunet3d import ResUNet3D


def segmenter(**settings: object) -> Segmenter:
    with torch.device("meta"):
        return Segmenter(ResUNet3D(1, **settings), BCEDiceLoss(), torch.optim.Adam)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_a_ledger_by_hand(device):
    layer = nn.Linear(10, 10, bias=False)  # 400 bytes
    with without_numbers(layer, device), Ledger(layer) as ledger:
        x = torch.empty(25, 10)  # 1000 bytes
        assert ledger.held == 1400
        y = torch.relu(layer(x))  # what went into the rectifier is free
        assert ledger.held == 2400
        del x, y
        assert ledger.held == 400
    assert ledger.peak == 3400


@pytest.mark.parametrize(("device", "norm"), [("cpu", torch.bfloat16), ("cuda", torch.float32)])
def test_autocast_of_either_device(device, norm):
    layers = nn.Sequential(nn.Conv3d(1, 8, 3), nn.GroupNorm(8, 8))
    with without_numbers(layers, device, half=True) as forward, forward:
        assert layers[0](torch.empty(1, 1, 8, 8, 8)).dtype == torch.bfloat16
        assert layers(torch.empty(1, 1, 8, 8, 8)).dtype == norm


def test_parts_of_a_step():
    model = segmenter()
    full = {how: step_memory(segmenter(recompute=how), (64,) * 3) for how in ("none", "full_resolution", "all")}
    half = step_memory(model, (64,) * 3, half=True, device="cuda")
    again = step_memory(segmenter(recompute="all"), (64,) * 3, half=True, device="cuda")
    assert full["none"].weights == full["none"].gradients == 4 * 18_438_561
    assert full["none"].optimizer == pytest.approx(2 * full["none"].weights, rel=1e-5)
    assert full["none"].kept == pytest.approx(0.70 * 2**30, rel=0.01)  # an eighth of section 12's 5.7 GiB
    assert half.kept < 0.5 * full["none"].kept
    assert again.kept < 0.5 * half.kept
    assert full["all"].kept < full["full_resolution"].kept < 0.6 * full["none"].kept
    assert full["all"].peak < full["full_resolution"].peak < full["none"].peak
    assert {weight.device.type for weight in model.parameters()} == {"meta"}


def test_the_largest_crop_is_the_last_that_fits():
    model, most = segmenter(), 12 * 10**9
    side, none = largest_cubes(model, [most, 10**8], half=False)
    assert none == 0
    assert step_memory(model, (side,) * 3, device="cuda").peak <= most
    assert step_memory(model, (side + 8,) * 3, device="cuda").peak > most
    assert side >= 128  # what the authors trained on their 12 GB


def test_a_step_takes_what_was_reckoned():
    words = [sys.executable, "-m", "strokelab.costs.one_step", "unet2d", "448x384", "float32", "cpu"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    with torch.device("meta"):
        reckoned = step_memory(build_model("unet2d"), (448, 384)).peak
    assert json.loads(done.stdout)["bytes"] == pytest.approx(reckoned, rel=0.15)


def test_a_step_with_hemispheres_and_site_adversary():
    adversary = partial(SiteAdversary, n_sites=3)
    model = Segmenter(
        ResUNet3D(1, base=4), BCEDiceLoss(), torch.optim.Adam, hemispheres=Hemispheres(), adversary=adversary
    )
    image = torch.rand(1, 1, 32, 12, 10)
    mask = torch.ones(1, 1, 32, 12, 10, dtype=torch.uint8)
    loss = step_loss(
        model,
        {
            "image": image,
            "brain": mask,
            "lesion": mask,
            "site": torch.zeros(1, dtype=torch.int64),
            "case_id": ["a"],
            "origin": torch.zeros(1, 3, dtype=torch.int64),
        },
    )
    loss.backward()
    assert all(weight.grad.isfinite().all() for weight in model.parameters())
    assert model.predict_scores(image, mask).shape == image.shape
