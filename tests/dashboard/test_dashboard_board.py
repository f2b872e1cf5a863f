"""The board as the server would get it. That it asks for what runs log: tests/callbacks/test_callbacks_loggers.py."""

import importlib.util
import json

import pytest

from strokelab.dashboard import Board, specification
from strokelab.errors import ConfigError


def test_the_command_writes_the_board(doors, tmp_path):
    options = ["--group-by", "held_out", "--dataset", "atlas_v1", "--vary", "model.optimizer.lr", "--vary", "seed"]
    done = doors.strokelab("dashboard", *options, "--project", "p", "--out", "b.json", cwd=tmp_path).check()
    assert "Board: b.json" in done.output
    section = json.loads((tmp_path / "b.json").read_text())["spec"]["section"]
    (runs,) = section["runSets"]
    assert [key["name"] for key in runs["grouping"]] == ["held_out.value"]
    ((chosen,),) = [runs["filters"]["filters"]]
    assert (chosen["key"]["name"], chosen["op"], chosen["value"]) == ("dataset", "=", "atlas_v1")
    assert [key["key"]["name"] for key in runs["sort"]["keys"]] == ["test/dice"]
    panels = [panel for part in section["panelBankConfig"]["sections"] for panel in part["panels"]]
    search = [panel["config"]["columns"] for panel in panels if panel["viewType"] == "Parallel Coordinates Plot"][-1]
    axes = [column["accessor"] for column in search]
    assert axes == ["config:model.value.optimizer.lr", "config:seed.value", "summary:test/dice"]
    assert {"Bar Chart", "Run History Line Plot", "Vega2", "Media Browser", "Run Comparer"} <= {
        panel["viewType"] for panel in panels
    }


def test_a_board_of_all_datasets_filters_nothing():
    (runs,) = specification(Board())["spec"]["section"]["runSets"]
    assert not runs["filters"]["filters"]


def test_the_board_begins_with_a_leaderboard():
    section = specification(Board())["spec"]["section"]["panelBankConfig"]["sections"][0]
    assert section["name"] == "Leaderboard"
    kinds = [panel["viewType"] for panel in section["panels"]]
    assert kinds[0] == "Bar Chart"
    assert section["panels"][0]["config"]["metrics"] == ["test/dice"]
    assert '"evaluation/leaderboard"' in json.dumps(section)
    assert '"evaluation/table_matrix"' in json.dumps(section)


def test_runs_are_grouped_by_what_they_have():
    with pytest.raises(ConfigError, match="family, held_out"):
        Board(group_by="site")


def test_without_the_extra_the_message_names_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"strokelab\[dashboard\]"):
        specification(Board())
