"""Comparators with a trunk of their own, and nnU-Net of slices: what must hold, number by number."""

from __future__ import annotations

import re

import pytest
import torch
from fingerprint import assert_fingerprint, fingerprinted, image
from torch import nn

from strokelab.configuration import bind, build, check_fit, check_loss, compose, plain
from strokelab.errors import ConfigError
from strokelab.models.cost import slice_costs
from strokelab.networks.blocks import conv_block
from strokelab.networks.comparators.deeplabv3plus import DeepLabV3Plus
from strokelab.networks.comparators.pspnet import PSPNet
from strokelab.networks.comparators.resunet2d import ResUNet
from strokelab.networks.comparators.unet2d_ppm import UNetPPM
from strokelab.networks.cost import cost_of, count_parameters
from strokelab.networks.nnunet import NNUNet
from strokelab.networks.unet import UNet

FACTS = {"in_channels": 1, "n_sites": 8, "plane": (224, 192), "total_iters": 100}
SLICES = {"widths": [32, 64, 128, 256, 480, 480], "kernels": [[3, 3]] * 6, "strides": [[1, 1], *[[2, 2]] * 5]}
RESNET_101 = (3, 4, 23, 3)
TINY = {"base": 4, "layers": (1, 1, 1, 1)}


def model_of(*overrides: str) -> nn.Module:
    torch.manual_seed(0)
    return build(bind(plain(compose("train", overrides))["model"], FACTS, at="model"))


@pytest.fixture(scope="module")
def models():
    """The models of conf/model as they stand there, without numbers."""
    names = ("resunet2d", "unet2d_ppm", "pspnet", "deeplabv3plus", "nnunet2d", "unet2d_bilinear")
    with torch.device("meta"):
        return {name: model_of(f"model={name}") for name in names}


# --- parameters: point 1 ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("resunet2d", 28_947_521),
        ("unet2d_bilinear", 28_947_521),
        ("unet2d_ppm", 38_385_729),
        ("pspnet", 46_704_961),
        ("deeplabv3plus", 59_332_897),
        ("nnunet2d", 18_669_792),
    ],
)
def test_parameters_of_the_models(models, name, parameters):
    assert count_parameters(models[name]) == parameters


def test_parameters_of_the_parts():
    with torch.device("meta"):
        psp, larger = PSPNet(1), PSPNet(1, layers=RESNET_101)
        authors = PSPNet(3, 2, auxiliary=True)
        deeplab = DeepLabV3Plus(1)
    assert (count_parameters(larger), count_parameters(authors)) == (65_697_089, 49_066_948)
    layers = [count_parameters(layer) for layer in psp.trunk.layers]
    assert (count_parameters(psp.trunk.stem), layers) == (111_680, [236_288, 1_219_584, 7_098_368, 14_964_736])
    assert count_parameters(psp.pyramid) == 4_198_400
    assert count_parameters(authors.auxiliary_head) == 2_359_808 + 257 * 2
    layers = [count_parameters(layer) for layer in deeplab.trunk.layers]
    assert (count_parameters(deeplab.trunk.stem), layers) == (3_264, [215_808, 1_219_584, 26_090_496, 14_964_736])
    parallel = sum(map(count_parameters, (deeplab.dilations, deeplab.image_level, deeplab.fusion)))
    assert (parallel, count_parameters(deeplab.low_level)) == (15_535_104, 12_384)
    assert sum(map(count_parameters, (deeplab.first, deeplab.second, deeplab.head))) == 1_291_264 + 257


# --- fingerprints: point 2 -------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize(
    ("network", "shape", "mean", "sd", "values"),
    [
        (
            lambda: UNet(1),
            (1, 1, 48, 32),
            *(174.889175, 2922.25126),
            [-12.5647326, -124.00911, 1530.1834, 85.1074152, -7227.63825, -22.9268837],
        ),
        (
            lambda: ResUNet(1),
            (1, 1, 48, 32),
            *(-495.054366, 1307.89553),
            [72.6093114, -299.812035, 415.368222, -381.291056, -1638.59707, -207.432205],
        ),
        (
            lambda: UNetPPM(1),
            (1, 1, 96, 64),
            *(815.080188, 6174.76277),
            [-69.2865708, 3550.17032, -73.793836, -1134.70039, -9651.63304, -99.0307371],
        ),
        (
            lambda: PSPNet(1, 2),
            (1, 1, 57, 41),
            *(10.8295077, 26.1013301),
            [-3.53992439, 34.0980728, 8.82682509, -7.71465081, 6.52737897, 20.7766087],
        ),
        (
            lambda: DeepLabV3Plus(1),
            (1, 1, 64, 48),
            *(8.83560613, 24.3216723),
            [6.27288154, 19.2909311, -9.55667954, -12.2169974, -22.4292997, 27.9526459],
        ),
        (
            lambda: NNUNet(1, 2, **SLICES),
            (1, 1, 64, 96),
            *(-0.163465798, 0.533354224),
            [-0.0333224077, -0.878629172, 0.558886548, 0.0809918549, 0.423085823, -0.470314925],
        ),
    ],
    ids=["unet2d", "resunet2d", "unet2d_ppm", "pspnet", "deeplabv3plus", "nnunet2d"],
)
def test_fingerprint(network, shape, mean, sd, values):
    given = fingerprinted(network())
    logits = given(image(*shape))
    assert_fingerprint(logits, mean, sd, values)
    if shape[2] % 8 == 0:
        torch.testing.assert_close(given.decode(given.encode(image(*shape))), logits, rtol=0, atol=0)


# --- costs: point 3 --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "gmac"),
    [
        ("resunet2d", 31.560),
        ("unet2d_ppm", 32.494),
        ("pspnet", 30.238),
        ("deeplabv3plus", 14.458),
    ],
)
def test_multiply_accumulates_of_a_slice(models, name, gmac):
    slices = torch.empty(1, 1, 224, 192, device="meta")
    assert cost_of(models[name].network, slices).macs / 1e9 == pytest.approx(gmac, abs=0.001)


def test_multiply_accumulates_of_nnunet_with_all_its_heads(models):
    network, slices = models["nnunet2d"].network, torch.empty(1, 1, 224, 192, device="meta")
    heads = sum(
        count_parameters(head) * 224 * 192 // 4**level for level, head in enumerate(reversed(list(network.heads)))
    )
    full = count_parameters(network.heads[-1]) * 224 * 192
    assert (cost_of(network, slices).macs - full + heads) / 1e9 == pytest.approx(9.093, abs=0.001)


@pytest.mark.parametrize(
    ("name", "plane", "memory", "macc", "flops"),
    [
        ("resunet2d", (224, 192), 260.20, 63.20, 31.63),
        ("unet2d_ppm", (224, 192), 261.91, 65.07, 32.56),
        ("deeplabv3plus", (224, 192), 171.63 + 4 * 224 * 192 / 2**20, 28.98, 14.50),  # and its sigmoid
        ("nnunet2d", (224, 224), 155.01, 21.22, 10.18),
        ("nnunet2d", (224, 192), 132.87, 18.19, 8.73),
    ],
)
def test_the_columns_of_table_5(models, name, plane, memory, macc, flops):
    costs = slice_costs(models[name], plane)
    found = [costs[column] for column in ("memory_mb", "macc_g", "flops_g")]
    assert found == pytest.approx([memory, macc, flops], abs=0.006)


# --- the residual stage: point 4 -------------------------------------------------------------------------------------


@torch.no_grad()
def test_resunet2d_is_a_unet_of_single_blocks_where_second_norms_are_0():
    network = ResUNet(1, base=4, depth=3).eval()
    assert [p.shape for p in network.parameters()] == [p.shape for p in UNet(1, base=4, depth=3).parameters()]
    single = UNet(1, base=4, depth=3).eval()
    single.load_state_dict(network.state_dict())
    for stages in ("encoder", "decoder"):
        for stage, block in zip(getattr(network, stages), getattr(single, stages), strict=True):
            nn.init.zeros_(stage[1][1].weight)
            nn.init.zeros_(stage[1][1].bias)
            block[1] = nn.Identity()
    x = torch.randn(2, 1, 16, 8)
    torch.testing.assert_close(network(x), single(x), rtol=0, atol=0)


def test_a_residual_stage_by_hand():
    stage = ResUNet(1, base=1, depth=1).encoder[0].eval()
    for block, weight in ((stage[0], 2.0), (stage[1], -0.25)):
        nn.init.zeros_(block[0].weight)
        block[0].weight.data[..., 1, 1] = weight
        block[1].eps = 0.0
    x = torch.tensor([[[[3.0, -1.0]]]])
    assert stage(x).flatten().tolist() == [6.0 - 1.5, 0.0]


# --- sides and samples: point 5 --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "divisor", "shape"),
    [
        (ResUNet(1, base=2, depth=3), 4, (16, 10)),
        (UNetPPM(1, base=2, depth=3), 4, (18, 16)),
        (PSPNet(1, **TINY), 8, (32, 20)),
        (DeepLabV3Plus(1, **TINY), 16, (32, 24)),
        (NNUNet(1, widths=[2, 4], kernels=[[3, 3]] * 2, strides=[[1, 1], [2, 2]]), 2, (16, 15)),
    ],
    ids=lambda given: type(given).__name__ if isinstance(given, nn.Module) else None,
)
@torch.no_grad()
def test_sides_are_kept_or_an_error_names_the_network(network, divisor, shape):
    network.eval()
    whole = tuple(2 * divisor * (1 + axis) for axis in range(2))
    assert network(torch.randn(1, 1, *whole)).shape[2:] == whole
    assert network.divisors == (divisor,) * 2
    with pytest.raises(ConfigError, match=rf"(?s){type(network).__name__} input.*divisible by \(?{divisor}"):
        network(torch.randn(1, 1, *shape))


@torch.no_grad()
def test_pspnet_takes_the_sides_of_its_authors_as_well():
    network = PSPNet(1, **TINY).eval()
    assert network(torch.randn(1, 1, 41, 57)).shape == (1, 1, 41, 57)
    assert [tuple(one.shape[2:]) for one in network.encode(torch.randn(1, 1, 41, 57))] == [(6, 8)] * 2


@pytest.mark.parametrize("kind", [PSPNet, DeepLabV3Plus])
def test_one_sample_of_a_training_batch_raises_by_name(kind):
    network = kind(1, **TINY).train()
    with pytest.raises(ConfigError, match=f"{kind.__name__} training") as caught:
        network(torch.randn(1, 1, 32, 32))
    assert "data.batch_size" in caught.value.remedy
    assert network(torch.randn(2, 1, 32, 32)).shape == (2, 1, 32, 32)
    assert network.eval()(torch.randn(1, 1, 32, 32)).shape == (1, 1, 32, 32)


@pytest.mark.parametrize("name", ["pspnet", "deeplabv3plus"])
def test_a_batch_of_one_sample_for_each_process_is_found_before_data_are_read(name):
    def settings(*more: str):
        return plain(compose("train", [f"model={name}", *more]))

    for wrong, least in ((["data.batch_size=1"], 2), (["trainer=ddp", "trainer.devices=4", "data.batch_size=4"], 8)):
        with pytest.raises(ConfigError, match=r"data\.batch_size") as caught:
            check_fit(settings(*wrong))
        assert caught.value.remedy == f"set data.batch_size={least}"
        check_fit(settings(*wrong[:-1], f"data.batch_size={least}"))
    check_fit(settings("data.batch_size=1", "hemispheres=split"))  # two halves
    assert settings()["data"]["drop_last"], "nor does a last step have one"


def test_layers_and_output_stride_are_held_against_what_there_is():
    for wrong in ({"layers": (1, 1, 1)}, {"layers": (1, 1, 1, 0)}, {"layers": (1, 1, 1, 65)}, {"output_stride": 4}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            DeepLabV3Plus(1, **(TINY | wrong))
    with pytest.raises(ConfigError, match="upsampling"):
        UNet(1, base=2, upsampling="cubic")


# --- what the trunks are made of -------------------------------------------------------------------------------------


def test_strides_and_dilations_of_the_trunks():
    def of(network: nn.Module) -> list[tuple[int, int]]:
        layers = (conv for conv in network.modules() if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3))
        return [(conv.stride[0], conv.dilation[0]) for conv in layers]

    layers = (2, 1, 1, 4)
    psp = PSPNet(1, base=4, layers=layers).trunk
    assert of(psp.layers) == [(1, 1), (1, 1), (2, 1), (1, 2), (1, 4), (1, 4), (1, 4), (1, 4)]
    deeplab = DeepLabV3Plus(1, base=4, layers=layers)
    assert of(deeplab.trunk.layers) == [(1, 1), (1, 1), (2, 1), (2, 1), (1, 2), (1, 4), (1, 8), (1, 8)]
    assert of(deeplab.dilations) == [(1, 6), (1, 12), (1, 18)]
    finer = DeepLabV3Plus(1, base=4, layers=layers, output_stride=8)
    assert of(finer.trunk.layers) == [(1, 1), (1, 1), (2, 1), (1, 2), (1, 4), (1, 8), (1, 16), (1, 16)]
    assert of(finer.dilations) == [(1, 12), (1, 24), (1, 36)]


def test_weights_begin_as_the_codes_have_them():
    torch.manual_seed(0)
    deeplab, psp = DeepLabV3Plus(1, base=16, layers=(1, 1, 1, 1)), PSPNet(1, base=16, layers=(1, 1, 1, 1))
    for network in (deeplab, psp):
        weight = network.trunk.layers[3][0].second[0].weight  # 128 to 128, 3 x 3
        assert weight.std().item() == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    weight = deeplab.dilations[1][0].weight  # 512 to 64, 3 x 3
    assert weight.std().item() == pytest.approx((2 / (9 * 512)) ** 0.5, rel=0.02)


def test_linear_upsampling_is_a_setting_of_the_unet():
    torch.manual_seed(0)
    linear, nearest = UNet(1, base=2, depth=2, upsampling="linear"), UNet(1, base=2, depth=2)
    nearest.load_state_dict(linear.state_dict())
    ramp = torch.arange(8.0).expand(1, 1, 8, 8)
    assert not torch.equal(linear.eval()(ramp), nearest.eval()(ramp))
    volumes = UNet(1, base=2, depth=2, dimensions=3, upsampling="linear").eval()
    assert volumes(torch.randn(1, 1, 4, 4, 4)).shape == (1, 1, 4, 4, 4)
    shapes = [layer.weight.shape for layer in conv_block(1, 2) if hasattr(layer, "weight")]
    assert shapes == [(2, 1, 3, 3), (2,)]


# --- protocols -------------------------------------------------------------------------------------------------------


def settings_of(*overrides: str) -> dict:
    found = plain(compose("train", [*overrides, "data=atlas_v1", "run_dir=x"]))
    check_fit(found)
    check_loss(found["model"])
    return found


@pytest.mark.parametrize("name", ["resunet2d", "unet2d_ppm", "pspnet", "deeplabv3plus"])
def test_one_protocol_trains_all_models_as_the_unet_is_trained(name):
    plain_unet, own = settings_of("model=unet2d"), settings_of(f"model={name}")
    assert own["protocol"] == plain_unet["protocol"] == "sgnet"
    for settings in (plain_unet, own):
        settings["model"].pop("network")
        settings["data"].pop("drop_last", None)
        settings.pop("name")
    assert own == plain_unet
    optimizer = own["model"]["optimizer"]
    assert (optimizer["lr"], optimizer["momentum"], own["model"]["scheduler"]["gamma"]) == (0.001, 0.9, 0.96)
    assert (own["trainer"]["max_epochs"], own["data"]["batch_size"], own["checkpoint"]) == (50, 16, "last")


@pytest.mark.parametrize(("name", "rate", "decay"), [("pspnet", 0.01, 1e-4), ("deeplabv3plus", 0.007, 5e-4)])
def test_the_authors_train_parts_behind_the_trunk_ten_times_as_fast(name, rate, decay):
    settings = settings_of(f"model={name}", "protocol=authors")
    assert (settings["protocol"], settings["name"]) == ("authors", f"{name}_authors")
    small = [f"model.network.layers={list(TINY['layers'])}", "model.network.base=4"]
    model = model_of(f"model={name}", "protocol=authors", *small)
    configured = model.configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]["scheduler"]
    behind, trunk = optimizer.param_groups
    assert [group["lr"] for group in (trunk, behind)] == pytest.approx([rate, 10 * rate])
    assert {id(weight) for weight in trunk["params"]} == {id(weight) for weight in model.network.trunk.parameters()}
    assert sum(len(group["params"]) for group in (trunk, behind)) == len(list(model.parameters()))
    assert {group["weight_decay"] for group in (trunk, behind)} == {decay}
    for _ in range(50):
        optimizer.step()
        schedule.step()
    assert trunk["lr"] == pytest.approx(rate * 0.5**0.9)  # poly, after half of the steps
    images, lesion = torch.randn(2, 1, 32, 32), torch.zeros(2, 1, 32, 32)
    logits = model.network.train()(images)
    parts = [-one.log_softmax(dim=1)[:, 0].mean() for one in (logits if isinstance(logits, list) else [logits])]
    assert len(parts) == (2 if name == "pspnet" else 1)
    expected = sum(weight * part for weight, part in zip((1.0, 0.4), parts, strict=False))
    torch.testing.assert_close(model.loss(logits, lesion), expected)


def test_rates_of_parts_are_named_by_parts_that_there_are():
    small = ["model.network.depth=2", "model.network.base=2"]
    with pytest.raises(ConfigError, match=r"network\.trunk") as caught:
        model_of("model=unet2d", *small, "++model.rate_factors={network.trunk: 0.1}").configure_optimizers()
    assert "network.encoder" in caught.value.expected
    inner = model_of("model=unet2d", *small, "++model.rate_factors={network: 2, network.head: 0}")
    groups = inner.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in groups] == [0.002, 0.0]
    assert len(groups[1]["params"]) == 2


def test_nnunet_of_slices_keeps_its_own_training():
    settings = settings_of("model=nnunet2d")
    optimizer, trainer = settings["model"]["optimizer"], settings["trainer"]
    assert (settings["protocol"], settings["data"]["batch_size"]) == ("authors", 76)
    assert (optimizer["lr"], optimizer["momentum"], optimizer["nesterov"]) == (0.01, 0.99, True)
    view = settings["view"]
    sampler = build(view["sampler"])
    assert (trainer["max_epochs"], sampler.iterations_per_epoch, sampler.foreground) == (1000, 250, 0.33)
    assert (view["preparation"]["crop"], build(view["windows"]).mirror) == ([192, 224, None], "xy")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [(["model=unet2d", "protocol=authors"], "authors/unet2d"), (["model=sunet", "protocol=authors"], "protocol")],
)
def test_a_protocol_that_a_model_has_not_is_an_error(overrides, words):
    with pytest.raises(ConfigError) as caught:
        compose("train", overrides)
    assert re.search(words, caught.value.found)
