"""Several run folders as one: the mean of their maps, whatever stays loaded, and who may not be a member."""

import shutil
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
import yaml
from sibling_runs import sibling

from strokelab.data import read_cases
from strokelab.errors import ConfigError, RunError
from strokelab.inference.scores import Scores
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
    return [load_run(member).scores(prepared).lesion for member in members]


def forms(ensemble, prepared):
    return dict.fromkeys(ensemble.preparers, prepared)


def test_the_mean_of_the_members_maps_in_any_order(members, prepared):
    ensemble = load_ensemble(members)
    expected = np.mean(maps(members, prepared), axis=0, dtype=np.float64)
    assert np.ptp(maps(members, prepared), axis=0).max() > 0.01, "the members do differ"
    mean = ensemble.average(forms(ensemble, prepared)).lesion
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
    ensemble = load_ensemble(members, weights="per_scheme")
    np.testing.assert_allclose(
        ensemble.average(forms(ensemble, prepared)).lesion, ((one + two) / 2 + three) / 2, atol=1e-6
    )
    assert ensemble.digest != load_ensemble(members).digest


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
    "change",
    [
        lambda config: config["view"]["preparation"].update(spacing=[10, 10, 10]),
        lambda config: config["view"]["preparation"].update(crop=[16, 20, None]),
        lambda config: config["view"]["preparation"].update(normalize="zscore_volume"),
    ],
)
def test_members_that_prepare_a_case_differently_are_averaged_where_they_meet(members, t1_cohort, tmp_path, change):
    """On the case's own grid; on the prepared one where it is the same, only its grey values are others."""
    case = read_cases("atlas_v1", t1_cohort)[0]
    pair = [members[1], changed(members[0], tmp_path / "other", change)]
    ensemble = load_ensemble(pair)
    prediction = ensemble.predict(case, disagreement=True)
    assert len(ensemble.preparers) == 2
    alone = np.stack([load_run(folder).predict(case).probability for folder in pair])
    np.testing.assert_allclose(prediction.probability, alone.mean(axis=0, dtype=np.float64), atol=1e-7)
    np.testing.assert_allclose(prediction.disagreement, alone.std(axis=0, dtype=np.float64), atol=1e-6)
    np.testing.assert_array_equal(prediction.mask, prediction.probability >= 0.5)
    with pytest.raises(RunError, match="2 forms"):
        ensemble.predict_prepared(ensemble.forms_of(case)[ensemble.preparers[0]])


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


@pytest.fixture(scope="module")
def snapshots(members, tmp_path_factory):
    """A run with three checkpoints of different weights, and each of them alone in a run of its own."""
    place = tmp_path_factory.mktemp("snapshots")
    run = sibling(members[0], place / "run", nudge=20)
    alone = [sibling(members[0], place / f"only{n}", nudge=20 + n) for n in range(3)]
    for name, folder in zip(("last", "first", "best"), alone, strict=True):
        shutil.copy(folder / "checkpoints" / "last.ckpt", run / "checkpoints" / f"{name}.ckpt")
    return run, alone


def test_checkpoints_of_one_run_are_members(snapshots, t1_cohort):
    run, alone = snapshots
    case = read_cases("atlas_v1", t1_cohort)[0]
    ensemble = load_ensemble([run], checkpoint=["last", "first", "best"])
    assert [member.checkpoint.stem for member in ensemble.members] == ["best", "first", "last"]
    prediction, expected = (one.predict(case, disagreement=True) for one in (ensemble, load_ensemble(alone)))
    np.testing.assert_array_equal(prediction.mask, expected.mask)
    np.testing.assert_allclose(prediction.probability, expected.probability, atol=1e-7)
    np.testing.assert_allclose(prediction.disagreement, expected.disagreement, atol=1e-7)
    assert prediction.disagreement.max() > 0.01
    turned = load_ensemble([run], checkpoint=["best", "last", "first"])
    np.testing.assert_array_equal(turned.predict(case).probability, prediction.probability)
    assert turned.digest == ensemble.digest
    assert load_ensemble([run], checkpoint="best").digest != load_ensemble([run]).digest
    with pytest.raises(RunError, match=r"last\.ckpt twice"):
        load_ensemble([run], checkpoint=["last", "last"])
    assert len(load_ensemble([run], checkpoint=[], windows=[]).members) == 1
    shutil.copy(run / "checkpoints" / "last.ckpt", run / "checkpoints" / "again.ckpt")
    assert len(load_ensemble([run], checkpoint=["last", "again"]).members) == 2  # the last epoch was the best


def test_one_run_is_applied_to_each_modality_of_a_case(members, t1_cohort, isles_cohort):
    """Its only channel is fed with each image; the mean is that of the maps, on the one grid that they have."""
    case = read_cases("isles2022", isles_cohort)[0]
    with pytest.raises(RunError, match="T1w"):
        load_run(members[0]).predict(case)
    load = partial(load_ensemble, members[:1], register="never")  # means of maps that went back are no others
    ensemble = load(modalities=["DWI", "FLAIR"])
    assert ensemble.modalities == ("DWI", "FLAIR")
    prediction = ensemble.predict(case, disagreement=True)
    assert prediction.mask.shape == prediction.grid.shape
    assert prediction.provenance["applied"] == "DWI | FLAIR"
    maps = []
    for name in ensemble.modalities:
        alone = load(modalities=[name])
        maps.append(alone.predict(case).probability)
        assert alone.digest != ensemble.digest
        as_t1 = replace(case, images={"T1w": case.images[name]}, label_modality="")
        if name == "DWI":  # the image that the case's grid is that of: the same as if it had the run's own name
            as_it_is = load_run(members[0], register="never")
            np.testing.assert_array_equal(as_it_is.predict(as_t1).probability, maps[-1])
    assert np.abs(maps[0] - maps[1]).max() > 0.01
    np.testing.assert_allclose(prediction.probability, np.mean(maps, axis=0), atol=1e-6)
    np.testing.assert_allclose(prediction.disagreement, np.std(maps, axis=0), atol=1e-6)
    two = load_ensemble(members[:2], modalities=["DWI", "FLAIR"])
    assert len(two.members) == 4
    assert len(two.preparers) == 2
    assert load_ensemble(members[:1], modalities="FLAIR").modalities == ("FLAIR",)


def test_a_rule_for_each_channel_is_kept_by_members_and_other_images(members, t1_cohort, tmp_path):
    """A run whose preparation names a rule for each channel is a member like others."""
    case = read_cases("atlas_v1", t1_cohort)[0]

    def by_name(config):
        config["view"]["preparation"]["normalize"] = {"T1w": config["view"]["preparation"]["normalize"]}

    named = changed(members[0], tmp_path / "named", by_name)
    pair = [named, sibling(named, tmp_path / "other", nudge=18)]
    ensemble = load_ensemble(pair)
    assert len(ensemble.preparers) == 1
    alone = [load_run(folder).predict(case).probability for folder in pair]
    np.testing.assert_allclose(ensemble.predict(case).probability, np.mean(alone, axis=0), atol=1e-7)
    as_flair = replace(case, images={"FLAIR": case.images["T1w"]}, label_modality="")
    fed = load_ensemble([named], modalities=["FLAIR"]).predict(as_flair)
    np.testing.assert_array_equal(fed.probability, alone[0])


def test_all_classes_on_request_and_argmax(members, prepared):
    """Of a single map they are that map, and argmax is the cut at one half."""
    node = {"_target_": "strokelab.inference.postprocess.argmax", "_partial_": True}
    for plain, most in (
        (load_run(members[0]), load_run(members[0], postprocess=node)),
        (load_ensemble(members), load_ensemble(members, postprocess=node)),
    ):
        prediction, other = plain.predict_prepared(prepared, classes=True), most.predict_prepared(prepared)
        assert prediction.classes.shape == (1, *prepared.native.shape)
        np.testing.assert_array_equal(prediction.classes[0], prediction.probability)
        np.testing.assert_array_equal(other.mask, prediction.mask)
        np.testing.assert_array_equal(other.probability, prediction.probability)
        assert other.classes is None


def test_members_of_different_classes_share_the_lesion_alone(members, prepared, monkeypatch):
    """One lesion map is averaged whatever channel it is in; all classes are not."""
    ensemble = load_ensemble(members[:2])
    odd = [replace(member, lesion_channel=number) for number, member in enumerate(ensemble.members)]
    mixed = replace(ensemble, members=tuple(odd))
    for member in mixed.members:
        run = mixed.pool.run(member.loading)
        run.scores = lambda prepared, classes=False, channel=member.lesion_channel: Scores(
            np.stack([np.full(prepared.grid.shape, value, np.float32) for value in (0.2, 0.6)])
            if classes
            else np.full(prepared.grid.shape, (0.2, 0.6)[channel], np.float32),
            lesion_channel=channel,
        )
    assert mixed.predict_prepared(prepared).probability.max() == pytest.approx(0.4)
    with pytest.raises(RunError, match="channel 1"):
        mixed.predict_prepared(prepared, classes=True)


def test_a_family_may_decide_on_the_native_grid(members, t1_cohort, tmp_path):
    """Asked for by its view; the mean is still taken on the prepared grid, where all members have one."""
    case = read_cases("atlas_v1", t1_cohort)[0]
    folders = [
        changed(member, tmp_path / member.name, lambda config: config["view"]["preparation"].update(spacing=[6, 6, 6]))
        for member in members[:1]
    ]
    run = load_run(folders[0])
    plain = run.predict(case)
    object.__setattr__(run.view, "finish", "native")
    native = run.predict(case)
    np.testing.assert_array_equal(native.probability, plain.probability)
    np.testing.assert_array_equal(native.mask, plain.probability >= 0.5)
    ensemble = load_ensemble(folders)
    native = replace(ensemble, members=tuple(replace(one, finish="native") for one in ensemble.members))
    np.testing.assert_array_equal(native.predict(case).mask, plain.probability >= 0.5)
