"""Cohorts as nnU-Net raw datasets: the files, the folds, and what nnU-Net would not take."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.contract import LesionFile
from strokelab.data import read_cases
from strokelab.data.splits import KFold, Split
from strokelab.errors import ConfigError, DataError
from strokelab.exchange import export_nnunet, recorded_splits
from strokelab.nifti import read_grid, read_lesion, read_voxels
from strokelab.phantoms.cohort import write_cohort


@pytest.fixture
def cases(t1_cohort):
    return read_cases("atlas_v1", t1_cohort)


def test_images_masks_and_json_are_those_of_the_cohort(cases, tmp_path):
    hidden = replace(cases[0], lesions=())
    written = export_nnunet([hidden, *cases[1:]], tmp_path, name="stroke", number=7)
    assert written.folder == tmp_path / "Dataset007_stroke"
    assert written.unlabelled == (hidden.case_id,)
    assert len(written.labelled) == len(cases) - 1
    described = json.loads((written.folder / "dataset.json").read_text())
    assert described == {
        "channel_names": {"0": "T1w"},
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(cases) - 1,
        "file_ending": ".nii.gz",
    }
    for case in cases[1:]:
        image, grid = read_voxels(case.reference_image)
        copied, place = read_voxels(written.folder / "imagesTr" / f"{case.case_id}_0000.nii.gz")
        assert np.array_equal(image, copied)
        assert place.matches(grid)
        label, place = read_voxels(written.folder / "labelsTr" / f"{case.case_id}.nii.gz")
        assert np.array_equal(label, read_lesion(case.lesions, grid, case.reference_image))
        assert place.matches(grid)
    assert [path.name for path in (written.folder / "imagesTs").iterdir()] == [f"{hidden.case_id}_0000.nii.gz"]
    assert not (written.folder / "splits_final.json").exists()


def test_channels_on_another_grid_come_onto_the_case_s_own_and_are_named(isles_cohort, tmp_path):
    cases = read_cases("isles2022", isles_cohort)[:2]
    written = export_nnunet(cases, tmp_path, name="isles")
    assert written.modalities == tuple(cases[0].images)
    for case in cases:
        grid = read_grid(case.reference_image)
        for index, modality in enumerate(written.modalities):
            copied = read_grid(written.folder / "imagesTr" / f"{case.case_id}_{index:04d}.nii.gz")
            assert copied.matches(grid)
            moved = not read_grid(case.images[modality]).matches(grid)
            assert (f"{case.case_id} {modality}" in written.resampled) is moved
    only = export_nnunet(cases, tmp_path, name="dwi", number=502, modalities=["DWI"])
    assert only.modalities == ("DWI",)


def test_folds_are_those_of_our_runs_in_their_order(cases, tmp_path):
    splits = [KFold(fold, 3, 0.2)(cases) for fold in range(3)]
    for fold, split in enumerate(splits):
        for seed in range(2):  # of one fold, two runs
            folder = tmp_path / "sweep" / f"net-fold{fold}-seed{seed}"
            folder.mkdir(parents=True)
            split.write(folder / "split.csv")
    found = recorded_splits(tmp_path / "sweep")
    assert found == splits
    written = export_nnunet(cases, tmp_path, name="folds", splits=found)
    folds = json.loads((written.folder / "splits_final.json").read_text())
    assert [set(fold["val"]) for fold in folds] == [set(split.test) for split in splits]
    assert [set(fold["train"]) for fold in folds] == [set(split.train) for split in splits]
    with pytest.raises(DataError, match=r"split\.csv"):
        recorded_splits(tmp_path / "empty")


def test_the_datasets_of_a_run_on_several_are_one_dataset_with_folds_in_each(t1_cohort, isles_cohort, tmp_path):
    """As the run recorded them, the contrast of each under the channel's name."""
    both = {
        "atlas_v1": {"root": str(t1_cohort)},
        "isles2022": {"root": str(isles_cohort), "contrasts": {"T1w": "FLAIR"}},
    }
    run = tmp_path / "sweep" / "net-fold0-seed0"
    run.mkdir(parents=True)
    recorded = {"dataset": "several", "root": str(tmp_path), "options": {"datasets": both}}
    settings = {"cohort": recorded, "view": {"preparation": {"modalities": ["T1w"]}}, "model": {}, "postprocess": {}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))

    def export(place, *words):
        words = ["export-nnunet", str(place), "--dataset", "several", "--out", str(tmp_path / "raw"), *words]
        return CliRunner().invoke(app, words)

    done = export(run, "--folds", "3")
    assert done.exit_code == 0, done.exception
    folder = tmp_path / "raw/Dataset501_several"
    content = json.loads((folder / "dataset.json").read_text())
    assert (content["channel_names"], content["numTraining"]) == ({"0": "T1w"}, 15)
    for fold in json.loads((folder / "splits_final.json").read_text()):
        tested = [case_id.partition("_")[0] for case_id in fold["val"]]
        assert set(tested) == {"atlas", "isles2022"}
    assert export(tmp_path / "sweep", "--id", "502", "--folds", "0").exit_code == 0
    recorded["dataset"] = "atlas_v1"
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for place in (run, t1_cohort):
        assert "data=several" in str(export(place).exception)


def test_what_nnunet_would_not_take_is_refused_and_nothing_is_left(cases, tmp_path):
    def export(some=cases, **settings):
        return export_nnunet(some, tmp_path / "raw", **({"name": "a"} | settings))

    with pytest.raises(ConfigError, match="letters, digits"):
        export(name="stroke lesions")
    with pytest.raises(ConfigError, match="1 to 999"):
        export(number=1000)
    with pytest.raises(DataError, match="no FLAIR"):
        export(modalities=["FLAIR"])
    with pytest.raises(DataError, match="file name"):
        export([replace(cases[0], case_id="a/b")])
    with pytest.raises(DataError, match="none labelled"):
        export([replace(case, lesions=()) for case in cases])
    with pytest.raises(ConfigError, match="somebody"):
        export(splits=[Split(("somebody",), (), ())])
    broken = replace(cases[0], lesions=(LesionFile(tmp_path / "absent.nii.gz"),))
    with pytest.raises(DataError, match="absent"):
        export([broken, *cases[1:]])
    assert not (tmp_path / "raw").exists() or not any((tmp_path / "raw").iterdir())
    export(cases[:2])
    with pytest.raises(DataError, match="a dataset of this number"):
        export(cases[:2], name="b")


def test_the_command_deals_folds_of_equal_lesion_sizes(t1_cohort, tmp_path):
    words = ["export-nnunet", str(t1_cohort), "--dataset", "atlas_v1", "--out", str(tmp_path), "--folds", "3"]
    answer = CliRunner().invoke(app, [*words, "--id", "12"])
    assert answer.exit_code == 0, answer.output
    folder = tmp_path / "Dataset012_atlas_v1"
    assert "splits_final.json" in answer.output
    folds = json.loads((folder / "splits_final.json").read_text())
    names = sorted(path.name.removesuffix(".nii.gz") for path in (folder / "labelsTr").iterdir())
    assert sorted(name for fold in folds for name in fold["val"]) == names
    assert all(sorted(fold["train"] + fold["val"]) == names for fold in folds)
    assert nib.load(folder / "labelsTr" / f"{names[0]}.nii.gz").get_data_dtype() == np.uint8


def test_the_command_takes_scans_without_masks_along(tmp_path):
    """They are nnU-Net's test set; readers leave them out unless asked."""
    root = write_cohort("atlas_v2", tmp_path / "v2", spacing=8, sites=2, cases_per_site=1, seed=0, testing=1)
    words = ["export-nnunet", str(root), "--dataset", "atlas_v2", "--out", str(tmp_path / "raw"), "--folds", "0"]
    answer = CliRunner().invoke(app, words)
    assert answer.exit_code == 0, answer.output
    folder = tmp_path / "raw" / "Dataset501_atlas_v2"
    assert [len(list((folder / name).iterdir())) for name in ("imagesTr", "labelsTr", "imagesTs")] == [2, 2, 1]
