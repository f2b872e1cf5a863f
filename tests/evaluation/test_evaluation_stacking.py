"""What the runs of a sweep found in their test cases becomes channels of a dataset."""

import os
import shutil

import numpy as np
import pytest
import yaml
from evaluation_settings import write_member, write_multirun

from strokelab import terminal
from strokelab.data import read_cases
from strokelab.errors import DataError, RunError
from strokelab.evaluation.stacking import stack
from strokelab.nifti import read_lesion, read_voxels
from strokelab.preparation.store import PreparedStore
from strokelab.runs import load_run


@pytest.fixture
def sweep(trained_run, tmp_path):
    """Two finished runs of the held-out site, one and other."""
    folder = write_multirun(tmp_path / "sweep", "name=one,other", subdir="${name}")
    for name in ("one", "other"):
        place = shutil.copytree(trained_run, folder / name)
        config = yaml.safe_load((place / "config.yaml").read_text()) | {"name": name}
        (place / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def stacked(sweep, out):
    store = PreparedStore(os.environ["STROKELAB_STORE"])
    return stack(sweep, out, store=store, console=terminal.console(stderr=True))


def test_a_channel_holds_what_the_run_predicts_of_its_own_test_cases(sweep, tmp_path):
    table = stacked(sweep, tmp_path / "stack")
    run = load_run(sweep / "one")
    cases = read_cases("folder", table, modalities=["T1w", "one", "other"])
    assert {case.case_id for case in cases} == set(run.split.test)
    by_id = {case.case_id: case for case in read_cases("atlas_v1", run.settings["cohort"]["root"])}
    for case in cases:
        before = by_id[case.case_id]
        assert (case.subject_id, case.site, case.images["T1w"]) == (
            before.subject_id,
            before.site,
            before.images["T1w"],
        )
        found, _ = read_voxels(case.images["one"])
        np.testing.assert_array_equal(found, run.predict(before).mask)
        label, grid = read_voxels(case.lesions[0].path)
        np.testing.assert_array_equal(label, read_lesion(before.lesions, grid, before.reference_image))


def test_what_is_no_whole_stack_is_an_error(sweep, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(DataError, match="an empty one"):
        stacked(sweep, tmp_path / "full")
    config = yaml.safe_load((sweep / "other/config.yaml").read_text()) | {"name": "one"}
    (sweep / "other/config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(RunError, match="a second run one that tests"):
        stacked(sweep, tmp_path / "twice")
    shutil.rmtree(sweep / "other")
    write_member(sweep / "other", "failed", error="ValueError: x")
    with pytest.raises(RunError, match="1 of 2 members not finished"):
        stacked(sweep, tmp_path / "less")
