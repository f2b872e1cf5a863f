"""What our own conf/ asks for stays in the run folder, so that all of it can be resumed; what a word agrees to."""

from pathlib import Path

import pytest

from strokelab.configuration import check_buildable, compose, conf_folder, plain
from strokelab.configuration.schema import check_shape
from strokelab.configuration.size_limit import model_bytes
from strokelab.configuration.untrusted_paths import check_places
from strokelab.errors import ConfigError
from strokelab.runs.settings_digest import with_full_places

OPTIONS = [
    f"{group}={path.stem}"
    for group in ("logger", "trainer", "callbacks", "split", "data", "postprocess")
    for path in sorted((conf_folder() / group).glob("*.yaml"))
]


def settings_of(folder, *overrides):
    named = {"data=folder", "data=several", "data=bids"} & {*overrides}
    needed = ["data.root=/data", "data.modalities=[T1w]"] if named else []
    needed += ["data.datasets=[atlas_v1,atlas_v2]"] if "data=several" in overrides else []
    return plain(compose("train", [f"run_dir={folder}", "name=x", *overrides, *needed]))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_of_ours_can_be_resumed(option, tmp_path):
    if option == "split=from_file":
        option = "split=from_file split.path=/data/split.csv"
    settings = settings_of(tmp_path, *option.split())
    check_shape(settings, tmp_path / "config.yaml")
    check_buildable(settings, training=True)
    check_places(settings, tmp_path.resolve())


def test_what_the_user_says_is_the_user_s_own(tmp_path):
    elsewhere = f"data.store={tmp_path / 'elsewhere'}"
    settings = settings_of(tmp_path / "run", elsewhere, "data=atlas_v1")
    with pytest.raises(ConfigError, match=r"add data\.store=\.\.\. to the command"):
        check_places(settings, tmp_path / "run")
    check_places(settings, tmp_path / "run", typed=[elsewhere])


def test_phantoms_that_lie_there_already_are_only_read(tmp_path, monkeypatch):
    monkeypatch.setenv("STROKELAB_DATA", str(tmp_path / "own"))
    root = tmp_path / "elsewhere" / "cohort"
    settings = settings_of(tmp_path / "run", "data=phantom", f"data.root={root}")
    with pytest.raises(ConfigError, match=r"data\.root"):
        check_places(settings, tmp_path / "run")
    root.mkdir(parents=True)
    (root / "phantom.json").write_text("{}")
    check_places(settings, tmp_path / "run")


@pytest.mark.parametrize("name", ["sgnet", "unet2d"])
def test_bytes_of_a_model_are_those_of_its_weights(name):
    from strokelab.configuration import build_model
    from strokelab.configuration.late_facts import DEFAULT_FACTS, bind

    node = bind(plain(compose("train", [f"model={name}", "model.network.base=4"]))["model"], DEFAULT_FACTS, at="model")
    model = build_model(name, network__base=4)
    assert model_bytes(node) == sum(tensor.nbytes for tensor in model.state_dict().values())


def test_roots_of_sources_are_places():
    """A run that is resumed from another folder finds them again."""
    kept = with_full_places({"data": {"sources": {"more": {"root": "masks"}}}})
    assert kept["data"]["sources"]["more"]["root"] == str(Path("masks").resolve())
