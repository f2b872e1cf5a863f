"""Remedies about views, networks and losses, and about predictions that lie in a folder already."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import typer
from doing import executes, mended, options, said, settings, told
from rich.console import Console

from strokelab.cli import app
from strokelab.configuration import bind, build
from strokelab.configuration.fit import check_fit
from strokelab.contract import Prediction
from strokelab.evaluation.new_scans import Writing, _to_do
from strokelab.grid import Grid
from strokelab.inference.derivative import TABLE, Derivative

GRID = Grid.of((4, 4, 4), np.eye(4))


@executes("strokelab/configuration/fit.py:_check_classes")
def test_classes_of_a_view():
    asked = ["model=nnunet", "+view.classes=[background,lesion,tissue]"]
    check_fit(settings(*asked, *told(said(lambda: check_fit(settings(*asked))).remedy)))


@executes("strokelab/losses/dice.py:unlike_maps")
def test_losses_of_one_map():
    from strokelab.losses.dice import DiceLoss

    two, one = torch.zeros(1, 2, 4, 4), torch.zeros(1, 1, 4, 4)
    (word,) = told(said(DiceLoss(), two, one).remedy)
    loss = build(settings(word)["model"]["loss"])
    assert torch.isfinite(loss(two, torch.zeros_like(two)))
    assert torch.isfinite(loss(one, torch.zeros_like(one)))
    assert torch.isfinite(DiceLoss()(one, one))


@executes("strokelab/models/adversary.py:check_sites", "strokelab/models/parts.py:u_shaped")
@executes("strokelab/networks/hemispheres.py:split", "strokelab/networks/masked_adain.py:__init__")
def test_parts_that_are_switched_off():
    from strokelab.models.adversary import SiteAdversary
    from strokelab.models.segmenter import Segmenter
    from strokelab.networks.hemispheres import split
    from strokelab.networks.masked_adain import MaskedAdaIN

    network, loss = torch.nn.Conv2d(1, 1, 1), torch.nn.BCEWithLogitsLoss()
    slices = torch.zeros(1, 1, 5, 4)
    odd = slices.transpose(-1, -2)
    attempts = {
        "adversary": (lambda: SiteAdversary(4, n_sites=1), lambda: SiteAdversary(4, n_sites=2)),
        "hemispheres": (lambda: split(odd), lambda: split(slices)),
        "standardizer": (lambda: MaskedAdaIN(1, (4, 4, 4)), lambda: MaskedAdaIN(1, (4, 4))),
    }
    for part, (wrong, other) in attempts.items():
        (word,) = told(said(wrong).remedy)
        assert settings(word)["model"][part] is None
        assert other() is not None
    (word,) = told(said(Segmenter, network, loss, torch.optim.Adam, adversary=SiteAdversary).remedy)
    assert Segmenter(network, loss, torch.optim.Adam, adversary=settings(word)["model"]["adversary"])
    assert "view.preparation.crop" in said(split, odd).remedy
    split(torch.zeros(1, 1, settings()["view"]["preparation"]["crop"][1], settings()["view"]["preparation"]["crop"][0]))


@executes("strokelab/configuration/fit.py:_check_samples")
def test_the_fewest_samples_of_a_step():
    mended(check_fit, ["model=pspnet", "trainer=ddp", "trainer.devices=3", "data.batch_size=3"])


@executes("strokelab/networks/resnet.py:check_samples", "strokelab/networks/resnet.py:_check_settings")
@executes("strokelab/networks/unet.py:__init__", "strokelab/networks/comparators/deeplabv3plus.py:__init__")
def test_settings_of_networks_of_slices():
    def network(model: str, *more: str) -> torch.nn.Module:
        node = settings(f"model={model}", *more)["model"]["network"]
        return build(bind(node, {"in_channels": 1}, at="model.network"))

    trunk = ["model.network.base=4", "model.network.layers=[1,1,1,1]"]
    attempts = {
        "pspnet": ["model.network.base=4", "model.network.layers=[1]"],
        "deeplabv3plus": [*trunk, "model.network.output_stride=4"],
        "unet2d": ["model.network.base=2", "++model.network.upsampling=area"],
    }
    for model, wrong in attempts.items():
        network(model, *wrong, *told(said(network, model, *wrong).remedy))
    network("unet2d", "model.network.base=2", *told(said(network, "unet2d", "model.network.depth=0").remedy))
    fewer = [*trunk, "model.network.dropout=[0.5]"]
    network("deeplabv3plus", *fewer, *told(said(network, "deeplabv3plus", *fewer).remedy))
    training = network("pspnet", *trunk).train()
    (dropped,) = told(said(training, torch.zeros(1, 1, 8, 8)).remedy)
    assert settings("model=unet2d", dropped)["data"]["drop_last"] is True


@executes("strokelab/losses/deep_supervision.py:_weights", "strokelab/models/rates.py:with_rates")
def test_weights_and_rates_of_parts():
    logits, lesion = [torch.zeros(1, 2, 4, 4)] * 2, torch.zeros(1, 1, 4, 4)
    asked = ["model=pspnet", "protocol=authors", "model.loss.given=[1.0]"]

    def loss(*more: str) -> torch.Tensor:
        return build(settings(*asked, *more)["model"]["loss"])(logits, lesion)

    assert torch.isfinite(loss(*told(said(loss).remedy)))
    small = ["model=unet2d", "model.network.base=2", "model.network.depth=2", "++model.rate_factors={trunk: 0.1}"]

    def optimizer(*more: str) -> object:
        return build(bind(settings(*small, *more)["model"], {"in_channels": 1}, at="model")).configure_optimizers()

    assert optimizer(*told(said(optimizer).remedy))


@executes("strokelab/inference/timing.py:time_case")
def test_samples_that_are_timed():
    from strokelab.inference.timing import time_case

    volume = np.ones((1, 4, 4, 4), np.float32)

    def windows(image, predict, brain):
        return predict(image[None], brain[None, None])

    def check(samples: int):
        return time_case(volume, volume[0], predict=lambda image, brain: image, windows=windows, samples=samples)

    _, option, value = said(check, -1).remedy.split()
    cost = typer.main.get_command(app).commands["cost"]  # type: ignore[attr-defined]
    assert check(cost.make_context("cost", ["unet2d", option, value]).params["samples"]).samples == 1


@executes("strokelab/inference/derivative.py:check_images", "strokelab/inference/derivative.py:check_new")
@executes("strokelab/inference/derivative.py:write")
def test_predictions_that_are_there_already(tmp_path):
    command = typer.main.get_command(app).commands["predict"]  # type: ignore[attr-defined]

    def a(voxel: int, name: str = "a") -> Prediction:
        mask = np.zeros(GRID.shape, np.uint8)
        mask[voxel, 0, 0] = 1
        return Prediction(name, GRID, mask, None, {})

    def writing(*typed: str) -> Writing:
        """What is typed behind ``strokelab predict RUN SCAN``."""
        given = command.make_context("predict", ["run", "scan", "--out", str(tmp_path / "out"), *typed]).params
        return Writing(given["out"], overwrite=given["overwrite"], resume=given["resume"])

    def derivative(*typed: str) -> Derivative:
        asked = writing(*typed)
        return Derivative(asked.out, name="x", provenance={}, overwrite=asked.overwrite)

    other = ("--out", str(tmp_path / "other"))
    images = [tmp_path / name / "a.nii.gz" for name in ("one", "two")]
    derivative().write(a(0), image=images[0])
    remedy = said(derivative().check_new, ["a", "b"]).remedy
    assert options(remedy) == ["--out", "--resume", "--overwrite"]
    derivative("--overwrite").check_new(["a", "b"])
    derivative(*other).check_new(["a", "b"])
    cases = [SimpleNamespace(case_id=name, reference_image=images[0]) for name in "ab"]
    todo = _to_do(cases, derivative("--resume"), writing("--resume"), Console(quiet=True))  # type: ignore[arg-type]
    assert [case.case_id for case in todo] == ["b"]

    remedy = said(derivative("--overwrite").write, a(1), image=images[1]).remedy
    assert options(remedy) == ["--out"]
    derivative(*other).check_images({"a": images[1]})
    derivative().check_images({"renamed": images[1]})

    mask = derivative().write(a(0, "c")).mask
    table = tmp_path / "out" / TABLE
    without = "".join(line for line in table.read_text().splitlines(True) if not line.startswith("c\t"))
    table.write_text(without)
    remedy = said(derivative().write, a(1, "c")).remedy
    assert options(remedy) == ["--out", "--overwrite"]
    derivative("--out", str(tmp_path / "third")).write(a(1, "c"))
    moved = mask.rename(tmp_path / "moved.nii.gz")
    derivative().write(a(1, "c"))
    table.write_text(without)
    moved.rename(mask)
    derivative("--overwrite").write(a(1, "c"))


@executes("strokelab/configuration/fit.py:_check_sign")
def test_centred_images_for_a_network_that_begins_with_a_rectifier():
    base = ["model=resunet3d", "view.preparation.normalize=zscore_brain"]
    for chosen in ("view.preparation.normalize=scale255", "model.network.allow_negative=true"):
        mended(check_fit, base, chosen)


@executes(
    "strokelab/networks/resunet3d.py:_check_settings",
    "strokelab/networks/resunet3d.py:_check_values",
)
def test_what_the_3d_resunet_refuses():
    def built(composed):
        return build(bind(composed["model"], {"in_channels": 1, "steps_per_epoch": 1}, at="model")).network

    for wrong in ("base=3", "recompute=some"):
        mended(built, ["model=resunet3d", f"model.network.{wrong}"])
    scan = torch.linspace(-1, 2, 512).view(1, 1, 8, 8, 8)
    mended(lambda s: built(s).encode(scan), ["model=resunet3d"], "model.network.allow_negative=true")
    built(settings("model=resunet3d", "view.preparation.normalize=scale255")).encode(scan.clamp(min=0))


@executes("strokelab/networks/comparators/dunet.py:_check")
@pytest.mark.parametrize(
    "wrong",
    [
        ["view.sampler.slices=3"],
        ["view=sgnet"],
        ["model.network.slices=6", "view.sampler.slices=6"],
        ["model.network.depth=2"],
    ],
)
def test_what_the_d_unet_takes(wrong):
    mended(check_fit, ["model=dunet", *wrong])


@executes("strokelab/losses/similarity.py:multiscale_similarity")
def test_sides_that_cannot_be_compared_at_five_scales():
    from strokelab.losses.similarity import OverlapSimilarityLoss

    small = torch.zeros(1, 1, 8, 8)
    (word,) = told(said(OverlapSimilarityLoss(), small, small).remedy)
    assert torch.isfinite(build(settings("model=unet3plus", word)["model"]["loss"])(small, small))


@executes("strokelab/augment/spatial.py:draw")
def test_volumes_that_are_to_be_turned():
    base = ["model=nnunet", "augment=recipe", "view.augment.transforms=[{_target_:strokelab.augment.spatial.Affine}]"]

    def drawn(chosen):
        augment = build(
            {**chosen["view"]["augment"], "normalize": "zscore_volume"}
            if "zoom_p" in chosen["view"]["augment"]
            else chosen["view"]["augment"]
        )
        return augment.draw(np.random.default_rng(0), 1, (8, 8, 8))

    (word,) = told(said(drawn, settings(*base)).remedy)
    drawn(settings("model=nnunet", word))


@executes("strokelab/networks/comparators/multipath25d.py:__init__")
@pytest.mark.parametrize("wrong", [["data=isles2022", "model.network.depth=4"], ["model.network.depth=6"]])
def test_what_a_path_takes(wrong):
    error = said(check_fit, settings("model=multipath25d", *wrong))
    modality, depth = told(error.remedy)
    chosen = [*wrong, modality.replace("T1w", "DWI"), depth] if "data=isles2022" in wrong else [*wrong, modality, depth]
    check_fit(settings("model=multipath25d", *chosen))


@executes("strokelab/losses/dice.py:forward")
def test_a_loss_of_all_classes_for_one_map():
    from strokelab.losses.dice import ClassesDiceLoss

    one = torch.zeros(1, 1, 4, 4)
    loss, *maps = told(said(ClassesDiceLoss(), one, one).remedy)
    assert torch.isfinite(build(settings("model=unet2d", loss)["model"]["loss"])(one, one))
    model = settings("model=unet2d", *maps)["model"]
    assert (model["network"]["out_channels"], model["lesion_channel"]) == (2, 1)
    assert torch.isfinite(ClassesDiceLoss()(torch.zeros(1, 2, 4, 4), one))
