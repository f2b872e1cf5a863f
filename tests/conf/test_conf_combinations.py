"""Every model with every part: one step of training and a prediction, or refused by name before data are read."""

import copy
import itertools
import re

import pytest
import torch
import yaml

from strokelab.configuration import bind, build, check_fit, check_loss, compose, conf_folder, override, plain
from strokelab.errors import ConfigError
from strokelab.training.planning import placeholders, planned, with_open_batch

MODELS = sorted(path.stem for path in (conf_folder() / "model").glob("*.yaml") if not path.stem.startswith("monai_"))
"""Without those of an extra, whose networks show no features: tests/networks/test_networks_monai.py."""
DISTINCT = (
    "clcinet",
    "deeplabv3plus",
    "dunet",
    "multipath25d",
    "multipath25d_combiner",
    "nnunet",
    "nnunet2d",
    "nnunet_residual",
    "nnunet_topk",
    "pspnet",
    "resunet2d",
    "resunet3d",
    "sgnet",
    "sunet",
    "synthstroke",
    "unet2d_bilinear",
    "unet2d_ppm",
    "unet3plus",
    "unlearning",
    "xnet",
)  # the others are these with other data or parts
PARTS = ("adversary", "hemispheres", "standardizer")
SMALL_PLANE = ["view.preparation.crop=[32,32,null]", "model.network.base=2", "model.network.depth=3"]
SMALL_TRUNK = [SMALL_PLANE[0], "model.network.base=4", "model.network.layers=[1,1,1,1]"]
SMALL_PLAN = [
    *(SMALL_PLANE[0], "model.network.widths=[2,4]"),
    *("model.network.kernels=[[3,3],[3,3]]", "model.network.strides=[[1,1],[2,2]]"),
]
SMALL_VOLUME = [
    *(f"view.{part}.patch=[16,8,8]" for part in ("sampler", "windows")),
    *SMALL_PLANE[1:],
]
SMALL_CROP = ["view.sampler.size=[16,8,8]", "view.windows.window=[16,8,8]", "model.network.base=4"]
SMALL_ANY = [
    *("view.sampler.size=[16,8,8]", "view.sampler.within=null", "view.windows.patch=[16,8,8]"),
    *("model.network.channels=[2,4]", "model.network.strides=[2]", "model.network.dropout=0"),
    *("model.network.out_channels=2", "view.classes=[background,lesion]", "model.lesion_channel=1"),
]
SMALL_PATCH = {"widths": [2, 4], "kernels": [[3, 3, 3]] * 2, "strides": [[1, 1, 1], [2, 2, 2]]}
LOSSES = {
    path.stem: {key: value for key, value in yaml.safe_load(path.read_text()).items() if key != "defaults"}
    for path in (conf_folder() / "loss").glob("dice*.yaml")
}
FACTS = {"in_channels": 1, "n_sites": 2, "plane": (32, 32), "patch": (16, 8, 8), "steps_per_epoch": 4, "total_iters": 4}


ALL_ON = ("adversary=site", "hemispheres=split", "standardizer=main")


def composed(model: str, *choices: str) -> dict:
    """Small enough for a step."""
    settings = with_open_batch(plain(compose("train", [f"model={model}", *choices, "run_dir=x"])))
    if settings.get("planner"):
        settings["model"]["network"].update(SMALL_PATCH)
        return settings
    if "size" in settings["view"]["sampler"]:
        return override(settings, SMALL_CROP if "window" in settings["view"]["windows"] else SMALL_ANY)
    if "layers" in settings["model"]["network"] or "widths" in settings["model"]["network"]:
        return override(settings, SMALL_TRUNK if "layers" in settings["model"]["network"] else SMALL_PLAN)
    return override(settings, SMALL_VOLUME if of_patches(settings) else SMALL_PLANE)


def of_patches(settings: dict) -> bool:
    """Whether a model is trained on patches of volumes."""
    return bool({"patch", "size"} & settings["view"]["sampler"].keys())


@pytest.fixture(scope="module")
def everything():
    """Per model, once: composing is what takes time."""
    return {model: composed(model, *ALL_ON) for model in MODELS}


def mixture(settings: dict, parts: tuple[str, ...]) -> dict:
    """As ``adversary=none`` and its like leave it."""
    settings = copy.deepcopy(settings)
    settings["model"].update({part: None for part in PARTS if part not in parts})
    return settings


def as_told(settings: dict, error: ConfigError) -> dict:
    """The settings with what the remedy says to add; those switched off that it says to switch off."""
    remedy = str(error).partition("remedy:")[2]
    items = re.findall(r"[\w.]+=\[[^\]]*\]|view[\w.]*=[\w.]+", remedy)
    if "augment=none" in remedy:
        settings = copy.deepcopy(settings)
        settings["view"]["augment"] = None
    if items:
        return override(settings, items)
    switched_off = re.findall(r"(\w+)=none", remedy)
    assert switched_off, remedy
    return {**settings, "model": {**settings["model"], **dict.fromkeys(switched_off)}}


def one_step(settings: dict) -> None:
    """Build the model as training would, and train on one batch of noise."""
    is_3d = of_patches(settings)
    channels = settings["view"]["sampler"].get("slices", 1)
    facts = FACTS | {"in_channels": channels} | ({"plane": FACTS["patch"]} if is_3d else {})
    model = build(bind(planned(settings, {})["model"], facts, at="model"))
    sample = FACTS["patch"] if is_3d else FACTS["plane"]
    batch = {
        "image": torch.rand(4, channels, *sample),
        "lesion": (torch.rand(4, 1, *sample) > 0.8).to(torch.uint8),
        "brain": torch.ones(4, 1, *sample, dtype=torch.uint8),
        "site": torch.tensor([0, 1, 0, 1]),
        "case_id": list("abcd"),
        "origin": torch.zeros(4, 3, dtype=torch.int64),
    }
    outputs = model.training_step(batch, 0)
    outputs["loss"].backward()
    assert outputs["loss"].isfinite()
    assert ("site_loss" in outputs) == bool(settings["model"]["adversary"])
    assert all(p.grad is not None for p in model.network.parameters() if p.requires_grad)
    scores = model.predict_scores(batch["image"], batch["brain"])
    assert scores.shape[2:] == batch["image"].shape[2:]
    assert ((scores >= 0) & (scores <= 1)).all()


MIXTURES = [tuple(itertools.compress(PARTS, chosen)) for chosen in itertools.product((0, 1), repeat=3)]


@pytest.mark.parametrize("parts", MIXTURES, ids=lambda parts: "+".join(parts) or "plain")
@pytest.mark.parametrize("model", DISTINCT)
def test_every_mixture_works_or_is_refused_and_mended(model, parts, everything, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.LightningModule.log", lambda *args, **kwargs: None)
    settings = mixture(everything[model], parts)
    patches = of_patches(settings)
    turned = model == "nnunet2d" and "hemispheres" in parts  # its augmentation turns the midline
    refusals = []
    for _ in range(3):
        try:
            check_fit(settings)
            break
        except ConfigError as error:
            refusals.append(str(error).splitlines()[0])
            settings = as_told(settings, error)
    check_fit(settings)
    expected = [part for part in ("standardizer", "hemispheres") if part in parts] if patches else []
    expected += ["hemispheres"] if turned else []
    assert [line.split()[-1] for line in refusals] == expected, "refused by the name of the part, once each"
    one_step(settings)


def test_other_models_are_mixtures_of_these(everything):
    for model in set(MODELS) - set(DISTINCT):
        assert any(everything[model]["model"] == everything[other]["model"] for other in DISTINCT), model


def test_the_remedy_for_hemispheres_is_exact(everything):
    settings = mixture(everything["nnunet"], ("hemispheres",))
    with pytest.raises(ConfigError) as caught:
        check_fit(settings)
    for words in ("view.preparation.box=null", "crop=[192,null,null]", "keep_midline=true", "hemispheres=none"):
        assert words in str(caught.value)
    mended = as_told(settings, caught.value)
    check_fit(mended)
    for wrong in ({"crop": [190, None, None]}, {"orientation": "file"}, {"crop": None}):
        turned = copy.deepcopy(mended)
        turned["view"]["preparation"] |= wrong
        with pytest.raises(ConfigError, match="hemispheres"):
            check_fit(turned)
    narrow = copy.deepcopy(mended)
    narrow["view"]["sampler"]["patch"] = [128, 128, 128]
    with pytest.raises(ConfigError, match=r"view\.sampler\.patch=\[192,128,128\]"):
        check_fit(narrow)


@pytest.mark.parametrize("loss", sorted(LOSSES))
@pytest.mark.parametrize("model", ["unet2d", "nnunet"])
def test_a_loss_takes_the_place_of_the_models_own(model, loss, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.LightningModule.log", lambda *args, **kwargs: None)
    settings = composed(model, f"loss={loss}")
    assert settings["model"]["loss"] == LOSSES[loss], "nothing of the model's own is left"
    if model == "nnunet" and loss in ("dice", "dice_bce"):
        with pytest.raises(ConfigError) as caught:
            check_loss(settings["model"])
        assert "2 maps" in caught.value.found
        settings = composed(model, *re.findall(r"loss=\w+", caught.value.remedy))
    check_loss(settings["model"])
    one_step(settings)


def test_a_loss_of_one_map_sees_no_two(everything):
    logits = torch.zeros(2, 2, 4, 4)
    with pytest.raises(ConfigError, match="2 maps"):
        build(LOSSES["dice_bce"])(logits, torch.zeros(2, 1, 4, 4))
    with pytest.raises(ConfigError, match="loss=dice_ce"):
        check_loss(composed("unet2d", "loss=none")["model"])


@pytest.mark.parametrize("loss", ["torch.nn.BCEWithLogitsLoss", "strokelab.losses.compound.DiceCELoss"])
def test_losses_of_two_arguments_serve_as_they_are(loss, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.LightningModule.log", lambda *args, **kwargs: None)
    one_step(composed("unet2d", "loss=none", f"model.loss={{_target_:{loss}}}"))


@pytest.mark.parametrize("augment", ["standard", "strong", "recipe", "none"])
@pytest.mark.parametrize("model", ["unet2d", "sgnet", "nnunet"])
def test_augmentations_serve_slices_and_patches(model, augment):
    settings = composed(model, f"augment={augment}")
    if model == "sgnet" and augment in ("standard", "strong"):
        with pytest.raises(ConfigError, match="turns the midline") as caught:
            check_fit(settings)
        settings = as_told(settings, caught.value)
    check_fit(settings)
    facts = {**FACTS, "spacing": (1.0, 1.0, 1.0), "normalize": "zscore_volume"}
    view = build(bind(planned(settings, {})["view"], facts, at="view"))
    assert view.augments_on_cpu == (augment == "recipe" or (augment != "none" and model != "nnunet"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model=unet2d", "view=nnunet"], "view of patches"),
        (["model=nnunet", "view=sgnet"], "a planner, which plans patches"),
        (["model=nnunet", "adversary=site", "data=isles2015_siss"], "of one site"),
        (["model=nnunet", "view.sampler.patch=[48,48,50]", "model.network.strides=[[1,1,1],[4,4,4]]"], "along z"),
    ],
)
def test_other_misfits_are_refused_before_data_are_read(overrides, words):
    settings = plain(compose("train", ["run_dir=x", *overrides]))
    with pytest.raises(ConfigError, match=words):
        check_fit(settings)


def test_a_batch_nobody_plans_must_be_given():
    settings = with_open_batch(plain(compose("train", ["run_dir=x", "model=nnunet"])))
    assert settings["data"]["batch_size"] == "???"
    assert placeholders(settings)["batch_size"] == 2
    from strokelab.training.planning import check_batch

    with pytest.raises(ConfigError, match=r"data\.batch_size"):
        check_batch(with_open_batch(plain(compose("train", ["run_dir=x", "model=nnunet", "planner=null"]))))
