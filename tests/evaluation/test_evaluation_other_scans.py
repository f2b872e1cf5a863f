"""Runs evaluated on data unlike those they were trained on: brought to them, with entries of their own, or refused."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from evaluation_settings import evaluation_settings

from strokelab.contract import PreparedCase
from strokelab.data import read_cases
from strokelab.errors import RunError
from strokelab.evaluation.entries import entries_of
from strokelab.evaluation.material import _slice_pixels
from strokelab.evaluation.outcomes import outcomes_of
from strokelab.grid import Grid, Resample
from strokelab.models.cost import slice_costs
from strokelab.nifti import read_lesion, read_voxels, write_volume
from strokelab.preparation.regrid import image_onto, mask_onto
from strokelab.preparation.store import PreparedStore
from strokelab.report.intensities import slice_index
from strokelab.runs import load_run
from strokelab.sampling.slices import Slices

MODULE = "strokelab.data.datamodule"


@pytest.fixture(scope="module")
def study(t1_cohort, tmp_path_factory):
    """Two scans of the cohort: one with its own voxels, one with voxels of 5 mm."""
    folder = tmp_path_factory.mktemp("study")
    for name, case, spacing in zip("ab", read_cases("atlas_v1", t1_cohort)[:2], (8.0, 5.0), strict=True):
        voxels, grid = read_voxels(case.reference_image)
        steps = [Resample(grid, grid.resized((spacing,) * 3))]
        lesion = mask_onto(read_lesion(case.lesions, grid, case.reference_image), steps)
        write_volume(folder / "images" / f"{name}_T1w.nii.gz", image_onto(voxels, grid, steps), steps[0].target)
        write_volume(folder / "labels" / f"{name}.nii.gz", lesion, steps[0].target)
    return folder


def folder_data(root, **changed):
    node = {"_target_": f"{MODULE}.CohortDataModule", "dataset": "folder", "root": str(root), "modalities": ["T1w"]}
    return node | changed


def test_each_case_of_another_dataset_is_prepared_for_itself(trained_run, study, tmp_path):
    settings = evaluation_settings(data=folder_data(study), store=str(tmp_path / "store"), save_predictions=True)
    entry = entries_of([str(trained_run)], [], settings)[0]
    assert not entry.cohort.own
    store = PreparedStore(tmp_path / "store")
    own, other = store.prepare(entry.cohort.cases, entry.preparing(store), progress=False)
    assert own.grid.matches(other.grid)
    assert [any(isinstance(step, Resample) for step in one.steps) for one in (own, other)] == [False, True]
    kept = sorted(path.parent.name for path in (tmp_path / "store").glob("??/*/case.json"))
    outcome = outcomes_of([entry], settings, tmp_path / "out")[0]
    assert sorted(path.parent.name for path in (tmp_path / "store").glob("??/*/case.json")) == kept  # found again
    assert list(outcome.scores.cases["error"]) == ["", ""]
    table = next((tmp_path / "out").rglob("lesions.tsv")).read_text().splitlines()
    column = table[0].split("\t").index("preparation")
    assert [line.split("\t")[column] for line in table[1:]] == [
        "own grid",
        "resampled 5x5x5 -> 8x8x8 mm onto the training grid",
    ]


def test_another_folder_of_own_files_is_another_dataset(trained_run, study, tmp_path):
    """A run trained on ``data=folder``, evaluated on another folder: no case in common, so all of them are taken."""
    copy = shutil.copytree(trained_run, tmp_path / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["cohort"]["dataset"] = "folder"
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    entry = entries_of([str(copy)], [], evaluation_settings(data=folder_data(study)))[0]
    assert [case.case_id for case in entry.cohort.cases] == ["a", "b"]
    assert not entry.cohort.own


def test_entries_of_the_own_split_are_those_of_the_training(trained_run, tmp_path):
    entry = entries_of([str(trained_run)], [], evaluation_settings())[0]
    assert entry.cohort.own
    store = PreparedStore(Path(evaluation_settings()["store"]))
    before = sorted(store.folder.glob("??/*/case.json"))
    store.prepare(entry.cohort.cases, entry.preparing(store), progress=False)
    assert sorted(store.folder.glob("??/*/case.json")) == before


@pytest.mark.parametrize("modalities", [["DWI", "ADC", "FLAIR"], ["T1w"]])
def test_a_dataset_of_other_contrasts_is_refused_with_both(trained_run, isles_cohort, modalities):
    """Also where ``data.modalities`` was set to the run's, as the message once said."""
    data = {"_target_": f"{MODULE}.ISLES2022", "root": str(isles_cohort), "modalities": modalities}
    with pytest.raises(RunError) as caught:
        entries_of([str(trained_run)], [], evaluation_settings(data=data))
    assert caught.value.where == str(trained_run)
    assert "DWI, ADC, FLAIR" in caught.value.found
    assert caught.value.expected == "T1w, which this run was trained on"
    assert "data.modalities" not in caught.value.remedy


def test_of_a_dataset_with_more_contrasts_the_runs_are_taken(trained_run, study, isles_cohort, tmp_path):
    """A run on FLAIR serves ISLES 2022, whose settings name three images."""
    copy = shutil.copytree(trained_run, tmp_path / "flair")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["view"]["preparation"]["modalities"] = ["FLAIR"]
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    data = {"_target_": f"{MODULE}.ISLES2022", "root": str(isles_cohort), "modalities": ["DWI", "ADC", "FLAIR"]}
    entry = entries_of([str(copy)], [], evaluation_settings(data=data))[0]
    assert len(entry.cohort.cases) == 6


def test_grey_values_and_costs_of_a_model_elsewhere_than_on_the_cpu(trained_run):
    """The standardizer gets what lies where it does, and hands over what NumPy can read."""
    shape = (4, 5, 6)
    grid = Grid.of(shape, np.eye(4))
    image = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    prepared = PreparedCase("a", "a", "s", ("T1w",), image, None, np.ones(shape, bool), grid, (), grid)
    seen = []

    def standardizer(slices, brain):
        seen.append((slices.device.type, brain.device.type, slices.shape[1]))
        return torch.full(slices.shape, 2.0, dtype=torch.bfloat16)

    model = SimpleNamespace(device=torch.device("meta"), standardizer=standardizer)
    for sampler in (Slices(), Slices(slices=4, target=2)):  # of a slab, its own slice
        run = SimpleNamespace(model=model, view=SimpleNamespace(sampler=sampler))
        found = _slice_pixels(run, SimpleNamespace(site="s", load=lambda: prepared))
        assert seen.pop() == ("meta", "meta", sampler.slices)
        assert (found.before == image[0, :, :, slice_index(6)].T).all()
        assert found.after.shape == (5, 4)
        assert (found.after == 2).all()
    model = load_run(trained_run).model
    on_cpu = slice_costs(model, (28, 24))
    assert slice_costs(model.to("meta"), (28, 24)) == on_cpu
    assert json.dumps(on_cpu)
