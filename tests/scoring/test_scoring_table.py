"""The case table: one row per labelled case, failures named, numbers of the native grid."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from strokelab.data import read_cases
from strokelab.metrics import score_case
from strokelab.nifti import read_grid, read_lesion
from strokelab.preparation.store import PreparedStore
from strokelab.runs import load_run
from strokelab.scoring import score_cases, write_table


@pytest.fixture(scope="module")
def run(trained_run):
    return load_run(trained_run)


@pytest.fixture
def cohort(t1_cohort, tmp_path):
    root = Path(shutil.copytree(t1_cohort, tmp_path / "cohort"))
    return read_cases("atlas_v1", root)[:3]


def stored(cases, run, tmp_path):
    return PreparedStore(tmp_path / "store").prepare(cases, run.view.preparation, progress=False)


def test_rows_are_the_scores_of_the_predictions(run, cohort, tmp_path):
    kept = {}
    table = score_cases(
        run, cohort, stored(cohort, run, tmp_path), name="mine", progress=False,
        keep=lambda case, prediction: kept.update({case.case_id: prediction})).cases  # fmt: skip
    assert list(table["case"]) == [case.case_id for case in cohort] == list(kept)
    assert set(table["run"]) == {"mine"}
    assert set(table["error"]) == {""}
    for case, row in zip(cohort, table.to_dict("records"), strict=True):
        grid = read_grid(case.reference_image)
        truth = read_lesion(case.lesions, grid, case.reference_image)
        for name, value in score_case(kept[case.case_id].mask, truth, grid.spacing).items():
            assert row[name] == pytest.approx(value, nan_ok=True)
        assert row["lesion_ml"] == pytest.approx(truth.sum() * grid.voxel_volume_mm3 / 1000)
        assert (row["site"], row["subject"]) == (case.site, case.subject_id)


def test_unlabelled_cases_are_predicted_but_have_no_row(run, cohort, tmp_path):
    from dataclasses import replace

    cases = [replace(cohort[0], lesions=()), cohort[1]]
    seen = []
    table = score_cases(
        run, cases, stored(cases, run, tmp_path), progress=False, keep=lambda case, _: seen.append(case.case_id)
    ).cases
    assert seen == [case.case_id for case in cases]
    assert list(table["case"]) == [cases[1].case_id]
    assert set(table["run"]) == {run.name}
    assert score_cases(run, [], [], progress=False).cases.empty


def test_a_case_that_fails_has_a_row_that_says_so(run, cohort, tmp_path):
    items = stored(cohort, run, tmp_path)
    mask = cohort[1].lesions[0].path
    mask.unlink()
    table = score_cases(run, cohort, items, progress=False).cases
    assert len(table) == 3
    assert mask.name in table["error"][1]
    assert "\n" not in table["error"][1]
    assert np.isnan(table["dice"][1])
    assert table["dice"].notna().sum() == 2


def test_tables_are_written_whole_and_read_back(tmp_path):
    table = pd.DataFrame({"case": ["a,b", "c"], "dice": [0.1 + 0.2, np.nan], "hd95": [np.inf, 1.0]})
    path = write_table(table, tmp_path / "deep" / "cases.csv")
    pd.testing.assert_frame_equal(pd.read_csv(path), table)
    assert [p.name for p in path.parent.iterdir()] == ["cases.csv"]
