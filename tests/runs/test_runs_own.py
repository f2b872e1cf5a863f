"""What this user trained is known again on this machine, by its exact config; nothing in a run folder can say so."""

import json

import pytest

from strokelab import runs
from strokelab.errors import DataWarning

OWN = {"model": {"_target_": "mine.Net", "loss": {"_target_": "strokelab.losses.dice.DiceLoss"}}, "seed": 1}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    folder = tmp_path / "run"
    folder.mkdir()
    runs.write_settings(folder, OWN)
    return folder


def records(tmp_path):
    return sorted((tmp_path / "state").rglob("*.json"))


def test_own_classes_are_recorded_for_that_config(run, tmp_path):
    assert runs.own_classes(run) == ()
    runs.remember(run, OWN)
    assert runs.own_classes(run) == ("mine.Net",)
    moved = run.rename(tmp_path / "elsewhere")
    assert runs.own_classes(moved) == ("mine.Net",)
    runs.write_settings(moved, OWN | {"seed": 2})
    assert runs.own_classes(moved) == (), "another content is nobody's word"


def test_only_what_is_on_no_list_is_recorded(run, tmp_path):
    runs.remember(run, {"model": {"_target_": "strokelab.networks.unet.UNet"}})
    assert records(tmp_path) == []


def test_a_record_of_another_user_does_not_count(run, tmp_path, monkeypatch):
    runs.remember(run, OWN)
    monkeypatch.setattr("os.getuid", lambda: 12345678)
    assert runs.own_classes(run) == ()


@pytest.mark.parametrize("content", ["", "[]", '{"own": "mine."}', '{"own": [3, ""]}', "\x00"])
def test_a_damaged_record_allows_nothing(content, run, tmp_path):
    runs.remember(run, OWN)
    records(tmp_path)[0].write_text(content)
    assert runs.own_classes(run) == ()


def test_a_state_folder_of_the_run_is_not_looked_at(run, tmp_path, monkeypatch):
    runs.remember(run, OWN)
    (record,) = records(tmp_path)
    (run / record.name).write_text(json.dumps({"own": ["mine.Net"]}))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another"))
    assert runs.own_classes(run) == ()
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert runs.own_classes(run) == ()


def test_without_a_place_for_it_the_user_is_told(run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(run / "config.yaml"))
    with pytest.warns(DataWarning, match=r"add 'allow=\[mine\.\]'"):
        runs.remember(run, OWN)
