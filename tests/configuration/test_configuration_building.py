"""Late facts, building and the models of the config tree."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strokelab import build_model
from strokelab.configuration import bind, build, build_untrusted, check_buildable
from strokelab.configuration.composition import conf_folder
from strokelab.configuration.late_facts import fact_of, given_facts
from strokelab.errors import ConfigError, StrokelabError
from strokelab.losses.dice import DiceLoss
from strokelab.sampling.slices import Slices
from strokelab.view import View

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5).filter(lambda word: word != "???"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


def test_missing_values_become_the_facts_of_their_places():
    model = {"network": {"in_channels": "???", "keep": 1}, "parts": [{"plane": "???"}], "plane": [1, 2]}
    settings = {"model": model, "data": {"batch_size": "???"}}
    bound = bind(settings, {"in_channels": 3, "plane": (28, 24), "batch_size": 5})
    expected = {"network": {"in_channels": 3, "keep": 1}, "parts": [{"plane": [28, 24]}], "plane": [1, 2]}
    assert bound == {"model": expected, "data": {"batch_size": 5}}
    assert bind(model, {"in_channels": 3, "plane": (28, 24)}, at="model") == expected
    assert model["network"]["in_channels"] == "???", "a copy is bound"


@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("view.sampler.patch", "patch"),
        ("view.windows.patch", "patch"),
        ("view.windows.windows.patch", "patch"),
        ("view.augment.transforms[0].normalize", "normalize"),
        ("model.network.in_channels", "in_channels"),
        ("model.network.trunk.in_channels", "in_channels"),
        ("model.network.trunk.strides", "strides"),
        ("stages.zoom_in.view.sampler.patch", "patch"),
        ("stages.zoom_in.data.batch_size", "batch_size"),
        ("model.network.patch", None),  # an own network's argument
        ("model.network.spacing", None),
        ("model.network.batch_size", None),
        ("model.standardizer.patch", None),
        ("modelling.network.strides", None),
        ("view.sampler.inner.patch", None),
        ("view.windows.batch_size", None),
        ("stages.patch", None),
        ("data.root", None),
        ("patch", None),
        ("", None),
    ],
)
def test_a_fact_has_its_places(path, fact):
    assert fact_of(path) == fact


def test_an_own_networks_patch_is_not_the_plans():
    settings = {"model": {"network": {"patch": "???", "strides": "???"}}}
    facts = {"patch": (8, 8, 8), "strides": ((1, 1, 1),)}
    with pytest.raises(ConfigError) as caught:
        bind(settings, facts)
    assert caught.value.where == "model.network.patch"
    bound = bind(settings, facts, partly=True)["model"]["network"]
    assert bound == {"patch": "???", "strides": [[1, 1, 1]]}


def test_what_is_given_in_place_of_a_plan():
    view = {"sampler": {"patch": "???"}, "windows": {"patch": [8, 8, 8]}, "preparation": {"spacing": None}}
    own = {"network": {"widths": [2, 4], "patch": 3}}
    assert given_facts({"view": view, "model": own, "data": {"batch_size": "???"}}) == {
        "patch": [8, 8, 8],
        "spacing": None,  # each case's own
        "widths": [2, 4],
    }


@given(settings=st.dictionaries(st.text(max_size=3), values, max_size=3))
def test_settings_without_missing_values_come_back_as_they_are(settings):
    assert bind(settings, {}) == settings


def test_a_fact_nobody_has_is_asked_for_by_its_full_name():
    with pytest.raises(ConfigError, match=r"model\.adversary\.n_sites") as caught:
        bind({"model": {"adversary": {"n_sites": "???"}}}, {"n_sites": None, "in_channels": 1})
    assert "add model.adversary.n_sites=... to the command" in str(caught.value)


def test_building_plain_nodes_partials_and_with_objects():
    loss = build({"_target_": "strokelab.losses.dice.DiceLoss", "over": "batch"})
    assert isinstance(loss, DiceLoss)
    optimizer = build({"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.5})
    assert optimizer([torch.nn.Parameter(torch.zeros(1))]).param_groups[0]["lr"] == 0.5
    sampler = Slices()
    view = build(
        {"_target_": "strokelab.view.View", "preparation": {
            "_target_": "strokelab.preparation.recipe.Preparation", "modalities": ["T1w"]}, "windows": None},
        sampler=sampler,
    )  # fmt: skip
    assert isinstance(view, View)
    assert view.sampler is sampler, "objects join as they are"
    assert view.preparation.modalities == ("T1w",), "lists are plain lists, not those of the config library"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "strokelab.losses.dice.Dice"}, ["strokelab.losses.dice.Dice"]),
        ({"_target_": "strokelab.losses.dice.DiceLoss", "overt": "batch"}, ["DiceLoss", "overt"]),
        ({"_target_": "strokelab.networks.unet.UNet", "in_channels": "???"}, ["in_channels"]),
        ({"_target_": "torch.nn.Conv2d", "in_channels": 1, "out_channels": -1, "kernel_size": 3}, ["out_channels=-1"]),
        (
            {"_target_": "torch.nn.Sequential", "a": 1, "inner": {"_target_": "torch.nn.Linear", "in_features": "x"}},
            ["torch.nn.Linear (inner)", "in_features='x'"],
        ),
    ],
)
def test_what_a_target_refuses_names_it_and_what_it_was_given(node, words):
    for arguments in ({}, {"device": "cpu"}) if "Conv2d" in node["_target_"] else ({},):
        with pytest.raises(ConfigError) as caught:
            build(node, **arguments)
        for word in words:
            assert word in str(caught.value)


def test_what_a_part_of_ours_says_about_its_settings_is_said_as_it_is():
    node = {"_target_": "strokelab.preparation.recipe.Preparation", "modalities": ["T1w"], "normalize": "z"}
    with pytest.raises(StrokelabError) as caught:
        build({"_target_": "strokelab.view.View", "preparation": node, "sampler": None, "windows": None})
    assert caught.value.where == "preparation.normalize"


def test_untrusted_nodes_pass_the_allow_list_first():
    assert isinstance(build_untrusted({"_target_": "strokelab.losses.dice.DiceLoss"}), DiceLoss)
    with pytest.raises(ConfigError, match=r"stranger/config\.yaml"):
        build_untrusted({"_target_": "os.getcwd"}, where="stranger/config.yaml")


def test_models_by_name_with_facts_and_settings():
    model = build_model("sgnet", in_channels=3, n_sites=4, plane=(32, 64), network__base=4, network__depth=3)
    assert model.network.encode(torch.zeros(1, 3, 32, 64))[0].shape == (1, 4, 32, 64)
    assert model.adversary is not None
    assert build_model("unet2d", network__base=4, adversary="null").adversary is None


def test_unknown_models_and_settings():
    with pytest.raises(ConfigError, match=r"did you mean 'sgnet'\?"):
        build_model("sg-net")
    with pytest.raises(ConfigError, match=r"network\.bass"):
        build_model("unet2d", network__bass=4)


def test_of_the_planners_room_only_the_planner_is_buildable_and_only_to_train():
    node = {"planner": {"_target_": "strokelab.planning.Planner", "memory_gb": 8}}
    check_buildable(node, training=True)
    with pytest.raises(ConfigError, match="allow-list"):
        check_buildable(node)
    for target in ("strokelab.planning.fingerprint", "strokelab.planning.stages.Stages", "os.system"):
        with pytest.raises(ConfigError, match="planner"):
            check_buildable({"planner": {"_target_": target}}, training=True)


@pytest.mark.parametrize(
    "target",
    [
        *("inference.windows.gaussian_profile", "inference.windows.window_starts", "inference.accumulate.WeightedSum"),
        *("inference.derivative.Derivative", "sampling.order.EpochBatchSampler", "augment.warp.smooth_shift"),
    ],
)
@pytest.mark.parametrize("training", [False, True])
def test_a_strangers_view_builds_nothing_that_takes_memory_at_will(target, training):
    node = {"view": {"windows": {"_target_": f"strokelab.{target}"}}}
    with pytest.raises(ConfigError, match="allow-list of 'view'"):
        check_buildable(node, training=training)


def test_what_our_views_and_postprocessings_are_made_of_is_buildable():
    """Whatever conf/ names; augmentation only to train."""
    texts = "\n".join(path.read_text() for path in conf_folder().rglob("*.yaml"))
    named = re.findall(
        r"_target_: (strokelab\.(?:view|preparation|sampling(?!\.alternate)|inference|augment)\.[\w.]+)", texts
    )
    for target in {*named, "strokelab.inference.geometric_mean.GeometricMean"}:
        section = "postprocess" if ".postprocess." in target else "view"
        check_buildable({section: {"_target_": target}}, training=target.startswith("strokelab.augment."))


def test_facts_can_be_bound_in_part():
    network = {"in_channels": "???", "kernels": "???"}
    settings = {"view": {"sampler": {"patch": "???"}}, "model": {"network": network}}
    bound = bind(settings, {"patch": (8, 8, 8), "kernels": ((3, 3, 1), (3, 3, 3))}, partly=True)
    assert bound["view"] == {"sampler": {"patch": [8, 8, 8]}}
    assert bound["model"] == {"network": {"in_channels": "???", "kernels": [[3, 3, 1], [3, 3, 3]]}}
    with pytest.raises(ConfigError, match="in_channels"):
        bind(bound, {})
