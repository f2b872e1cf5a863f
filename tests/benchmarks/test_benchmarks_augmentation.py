"""The augmentation's benchmark: every contestant of ours runs, and a missing peer is said and left out."""

import importlib
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def augmentation(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.augmentation")


def test_each_of_ours_reports_its_time(augmentation, monkeypatch, capsys):
    monkeypatch.setattr(augmentation, "SIDE", 24)
    for name in (*augmentation.OURS, "torchio"):
        augmentation.main(name, 2)
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["processor"] > 0


def test_without_the_peer_its_rows_are_left_out(augmentation, monkeypatch, tmp_path, capsys):
    from benchmarks.peer import NoPeerError

    def turn(name):
        if name == "nnunet":
            raise NoPeerError("no environment")
        return {"standard": 0.02}.get(name, 0.05)

    monkeypatch.setattr(augmentation, "_turn", turn)
    (row,) = augmentation.rows(tmp_path, rounds=4)
    assert (row.peer, row.ratio, row.met) == ("TorchIO", 2.5, True)
    assert "no environment" in capsys.readouterr().err
    monkeypatch.setattr(augmentation, "_turn", lambda name: {"nnunet": 0.1, "standard": 0.02}.get(name, 0.05))
    assert [row.peer for row in augmentation.rows(tmp_path, rounds=1)][1] == "nnU-Net v2"
