"""Members of an ensemble that are given the same samples: the same numbers as one after the other."""

import numpy as np
import pytest
from sibling_runs import volume_sibling

from strokelab.data import read_cases
from strokelab.inference.dense_patches import DensePatches
from strokelab.models.segmenter import Segmenter
from strokelab.preparation.recipe import prepare
from strokelab.runs import load_ensemble, load_run

WINDOWS = {"_target_": "strokelab.inference.dense_patches.DensePatches", "patch": [8, 8, 8], "step": [4, 4, 2]}


@pytest.fixture(scope="module")
def members(trained_unet, tmp_path_factory):
    """Three runs of a 3D network with dense patches; untrained, which is no matter here."""
    place = tmp_path_factory.mktemp("dense")
    return [volume_sibling(trained_unet, place / f"m{n}", seed=n, windows=WINDOWS) for n in range(3)]


@pytest.fixture(scope="module")
def prepared(t1_cohort, members):
    return prepare(read_cases("atlas_v1", t1_cohort)[0], load_run(members[0]).view.preparation)


def test_shared_samples_change_no_bit_and_are_cut_once(members, prepared, monkeypatch):
    cut = []
    gathered = DensePatches.__call__
    monkeypatch.setattr(DensePatches, "__call__", lambda plan, *rest: cut.append(1) or gathered(plan, *rest))
    apart, together = load_ensemble(members, memory_gb=0), load_ensemble(members)
    maps = [ensemble.predict_prepared(prepared, disagreement=True) for ensemble in (apart, together)]
    assert len(cut) == 3 + 1
    assert maps[0].disagreement.max() > 0
    for name in ("mask", "probability", "disagreement"):
        np.testing.assert_array_equal(getattr(maps[0], name), getattr(maps[1], name))


def test_only_members_with_the_same_windows_share(members):
    first, other = load_run(members[0]), load_run(members[1])
    assert first.shares(other)
    assert not first.shares(load_run(members[1], windows={"step": [8, 8, 8]}))
    assert not first.shares(load_run(members[1], precision="bf16"))


def test_the_step_is_named_whether_it_was_asked_for_or_not(members):
    assert load_run(members[0]).provenance["inference"] == "32, step=[4, 4, 2]"
    assert load_run(members[0], windows={"step": [8, 8, 8], "batch_size": 3}).provenance["inference"] == (
        "32, step=[8, 8, 8]"
    )


def test_folded_norms_change_the_maps_by_rounding_and_the_run_not_at_all(members, prepared, monkeypatch):
    run = load_run(members[0])
    digest, folded = run.digest, run.scores(prepared).lesion
    monkeypatch.setattr(DensePatches, "many", False)
    whole = run.scores(prepared).lesion
    np.testing.assert_allclose(folded, whole, atol=1e-5)
    assert np.ptp(whole) > 0.01
    assert load_run(members[0]).digest == digest
    assert isinstance(run.model, Segmenter)
