"""Composing, resolving, overriding and checking keys."""

from string import Template

import pytest
import yaml
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from strokelab.configuration import check_keys, compose, conf_folder, plain
from strokelab.configuration.resolvers import register
from strokelab.errors import ConfigError


def test_the_config_tree_is_found_and_composes():
    assert (conf_folder() / "model/sgnet.yaml").is_file()
    settings = plain(compose("train", ["model=unet2d", "trainer.max_epochs=7", "run_dir=x"]))
    assert settings["trainer"]["max_epochs"] == 7
    assert settings["name"] == "unet2d"
    assert settings["callbacks"]["resume_point"]["folder"] == "x/checkpoints"
    assert settings["model"]["network"]["in_channels"] == "???"  # bound when the data are known


@pytest.mark.parametrize(
    "item", ["model=unett", "modle=unet2d", "trainer.max_epoch=3", "experiment=nothing", "=", "a b"]
)
def test_what_cannot_be_composed_is_a_config_error(item):
    with pytest.raises(ConfigError, match="conf/"):
        compose("train", [item])


def test_interpolations_that_lead_nowhere_are_named(monkeypatch):
    monkeypatch.delenv("NOT_SET_ANYWHERE", raising=False)
    with pytest.raises(ConfigError, match="NOT_SET_ANYWHERE"):
        plain(compose("train", ["run_dir=x", "name=${oc.env:NOT_SET_ANYWHERE}"]))
    with pytest.raises(ConfigError, match=r"add data\.modalities=\.\.\. to the command"):
        plain(compose("train", ["data=folder", "data.root=x", "run_dir=x"]))


def test_unknown_keys_come_with_the_nearest_known_one():
    check_keys({"seed": 1, "name": 2}, ("seed", "name", "data"), "here")
    with pytest.raises(ConfigError, match=r"did you mean 'seed'\?"):
        check_keys({"sede": 1}, ("seed", "name"), "here")
    with pytest.raises(ConfigError, match="remove it"):
        check_keys({"xyz": 1}, ("seed", "name"), "here")


@pytest.mark.parametrize("door", ["train", "evaluate"])
def test_help_has_each_setting_of_a_door_with_its_words(door):
    register()
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        shown = Template(OmegaConf.create({"said": f"${{comments:{door}}}"}).said).substitute()  # as Hydra does
    own = set(yaml.safe_load((conf_folder() / f"{door}.yaml").read_text())) - {"defaults", "hydra"}
    told = {line.partition(":")[0]: line[40:] for line in shown.splitlines() if not line.startswith(" ")}
    assert set(told) == own
    assert all(told.values())
    assert max(map(len, shown.splitlines())) <= 120
    assert "${hydra:runtime.output_dir}" in shown
