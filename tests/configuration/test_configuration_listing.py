"""``strokelab list``: every yaml of conf, by group, with its own words."""

import json

import pytest
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.configuration import conf_folder
from strokelab.configuration.listing import find_group, first_words, groups
from strokelab.errors import ConfigError


def test_every_file_of_every_group_is_listed():
    listed = {f"{group}/{one.name}.yaml" for group, choices in groups().items() for one in choices}
    files = {path.relative_to(conf_folder()).as_posix() for path in conf_folder().rglob("*.yaml")}
    assert listed == {name for name in files if "/" in name}


def test_what_people_choose_says_what_it_is():
    found = groups()
    silent = [
        f"{group}/{one.name}"
        for group in ("model", "data", "experiment", "sweep", "loss", "view", "split", "postprocess", "ensemble")
        for one in found[group]
        if not one.about
    ]
    assert silent == []
    about = {one.name: one.about for one in found["model"]}
    assert about["clcinet"].startswith("CLCI-Net (Yang 2019)")


def test_the_first_line_that_is_no_command(tmp_path):
    texts = {
        "# @package _global_\n# python train.py model=x\n# What it is.\nkey: 1\n": "What it is.",
        "# python train.py -m sweep=x       five folds\nkey: 1\n": "five folds",
        "# python train.py model=x          python train.py model=x protocol=authors\n# Words.\n": "Words.",
        "# python train.py x=y\nkey: 1   # A remark.\n": "A remark.",
        "# python train.py x=y\n# One sentence\n# on two, e.g. this. Another.\n": "One sentence on two, e.g. this.",
        "# Words.\n# python train.py x=y      in slices: y=z\n#                        and=more\n": "Words.",
        "key: 1\n": "",
    }
    for text, words in texts.items():
        (tmp_path / "x.yaml").write_text(text)
        assert first_words(tmp_path / "x.yaml") == words


def test_words_that_people_say():
    asked = {"models": "model", "datasets": "data", "losses": "loss", "sweeps": "sweep", "experiment": "experiment"}
    assert {word: find_group(word) for word in asked} == asked
    with pytest.raises(ConfigError, match="'nothing'"):
        find_group("nothing")


def test_the_command():
    said = CliRunner().invoke(app, ["list", "models"])
    assert said.exit_code == 0
    assert "SG-Net" in said.output
    content = json.loads(CliRunner().invoke(app, ["list", "datasets", "--json"]).output)
    assert (content["schema"], list(content["groups"])) == ("strokelab.list/1", ["data"])
    assert set(json.loads(CliRunner().invoke(app, ["list", "--json"]).output)["groups"]) == set(groups())
    assert "sweep" in CliRunner().invoke(app, ["list"]).output
    assert "prepared" in CliRunner().invoke(app, ["cache", "--size"]).output
