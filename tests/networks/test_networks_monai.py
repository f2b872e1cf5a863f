"""MONAI's networks through the adapter: counts, logits and sides as the bare classes have them, and nothing else."""

import subprocess
import sys

import pytest
import torch
import yaml

from strokelab import build_model
from strokelab.configuration import check_buildable, check_fit, compose, conf_folder, plain
from strokelab.configuration.size_limit import model_bytes
from strokelab.errors import ConfigError
from strokelab.losses.compound import DiceCELoss
from strokelab.losses.deep_supervision import DeepSupervision
from strokelab.networks.monai_networks import Monai

MODELS = sorted(path.stem for path in (conf_folder() / "model").glob("monai_*.yaml"))
NEEDS = "strokelab[monai] is not installed"
DYN = {
    **{"kernel_size": [3] * 6, "strides": [1] + [2] * 5, "upsample_kernel_size": [2] * 5},
    **{"deep_supervision": True, "deep_supr_num": 4},
}
DEEP = {"norm": "instance", "blocks_down": [1, 2, 2, 4, 4], "dsdepth": 4}
WIDE, WIDE_2D = [32, 64, 128, 256, 320, 320], [32, 64, 128, 256, 480, 480]
COUNTS = [
    ("SegResNet", 3, 1, {"init_filters": 32}, 18_795_969, 8),
    ("SegResNet", 2, 1, {"init_filters": 32}, 6_298_497, 8),
    ("SegResNet", 2, 1, {"init_filters": 64}, 25_179_905, 8),
    ("SegResNetDS", 3, 1, DEEP, 87_163_716, 16),
    ("SegResNetDS", 2, 1, DEEP, 29_065_476, 16),
    ("SwinUNETR", 3, 1, {"feature_size": 24}, 15_702_979, 32),
    ("SwinUNETR", 3, 1, {"feature_size": 48}, 62_186_659, 32),
    ("SwinUNETR", 3, 1, {"feature_size": 48, "use_v2": True}, 72_762_019, 32),
    ("SwinUNETR", 2, 1, {"feature_size": 24}, 6_302_203, 32),
    ("SwinUNETR", 2, 1, {"feature_size": 48}, 25_137_931, 32),
    ("DynUNet", 3, 2, {**DYN, "filters": WIDE}, 31_190_954, 32),
    ("DynUNet", 3, 2, {**DYN, "filters": WIDE, "res_block": True}, 31_420_554, 32),
    ("DynUNet", 2, 2, {**DYN, "filters": WIDE_2D}, 18_665_002, 32),
    ("AttentionUnet", 3, 1, {"channels": [32, 64, 128, 256, 512], "strides": [2] * 4}, 23_625_953, 16),
    ("AttentionUnet", 2, 1, {"channels": [64, 128, 256, 512, 1024], "strides": [2] * 4}, 31_739_185, 16),
    ("UNETR", 3, 1, {"img_size": 96}, 92_802_257, 96),
    ("UNETR", 3, 1, {"img_size": 128}, 93_029_585, 128),
    ("MedNeXtS", 3, 2, {}, 5_550_914, 16),
    ("MedNeXtB", 3, 2, {}, 10_510_850, 16),
    ("MedNeXtM", 3, 2, {}, 17_533_506, 16),
    ("MedNeXtL", 3, 2, {}, 61_726_754, 16),
    ("MedNeXtS", 2, 2, {}, 5_472_002, 16),
    ("MedNeXtB", 2, 2, {}, 10_431_938, 16),
    ("MedNeXtL", 2, 2, {}, 61_503_842, 16),
]
SMALL = [
    ("SegResNet", {"init_filters": 8}, 16),
    ("SegResNetDS", {"init_filters": 8, "norm": "instance", "blocks_down": [1, 1, 1], "dsdepth": 2}, 16),
    ("SwinUNETR", {"feature_size": 12}, 64),
    ("DynUNet", {**DYN, "filters": [4, 4, 4, 4, 4, 4]}, 64),
    ("AttentionUnet", {"channels": [4, 8, 8], "strides": [2, 2]}, 16),
    (
        "UNETR",
        {"img_size": [32, 32], "feature_size": 4, "hidden_size": 24, "mlp_dim": 24, "num_heads": 4},
        32,
    ),
    ("MedNeXtS", {"deep_supervision": True}, 32),
]
LISTS = ("SegResNetDS", "DynUNet", "MedNeXtS")


@pytest.fixture
def monai():
    pytest.importorskip("einops", reason=NEEDS)
    return pytest.importorskip("monai", reason=NEEDS)


@pytest.mark.parametrize(("name", "dimensions", "maps", "arguments", "count", "divisor"), COUNTS)
def test_counts_and_divisors(name, dimensions, maps, arguments, count, divisor, monai):
    with torch.device("meta"):
        network = Monai(name, 1, maps, dimensions=dimensions, **arguments)
    assert sum(weight.numel() for weight in network.parameters()) == count
    assert network.divisors == (divisor,) * dimensions
    assert network.dimensions == dimensions


@pytest.mark.parametrize(("name", "arguments", "side"), SMALL)
def test_logits_are_those_of_the_bare_class_and_a_list_while_supervised(name, arguments, side, monai):
    from monai.networks import nets

    torch.manual_seed(0)
    network = Monai(name, 1, 2, dimensions=2, **arguments)
    bare = getattr(nets, name)(spatial_dims=2, in_channels=1, out_channels=2, **arguments)
    bare.load_state_dict(network.network.state_dict())
    image = torch.rand(2, 1, side, side)
    with torch.no_grad():
        assert torch.equal(network.eval()(image), bare.eval()(image))
    network.train()
    logits = network(image)
    assert isinstance(logits, list) == network.deep_supervision == (name in LISTS)
    if isinstance(logits, list):
        sides = [each.shape[2] for each in logits]
        assert sides == sorted(sides, reverse=True)
        assert sides[0] == side
        assert len(logits) == {"SegResNetDS": 2}.get(name, 5)
    loss = DeepSupervision(DiceCELoss())(logits, (image > 0.5).float())
    loss.backward()
    unused = [key for key, weight in network.named_parameters() if weight.grad is None]
    assert bool(unused) == network.leaves_unused == (name == "UNETR")
    wrong = (side + 1, side)
    with pytest.raises(ConfigError, match=f"MONAI's {name}") as caught:
        network(torch.rand(2, 1, *wrong))
    assert str(wrong) in caught.value.found
    if name in ("SwinUNETR", "DynUNet"):
        with pytest.raises(ConfigError, match="two voxels"):
            network(torch.rand(2, 1, 32, 32))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "UNet"}, "model.network.name"),
        ({"name": "SegResNet", "init_filters": 10**6}, "init_filters"),
        ({"name": "SegResNet", "blocks_down": [1, 1000]}, "blocks_down"),
        ({"name": "SegResNet", "blocks_down": [1] * 100}, "blocks_down"),
        ({"name": "SegResNet", "act": len}, "act"),
        ({"name": "SegResNet", "filters": 3}, "filters"),
        ({"name": "SegResNet", "dimensions": 4}, "dimensions"),
    ],
)
def test_other_names_and_sizes_beyond_any_network_are_errors(arguments, words, monai):
    with pytest.raises(ConfigError) as caught:
        Monai(in_channels=1, out_channels=1, **arguments)
    assert words in str(caught.value)


@pytest.mark.parametrize("model", MODELS)
def test_every_model_is_built_from_an_untrusted_config_and_counted(model, monai):
    settings = plain(compose("train", [f"model={model}", "run_dir=x"]))
    settings["model"]["network"]["in_channels"] = 2
    node = {"model": {key: settings["model"][key] for key in ("_target_", "network", "loss", "optimizer")}}
    check_buildable(node, where="config.yaml")
    assert model_bytes(node["model"]) > 10**7
    check_fit(settings)
    with pytest.raises(ConfigError, match="view"):
        check_fit(plain(compose("train", [f"model={model}", "run_dir=x", "view=sgnet"])))
    with pytest.raises(ConfigError, match="does not show its features"):
        build_model(model, adversary="{_target_:strokelab.models.adversary.SiteAdversary,_partial_:true,n_sites:2}")


def test_exactly_these_classes_are_buildable():
    for target in ("monai.networks.nets.SegResNet", "strokelab.networks.monai_networks._class_of"):
        with pytest.raises(ConfigError, match="target"):
            check_buildable({"model": {"_target_": target}}, where="config.yaml")
    source = subprocess.run(
        ["grep", "-rlE", r"(import|from) +monai|[\"']monai\.", conf_folder().parent / "strokelab"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    assert [path.rpartition("/")[2] for path in source if path.endswith(".py")] == ["monai_networks.py"]


@pytest.mark.parametrize("model", MODELS)
def test_without_monai_the_message_names_the_extra(model, monkeypatch):
    for name in ("monai", "monai.networks", "monai.networks.nets"):
        monkeypatch.setitem(sys.modules, name, None)
    network = yaml.safe_load((conf_folder() / "model" / f"{model}.yaml").read_text())["model"]["network"]
    with pytest.raises(ConfigError) as caught:
        Monai(**{key: value for key, value in network.items() if key != "_target_"} | {"in_channels": 1})
    assert caught.value.remedy == "pip install 'strokelab[monai]'"
    with pytest.raises(ConfigError) as caught:
        build_model(model)
    assert caught.value.remedy == "pip install 'strokelab[monai]'"
    assert "torchvision" not in sys.modules
