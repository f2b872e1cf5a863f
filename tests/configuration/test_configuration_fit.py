"""Whether the parts of a config agree, and whether every setting has a reader."""

import pytest

from strokelab.configuration import check_arguments, check_fit, compose, conf_folder, plain
from strokelab.errors import ConfigError


def settings(*overrides):
    return plain(compose("train", ["run_dir=x", *overrides]))


@pytest.mark.parametrize(
    ("overrides", "fits"),
    [
        ([], True),
        (["view.preparation.crop=[null,null,null]"], True),
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


@pytest.mark.parametrize("experiment", sorted(path.stem for path in (conf_folder() / "experiment").glob("*.yaml")))
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
