"""The generator's benchmark: ours runs at a small size, and a missing peer is said and left out."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def synthesis(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.synthesis")


def test_ours_reports_its_time_and_memory(synthesis, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(synthesis, "SIZE", 24)
    np.savez(tmp_path / "maps.npz", **synthesis._material(32))
    synthesis.main("ours", str(tmp_path / "maps.npz"), 2)
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["processor"] > 0
    assert facts["peak_mib"] > 0


def test_peers_that_are_not_installed_are_left_out(synthesis, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(synthesis, "find_spec", lambda name: None if name == "cornucopia" else name)
    monkeypatch.setattr(synthesis, "_material", lambda side: {"maps": np.zeros(1)})
    seconds = {"ours": 2.0, "monai": 5.0, "monai_crop": 3.0}
    monkeypatch.setattr(
        synthesis, "in_child", lambda module, name, *rest: {"processor": seconds[name], "peak_mib": 100.0}
    )
    lines = synthesis.rows(tmp_path, rounds=2)
    assert [(row.peer, row.ratio, row.met) for row in lines] == [("MONAI", 2.5, True), ("MONAI, crop first", 1.5, None)]
    assert "cornucopia not measured" in capsys.readouterr().err
