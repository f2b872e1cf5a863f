"""Whether the parts of a config agree, and whether every setting has a reader."""

import sys
from types import ModuleType

import pytest
import torch

from strokelab.configuration import check_arguments, check_fit, compose, conf_folder, plain
from strokelab.errors import ConfigError


def settings(*overrides):
    return plain(compose("train", ["run_dir=x", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        ([], True),
        (["view.preparation.crop=[null,null,null]", "view.preparation.offset=null"], True),
        (["view.preparation.crop=[null,null,null]"], False),  # an offset without a crop
        (["view.preparation.crop=[96,96,77]"], True),  # z is the slice's number
        (["view.preparation.crop=[48,96,null]"], False),  # depth 5 and two halves: 32
        (["view.preparation.crop=[48,96,null]", "hemispheres=none"], True),
        (["view.preparation.crop=[96,24,null]"], False),
        (["view.preparation.crop=[96,24,null]", "model.network.depth=4"], True),
        (["model.network.dimensions=3"], False),
        (["+data.has_sites=false"], False),
        (["+data.has_sites=false", "adversary=none"], True),
    ],
)
def test_crop_depth_hemispheres_and_sites_agree_or_are_refused(overrides, fits):
    composed = settings(*overrides)
    if fits:
        check_fit(composed)
    else:
        with pytest.raises(ConfigError, match="remedy"):
            check_fit(composed)


def test_the_remedy_fits():
    with pytest.raises(ConfigError, match="use 64"):
        check_fit(settings("view.preparation.crop=[50,96,null]"))
    check_fit(settings("view.preparation.crop=[64,96,null]"))


EXPERIMENTS = conf_folder() / "experiment"
SHARED = ("cohort", "slices")  # parts of experiments in a folder of their own


@pytest.mark.parametrize(
    "experiment",
    sorted(
        path.relative_to(EXPERIMENTS).with_suffix("").as_posix()
        for path in EXPERIMENTS.rglob("*.yaml")
        if path.stem not in SHARED
    ),
)
def test_every_setting_of_every_recipe_has_a_reader(experiment):
    check_arguments(settings(f"experiment={experiment}"))


@pytest.mark.parametrize("data", sorted(path.stem for path in (conf_folder() / "data").glob("*.yaml")))
def test_every_setting_of_every_dataset_has_a_reader(data):
    check_arguments(settings(f"data={data}", "data.root=x", "data.modalities=[T1w]"))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "strokelab.data.datamodule.ATLASv1", "rot": "x"}, ["here.rot", "did you mean here.root?"]),
        ({"_target_": "strokelab.data.datamodule.ATLASv1", "batchsize": 3}, ["did you mean here.batch_size?"]),
        ({"_target_": "torch.optim.SGD", "_partial_": True, "momentun": 0.9}, ["did you mean here.momentum?"]),
        ({"a": [{"b": {"_target_": "torch.optim.SGD", "zzz": 1}}]}, ["here.a[0].b.zzz", "remove it"]),
        ({"_target_": "strokelab.nothing.Here"}, ["here._target_", "strokelab.nothing.Here"]),
        ({"_target_": "Nothing"}, ["here._target_", "Nothing"]),
        ({"_target_": None}, ["here._target_"]),
    ],
)
def test_settings_nobody_reads_are_named_in_full(node, words):
    with pytest.raises(ConfigError) as caught:
        check_arguments({"here": node})
    for word in words:
        assert word in str(caught.value)


def test_targets_that_take_anything_are_left_alone():
    check_arguments(
        {"a": {"_target_": "builtins.dict", "anything": 1}, "b": {"_target_": "types.SimpleNamespace", "c": 2}}
    )


def test_classes_have_the_lesion_among_them():
    with pytest.raises(ConfigError, match="add lesion"):
        check_fit({"model": {"network": {"out_channels": 2}}, "view": {"classes": ["background", "GM"]}})


GIVEN = ["model=nnunet", "model.network.strides=[[1,1,1],[4,2,1]]", "view.sampler.patch=[32,32,30]"]


@pytest.mark.parametrize(
    ("windows", "wrong"),
    [
        ("view.windows.patch=[64,64,25]", None),  # windows may be of another size than the training patches
        ("view.windows.patch=[62,64,25]", "view.windows.patch along x"),
        ({"_target_": "strokelab.inference.slices.SliceWindows"}, "view.windows"),
    ],
)
def test_windows_are_held_against_the_network(windows, wrong):
    changed = settings(*GIVEN, *([windows] if isinstance(windows, str) else []))
    if isinstance(windows, dict):
        changed["view"]["windows"] = windows
    if wrong is None:
        check_fit(changed)
        return
    with pytest.raises(ConfigError) as caught:
        check_fit(changed)
    assert caught.value.where == wrong


CROPS = ["model=sunet", "view=resunet3d", "view.preparation.normalize=zscore_brain"]
HALVES = ["view.preparation.crop=[144,null,null]", "view.sampler.size=[144,128,128]", "hemispheres=split"]


@pytest.mark.parametrize(
    ("overrides", "wrong"),
    [
        (["view.windows.window=[144,176,168]"], None),
        (["view.windows.window=[144,176,168]", "view.preparation.crop=[64,64,64]"], None),  # crops are padded
        ([], "view.windows.window along y"),
        (["view.windows.window=[144,176,168]", "view.sampler.size=[128,128,100]"], "view.sampler.size along z"),
        (["view.windows.window=[144,176,168]", *HALVES], None),
        (["view.windows.window=[144,176,168]", "hemispheres=split"], "hemispheres"),
    ],
)
def test_crops_and_a_centre_window_are_held_against_the_network(overrides, wrong):
    composed = settings(*CROPS, *overrides)
    if wrong is None:
        check_fit(composed)
        return
    with pytest.raises(ConfigError) as caught:
        check_fit(composed)
    assert caught.value.where == wrong


class Silent(torch.nn.Module):
    """Says nothing of itself."""

    def __init__(self, in_channels):
        super().__init__()
        self.layer = torch.nn.Conv2d(in_channels, 1, 1)


class LooksAtValues(Silent):
    """Cannot be built without memory."""

    def __init__(self, in_channels):
        super().__init__(in_channels)
        self.first = torch.zeros(1).item()


class Halves(Silent):
    """Rows by 4, columns by 3."""

    dimensions = 2
    divisors = (4, 3)


class Volumes(Silent):
    """Says no divisors."""

    dimensions = 3


@pytest.mark.parametrize(
    ("network", "crop", "wrong"),
    [
        (Silent, [7, 5, None], None),
        (LooksAtValues, [7, 5, None], None),
        (Halves, [9, 8, None], None),
        (Halves, [9, 9, None], "view.preparation.crop along y"),
        (Halves, [8, 8, None], "view.preparation.crop along x"),
        (Halves, [8, None, None], "view.preparation.crop along x"),
        (Halves, [None, 8, None], None),
        (Volumes, [8, 8, None], "model.network"),
    ],
)
def test_an_own_network_says_what_it_needs_or_is_not_checked(network, crop, wrong, monkeypatch):
    module = ModuleType("own_networks")
    setattr(module, network.__name__, network)
    monkeypatch.setitem(sys.modules, "own_networks", module)
    chosen = settings("model=unet2d", "view.preparation.offset=null")
    chosen["model"]["network"] = {"_target_": f"own_networks.{network.__name__}", "in_channels": "???"}
    chosen["view"]["preparation"]["crop"] = crop
    if wrong is None:
        check_fit(chosen)
        return
    with pytest.raises(ConfigError) as caught:
        check_fit(chosen)
    assert caught.value.where == wrong


def test_what_a_plan_will_decide_is_left_to_it():
    check_fit(settings("model=nnunet", "view.sampler.patch=[48,48,50]"))  # fewer poolings along z
    with pytest.raises(ConfigError) as caught:
        check_fit(settings("model=nnunet", "model.network.blocks_encoder=0"))
    assert caught.value.where == "NNUNet.blocks_encoder", "what the network says of its own settings"
