"""The peers of the scoreboard compute what we compute; a difference stops the benchmark."""

import importlib
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def scoreboard(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))
    return importlib.import_module("benchmarks.scoreboard")


@pytest.fixture
def masks():
    random = np.random.default_rng(0)
    truth = np.zeros((24, 20, 22), bool)
    truth[4:12, 4:12, 4:12] = random.random((8, 8, 8)) < 0.8
    truth[18:20, 15, 16] = True
    predicted = np.roll(truth, 1, 1)
    predicted[20, 3, 3] = True
    return predicted, truth


@pytest.mark.parametrize(
    ("library", "function", "profile", "tolerance"),
    [
        ("monai", "by_monai", "default", 1e-5),
        ("surface_distance", "by_surface_distance", "tomita", 1e-9),
    ],
)
def test_peers_agree_with_us(scoreboard, masks, library, function, profile, tolerance):
    pytest.importorskip(library, reason=f"the peer {library} is not installed")
    from strokelab.metrics import score_row

    theirs = getattr(scoreboard, function)(*masks)
    scoreboard._agree(score_row(*masks, scoreboard.SPACING, profile), theirs, tolerance)
    for name, value in theirs.items():
        with pytest.raises(AssertionError, match=name):
            scoreboard._agree(score_row(*masks, scoreboard.SPACING, profile), theirs | {name: value + 1}, tolerance)


def test_masks_have_the_size_that_was_asked_for(scoreboard):
    inside = scoreboard._ellipsoid((98, 116, 94), (30, 40, 30))
    assert inside.shape == scoreboard.SHAPE
    assert abs(inside.sum() / (4 / 3 * np.pi * 30 * 40 * 30) - 1) < 0.01
    field = np.random.default_rng(0).random(scoreboard.SHAPE, dtype=np.float32)
    chosen = scoreboard._largest(field, inside, voxels=500)
    assert chosen.sum() == 500
    assert (chosen <= inside).all()


def test_memory_is_told_in_copies_of_the_masks(scoreboard, masks):
    note = scoreboard._described(*masks, "default")
    assert f"{masks[0].sum():,} / {masks[1].sum():,} voxels" in note
    assert "lesions; our peak memory" in note
