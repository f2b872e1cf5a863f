"""``strokelab predict`` with several runs: what is averaged, what is written, what is refused by name."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
from evaluation_settings import write_member, write_multirun
from rich.console import Console
from sibling_runs import sibling

from strokelab.data import read_cases
from strokelab.errors import ConfigError, RunError
from strokelab.evaluation.new_scans import Applying, Writing, segment
from strokelab.evaluation.sweep import members_and_inputs
from strokelab.runs import load_ensemble, load_run


@pytest.fixture(scope="module")
def sweep(trained_unet, tmp_path_factory):
    """Two finished folds of one model."""
    folder = write_multirun(tmp_path_factory.mktemp("sweep"), "split.fold=0,1", subdir="fold${split.fold}")
    for fold in (0, 1):
        place = sibling(trained_unet, folder / f"fold{fold}", nudge=fold + 1, fold=fold)
        (place / "environment.json").write_text(json.dumps({"overrides": [f"split.fold={fold}"]}))
    return folder


@pytest.fixture(scope="module")
def case(t1_cohort):
    return read_cases("atlas_v1", t1_cohort)[0]


def predicted(places, out, **settings):
    segment(places, Applying(**settings), Writing(out), console=Console(quiet=True))
    (mask,) = out.rglob("*_mask.nii.gz")

    def read(suffix, of="_mask"):
        return np.asarray(nib.load(str(mask).replace(of, suffix)).dataobj)

    return read, json.loads((out / "dataset_description.json").read_text())["GeneratedBy"][0]["Parameters"]


def test_a_sweep_is_applied_as_the_mean_of_its_runs(sweep, case, tmp_path):
    scan = case.images["T1w"]
    read, told = predicted([sweep, scan], tmp_path / "a", disagreement=True)
    expected = load_ensemble([sweep / "fold0", sweep / "fold1"]).predict(scan, disagreement=True)
    np.testing.assert_array_equal(read("_mask"), expected.mask)
    np.testing.assert_array_equal(read("_probseg"), expected.probability)
    np.testing.assert_array_equal(read("_desc-disagreement_probseg"), expected.disagreement)
    assert (told["members"], told["run"]) == ("2", "fold0, fold1")


def test_post_processing_by_name_with_its_settings(sweep, case, tmp_path):
    words = ("mapping", "fallback=empty", "high_small=0.99", "high_large=0.99")
    read, told = predicted([sweep / "fold0", sweep / "fold1", case.images["T1w"]], tmp_path, postprocess=words)
    assert read("_mask").sum() == 0, "nothing reaches 0.99, and empty is allowed"
    assert json.loads(told["postprocess"])["high_small"] == 0.99
    assert not list(tmp_path.rglob("*disagreement*"))


def test_one_run_with_another_post_processing(sweep, case, tmp_path):
    read, told = predicted([sweep / "fold0", case.images["T1w"]], tmp_path, postprocess=["threshold", "threshold=0"])
    assert (read("_mask") == 1).any()
    assert told["run"] == "fold0"


def test_checkpoints_and_modalities_are_averaged_and_classes_written(sweep, case, tmp_path):
    scan, run = case.images["T1w"], sweep / "fold0"
    other = tmp_path / "run"
    shutil.copytree(run, other)
    shutil.copy(sweep / "fold1" / "checkpoints" / "last.ckpt", other / "checkpoints" / "best.ckpt")
    settings = {"checkpoints": ["last", "best"], "classes": True, "disagreement": True}
    read, told = predicted([other, scan], tmp_path / "a", **settings)
    expected = load_ensemble([run, sweep / "fold1"], checkpoint="last").predict(scan)
    np.testing.assert_allclose(read("_probseg"), expected.probability, atol=1e-7)
    np.testing.assert_array_equal(read("_label-class0_probseg", of="_label-lesion_mask"), read("_probseg"))
    assert (told["members"], told["checkpoint"]) == ("2", "best.ckpt, last.ckpt")

    pair = [tmp_path / f"a_{name}.nii.gz" for name in ("FLAIR", "T1w")]
    for file in pair:
        shutil.copy(scan, file)
    read, told = predicted([run, *pair], tmp_path / "b", as_each=["FLAIR", "T1w"], disagreement=True)
    assert told["applied"] == "FLAIR | T1w"
    assert read("_desc-disagreement_probseg").max() == 0, "one image under two names"
    np.testing.assert_array_equal(read("_probseg"), load_run(run).predict(scan).probability)
    read, told = predicted([run, pair[0]], tmp_path / "c", as_each=["FLAIR"])
    assert told["applied"] == "FLAIR"
    small = nib.load(scan).slicer[:-2]
    nib.save(small, pair[1])
    read, _ = predicted([run, *pair], tmp_path / "d", as_each=["T1w", "FLAIR"])
    assert read("_probseg").shape == small.shape[:3], "on the grid of the image that is named first"


def test_classes_of_a_former_prediction_do_not_stay(sweep, case, tmp_path):
    places, out = [sweep / "fold0", case.images["T1w"]], tmp_path / "out"
    for classes, count in ((True, 1), (False, 0)):
        writing = Writing(out, overwrite=True)
        segment(places, Applying(classes=classes), writing, console=Console(quiet=True))
        assert len(list(out.rglob("*_label-class*"))) == count


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["size_limit=3"], "one name of conf/postprocess"),
        (["mapping", "threshold"], "one name of conf/postprocess"),
        (["mapping", "sizelimit=3"], "sizelimit"),
        (["merging"], "merging"),
    ],
)
def test_unknown_post_processing_is_refused_by_name(sweep, words, named):
    with pytest.raises(ConfigError, match=named):
        Applying(postprocess=words).load([sweep / "fold0"])


def test_what_cannot_be_averaged_is_refused_by_name(sweep, case, tmp_path):
    with pytest.raises(ConfigError, match="disagreement"):
        Applying(disagreement=True).load([sweep / "fold0"])
    with pytest.raises(ConfigError, match="per_map"):
        Applying(weights="best").load([sweep / "fold0", sweep / "fold1"])
    with pytest.raises(ConfigError, match="mirror"):
        Applying(windows=["mirror"]).load([sweep / "fold0"])
    with pytest.raises(ConfigError, match="no scan"):
        members_and_inputs([sweep, sweep / "fold0"])
    assert members_and_inputs([tmp_path, case.images["T1w"]])[0] == [tmp_path], "refused when it is loaded"


def test_a_sweep_that_is_not_finished_names_who_is_missing(tmp_path):
    folder = write_multirun(tmp_path / "sweep", "split.fold=0,1,2", subdir="fold${split.fold}")
    write_member(folder / "fold0", "finished")
    write_member(folder / "fold1", "failed", error="ValueError: loss is NaN")
    with pytest.raises(RunError, match=r"fold1: failed \(ValueError: loss is NaN\); fold2: missing"):
        members_and_inputs([folder, tmp_path / "scan.nii.gz"])
