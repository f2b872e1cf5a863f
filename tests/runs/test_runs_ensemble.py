"""Several run folders as one: the mean of their maps, whatever stays loaded, and who may not be a member."""

import shutil

import numpy as np
import pytest
import torch
import yaml
from sibling_runs import sibling

from strokelab.data import read_cases
from strokelab.errors import ConfigError, RunError
from strokelab.preparation.recipe import prepare
from strokelab.runs import load_ensemble, load_run


@pytest.fixture(scope="module")
def members(trained_unet, tmp_path_factory):
    """Two schemes: two runs of one, one of the other."""
    place = tmp_path_factory.mktemp("members")
    names = ["nnunet", "nnunet", "topk"]
    return [sibling(trained_unet, place / f"m{i}", nudge=i + 1, name=name) for i, name in enumerate(names)]


@pytest.fixture(scope="module")
def prepared(t1_cohort, members):
    case = read_cases("atlas_v1", t1_cohort)[0]
    return prepare(case, load_run(members[0]).view.preparation)


def maps(members, prepared):
    return [load_run(member).probability(prepared) for member in members]


def test_the_mean_of_the_members_maps_in_any_order(members, prepared):
    ensemble = load_ensemble(members)
    expected = np.mean(maps(members, prepared), axis=0, dtype=np.float64)
    assert np.ptp(maps(members, prepared), axis=0).max() > 0.01, "the members do differ"
    mean = ensemble.average(prepared).mean()
    np.testing.assert_allclose(mean, expected, atol=1e-7)
    prediction = ensemble.predict_prepared(prepared)
    turned = load_ensemble(members[::-1]).predict_prepared(prepared)
    np.testing.assert_array_equal(turned.probability, prediction.probability)
    assert prediction.mask.shape == prepared.native.shape
    assert prediction.disagreement is None
    assert prediction.provenance["members"] == "3"
    assert load_ensemble(members[::-1]).digest == ensemble.digest


def test_one_member_predicts_as_the_run_itself(members, t1_cohort):
    case = read_cases("atlas_v1", t1_cohort)[1]
    alone, run = load_ensemble(members[:1]), load_run(members[0])
    for item in (case, case.reference_image):
        mine, own = alone.predict(item, disagreement=True), run.predict(item)
        np.testing.assert_array_equal(mine.mask, own.mask)
        np.testing.assert_array_equal(mine.probability, own.probability)
        assert mine.disagreement.max() == 0


def test_schemes_can_count_the_same(members, prepared):
    one, two, three = maps(members, prepared)
    mean = load_ensemble(members, weights="per_scheme").average(prepared).mean()
    np.testing.assert_allclose(mean, ((one + two) / 2 + three) / 2, atol=1e-6)
    assert load_ensemble(members, weights="per_scheme").digest != load_ensemble(members).digest


def test_disagreement_is_the_standard_deviation_on_the_native_grid(members, prepared):
    prediction = load_ensemble(members).predict_prepared(prepared, disagreement=True)
    assert prediction.disagreement.shape == prepared.native.shape
    assert prediction.disagreement.dtype == np.float32
    assert prediction.disagreement.max() == pytest.approx(np.std(maps(members, prepared), axis=0).max(), abs=1e-6)


def test_memory_holds_what_the_budget_allows_and_no_more(members, prepared, monkeypatch):
    model = load_run(members[0]).model
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.state_dict().values()) / 1e9
    expected = load_ensemble(members).predict_prepared(prepared).probability
    for memory_gb, kept in ((0, 1), (2.5 * size, 2), (3.5 * size, 3)):
        ensemble = load_ensemble(members, memory_gb=memory_gb)
        np.testing.assert_array_equal(ensemble.predict_prepared(prepared).probability, expected)
        assert len(ensemble.pool) == kept
        loads = []
        load = ensemble.pool._load
        monkeypatch.setattr(
            ensemble.pool, "_load", lambda folder, load=load, to=loads: to.append(folder) or load(folder)
        )
        ensemble.predict_prepared(prepared)
        assert len(loads) == 3 - kept
        assert len(ensemble.pool) == kept


def test_a_part_shares_what_is_loaded(members, prepared):
    ensemble = load_ensemble(members)
    part = ensemble.part(members[1:])
    assert [member.folder for member in part.members] == members[1:]
    assert part.pool is ensemble.pool
    assert part.digest == load_ensemble(members[1:]).digest != ensemble.digest


def test_a_member_that_trains_on_is_refused(members, prepared, tmp_path):
    moving = sibling(members[0], tmp_path / "moving", nudge=9)
    ensemble = load_ensemble([members[1], moving], memory_gb=0)
    path = moving / "checkpoints" / "last.ckpt"
    content = torch.load(path, weights_only=True)
    torch.save({**content, "later": 1}, path)
    with pytest.raises(RunError, match="another checkpoint than when this began"):
        ensemble.predict_prepared(prepared)


def changed(folder, place, change):
    copy = sibling(folder, place, nudge=17)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    change(config)
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    return copy


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda config: config["view"]["preparation"].update(modalities=["FLAIR"]), r"modalities: \('FLAIR',\)"),
        (lambda config: config["view"]["preparation"].update(spacing=[2, 2, 2]), r"spacing: \(2.0, 2.0, 2.0\)"),
        (lambda config: config["view"]["preparation"].update(crop=[16, 16, None]), r"crop: \(16, 16, None\)"),
    ],
)
def test_other_modalities_and_other_grids_are_refused_by_name(members, tmp_path, change, named):
    other = changed(members[0], tmp_path / "other", change)
    with pytest.raises(RunError, match=named) as refused:
        load_ensemble([members[1], other])
    assert str(members[1]) in str(refused.value) or str(other) in str(refused.value)


def test_what_would_count_twice_or_not_at_all_is_refused(members, tmp_path):
    with pytest.raises(RunError, match="the same run twice"):
        load_ensemble([members[0], members[1], members[0]])
    copy = tmp_path / "copy"
    copy.symlink_to(members[0])
    with pytest.raises(RunError, match="the same run twice"):
        load_ensemble([members[0], copy])
    with pytest.raises(RunError, match="no run"):
        load_ensemble([])
    with pytest.raises(ConfigError, match="per_map"):
        load_ensemble(members, weights="by_dice")


def test_the_same_weights_in_two_folders_are_one_member(members, tmp_path):
    copy = shutil.copytree(members[0], tmp_path / "copy")
    with pytest.raises(RunError, match="to the last bit"):
        load_ensemble([members[0], copy])


def test_post_processing_is_the_members_own_or_the_one_that_is_named(members, prepared, tmp_path):
    node = {"_target_": "strokelab.inference.postprocess.mapping", "_partial_": True, "fallback": "empty"}
    other = changed(members[0], tmp_path / "other", lambda config: config.update(postprocess=node))
    with pytest.raises(ConfigError, match="postprocess"):
        load_ensemble([members[1], other])
    ensemble = load_ensemble([members[1], other], postprocess=node)
    assert "mapping" in ensemble.provenance["postprocess"]
    assert ensemble.predict_prepared(prepared).mask.shape == prepared.native.shape
    bad = {"_target_": "os.system", "_partial_": True}
    with pytest.raises(ConfigError, match="allow-list"):
        load_ensemble(members, postprocess=bad)
