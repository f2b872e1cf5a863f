"""The table of the training step beside nnU-Net's: who stands where, and which goals are called met."""

from pathlib import Path

import pytest

from benchmarks import nnunet_step


def answers(seconds: float, peak: float) -> dict[str, float]:
    return {"seconds": seconds, "processor": 2 * seconds, "peak_mib": peak}


@pytest.fixture
def _measured(monkeypatch):
    """Ours takes 10 s and 600 MiB, nnU-Net's float32 35 s and 1000 MiB, its bf16 12 s and 700 MiB."""
    monkeypatch.setattr(nnunet_step, "peer_python", lambda: Path("python"))
    monkeypatch.setattr(nnunet_step, "in_child", lambda *words: answers(10, 600))
    peers = {"float32": answers(35, 1000), "bf16": answers(12, 700)}
    monkeypatch.setattr(nnunet_step, "in_peer", lambda *words: peers[words[3]])


@pytest.mark.usefixtures("_measured")
def test_rows_and_goals():
    rows = nnunet_step.rows(Path(), rounds=1)
    assert [(row.peer, round(row.ratio, 1), row.met) for row in rows] == [
        ("nnU-Net as it ships, float32", 3.5, True),
        ("nnU-Net in bf16", 1.2, True),
        ("nnU-Net as it ships, float32", 3.5, True),
        ("nnU-Net in bf16", 1.2, False),
    ]
    assert "0.60 of it, goal 0.65 met; 3.5x our processor time" in rows[2].note
    assert "goal" not in rows[3].note


def test_without_nnunets_python_there_are_no_rows(monkeypatch):
    monkeypatch.delenv("STROKELAB_NNUNET_PYTHON", raising=False)
    assert nnunet_step.rows(Path(), rounds=1) == []
