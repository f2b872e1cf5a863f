"""What a run was trained on lies in its folder, and scans are held against it wherever runs predict."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pytest
import yaml
from sibling_runs import sibling

from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.errors import DataError, DataWarning, RunError
from strokelab.grid import Grid, Resample
from strokelab.nifti import read_voxels, write_volume
from strokelab.preparation.recipe import prepare
from strokelab.preparation.regrid import image_onto
from strokelab.runs import TRAINING_SCANS, load_ensemble, load_run
from strokelab.runs.preparer import shared
from strokelab.runs.training_scans import united


@pytest.fixture(scope="module")
def case(t1_cohort):
    return read_cases("atlas_v1", t1_cohort)[0]


@pytest.fixture(scope="module")
def finer(case, tmp_path_factory):
    """The same scan with voxels of 4 x 4 x 6 mm."""
    voxels, grid = read_voxels(case.reference_image)
    target = grid.resized((4.0, 4.0, 6.0))
    path = tmp_path_factory.mktemp("finer") / "sub-a_T1w.nii.gz"
    return write_volume(path, image_onto(voxels, grid, [Resample(grid, target)]), target)


def changed(folder, place, **settings):
    copy = shutil.copytree(folder, place)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    (copy / "config.yaml").write_text(yaml.safe_dump(config | settings))
    return copy


def test_the_record_of_a_training(trained_run, case):
    content = json.loads((trained_run / TRAINING_SCANS).read_text())
    run = load_run(trained_run)
    assert content["cases"] == len(run.split.train)
    assert content["contrasts"] == ["T1w"]
    assert content["spacing_mm"]["low"] == content["spacing_mm"]["high"] == [8.0, 8.0, 8.0]
    assert content["space"] == "common grid"
    assert Grid.from_json(content["frame"]).matches(read_voxels(case.reference_image)[1])
    assert sum(content["orientations"].values()) == content["cases"]
    assert 100 < content["brain_mm"]["median"][0] < content["field_of_view_mm"]["median"][0]
    assert 1000 < content["brain_ml"]["median"][0] < 2200


def test_a_scan_like_the_trainings_is_predicted_bit_for_bit_as_ever(trained_run, case):
    run = load_run(trained_run)
    assert run.preparation_of(case) is run.view.preparation
    now, before = run.predict(case), run.predict_prepared(prepare(case, run.view.preparation))
    np.testing.assert_array_equal(now.mask, before.mask)
    np.testing.assert_array_equal(now.probability, before.probability)
    assert now.provenance["preparation"] == "own grid"


@pytest.mark.parametrize("family", ["trained_run", "trained_unet"])
def test_a_scan_of_other_voxels_is_seen_as_the_training_saw_it(family, case, finer, request):
    run = load_run(request.getfixturevalue(family))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prediction = run.predict(finer)
    assert prediction.provenance["preparation"] == "resampled 4x4x6 -> 8x8x8 mm onto the training grid"
    assert prediction.mask.shape == read_voxels(finer)[0].shape
    usual = prepare(case, run.view.preparation)
    seen = prepare(
        Case("a", "a", "test", None, {"T1w": finer}), run.preparation_of(Case("a", "a", "", None, {"T1w": finer}))
    )
    assert seen.grid == usual.grid
    assert (seen.brain != usual.brain).mean() < 0.02
    assert (
        np.corrcoef(seen.image.ravel(), usual.image.ravel())[0, 1] > 0.85
    )  # the finer scan was made of the coarse one


def test_a_run_without_a_record_is_known_by_its_cohort_or_warned_of_once(trained_run, case, finer, tmp_path):
    bare = changed(trained_run, tmp_path / "bare")
    (bare / TRAINING_SCANS).unlink()
    found, recorded = (load_run(folder).preparation_of.trained_on for folder in (bare, trained_run))
    assert found.frame == recorded.frame
    assert found.spacing_mm == recorded.spacing_mm
    assert np.allclose(found.brain_centre_mm.median, recorded.brain_centre_mm.median, atol=8)
    assert load_run(bare).predict(finer).provenance["preparation"].endswith("onto the training grid")
    cohort = load_run(trained_run).settings["cohort"]
    moved = changed(bare, tmp_path / "moved", cohort=cohort | {"root": str(tmp_path / "gone")})
    run = load_run(moved)
    with pytest.warns(DataWarning, match="kept no record"):
        prediction = run.predict(case)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it was said
        assert run.preparation_of(case) is run.view.preparation
    np.testing.assert_array_equal(prediction.mask, load_run(trained_run).predict(case).mask)


@pytest.mark.parametrize("text", ["", "[]", '{"cases": 1}', '{"frame": {"shape": [1], "affine": 2}}', "[" * 100_000])
def test_a_damaged_record_is_named(trained_run, tmp_path, case, text):
    copy = changed(trained_run, tmp_path / "run")
    (copy / TRAINING_SCANS).write_text(text)
    with pytest.raises(RunError) as caught:
        load_run(copy).predict(case)
    assert caught.value.where == str(copy / TRAINING_SCANS)


def test_other_contrasts_are_named_with_those_of_the_training(trained_run, isles_cohort):
    case = read_cases("isles2022", isles_cohort)[0]
    for predict in (load_run(trained_run).predict, load_ensemble([trained_run]).predict):
        with pytest.raises(RunError) as caught:
            predict(case)
        assert "T1w" in caught.value.expected
        assert "trained on" in caught.value.expected
        assert "DWI, ADC, FLAIR" in caught.value.found
        assert "data.modalities" not in caught.value.remedy  # it would lead back here


def test_what_is_no_head_is_refused_by_a_run(trained_run, case, tmp_path):
    voxels, grid = read_voxels(case.reference_image)
    small = Grid.of(grid.shape, np.diag([0.3, 0.3, 0.3, 1]) @ grid.matrix)
    with pytest.raises(DataError) as caught:
        load_run(trained_run, register="never").predict(write_volume(tmp_path / "small_T1w.nii.gz", voxels, small))
    assert "small_T1w" in caught.value.where
    assert "trained on" in caught.value.remedy


def test_members_trained_on_one_grid_see_a_scan_alike_and_others_each_in_its_own_way(trained_unet, finer, tmp_path):
    one, other = (
        sibling(trained_unet, tmp_path / name, nudge=nudge, name="unet2d") for name, nudge in (("a", 1), ("b", 2))
    )
    both = load_ensemble([one, other])
    (preparer,) = both.preparers
    assert preparer.trained_on.frame == load_run(one).preparation_of.trained_on.frame
    prediction = both.predict(finer)
    assert prediction.provenance["preparation"] == "resampled 4x4x6 -> 8x8x8 mm onto the training grid"
    mean = np.mean([load_run(folder).predict(finer).probability for folder in (one, other)], axis=0)
    np.testing.assert_allclose(prediction.probability, mean, atol=1e-5)
    content = json.loads((other / TRAINING_SCANS).read_text())
    content["frame"] = Grid.from_json(content["frame"]).resized((4.0, 4.0, 4.0)).to_json()
    (other / TRAINING_SCANS).write_text(json.dumps(content))
    apart = load_ensemble([one, other])
    assert len(apart.preparers) == 2
    prediction = apart.predict(finer)
    maps = [load_run(folder).predict(finer).probability for folder in (one, other)]
    assert np.ptp(maps, axis=0).max() > 0.1
    np.testing.assert_allclose(prediction.probability, np.mean(maps, axis=0), atol=1e-7)
    assert prediction.provenance["preparation"].count(" | ") == 1


def test_records_of_native_scans_are_united(trained_run):
    run = load_run(trained_run)
    native = replace(run.preparation_of.trained_on, frame=None)
    wider = replace(native, spacing_mm=replace(native.spacing_mm, low=(7.0, 7.0, 7.0), high=(9.0, 9.0, 9.0)))
    both = united([native, wider], run.view.preparation)
    assert (both.spacing_mm.low, both.spacing_mm.median, both.spacing_mm.high) == ((7.0,) * 3, (8.0,) * 3, (9.0,) * 3)
    assert both.cases == 2 * native.cases
    assert united([native, None], run.view.preparation) is None
    coarse = replace(native, spacing_mm=replace(native.spacing_mm, median=(16.0,) * 3, high=(16.0,) * 3))
    for record, alike in ((wider, True), (coarse, False)):
        preparers = [replace(run.preparation_of, read=lambda record=record: record) for record in (native, record)]
        assert (shared(preparers, "mean") is not None) == alike
