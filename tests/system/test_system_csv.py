"""A csv that names every file is a dataset to every command, wherever it is called from."""

import csv
import os
import re

import pytest
from tiny_runs import tiny_settings

from strokelab.data import read_cases


@pytest.fixture(scope="module")
def table(t1_cohort, tmp_path_factory):
    """Beside a folder of links to the scans, with paths relative to itself."""
    place = tmp_path_factory.mktemp("study")
    (place / "scans").symlink_to(t1_cohort)
    with (place / "cohort.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["case", "subject", "site", "T1w", "label"])
        for case in read_cases("atlas_v1", t1_cohort):
            image, masks = case.images["T1w"], [lesion.path for lesion in case.lesions]
            relative = ["scans/" + os.path.relpath(path, t1_cohort) for path in (image, *masks)]
            writer.writerow([case.case_id, case.subject_id, case.site, relative[0], ";".join(relative[1:])])
    return place / "cohort.csv"


def test_train_resume_evaluate_check_and_export_take_a_csv(table, doors, tmp_path):
    of_phantoms = ("data.root=", "data.spacing=", "data.sites=", "data.cases_per_site=", "data.n_sites=", "data=")
    words = [word for word in tiny_settings(table.parent / "scans") if not word.startswith(of_phantoms)]
    data = ["data=folder", "data.root=cohort.csv", "data.modalities=[T1w]", "data.n_sites=3"]
    run = tmp_path / "run"
    doors.train(*words, *data, "model=unet2d", f"run_dir={run}", "score_test=false", cwd=table.parent).check()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    resumed = doors.train(f"resume={run}", "trainer.max_epochs=3", cwd=elsewhere).check()
    assert re.search(r"\d+ steps", resumed.output)
    doors.evaluate(
        f"runs=[{run}]", "data=folder", f"data.root={table}", "data.modalities=[T1w]", "out=report", cwd=elsewhere
    ).check()
    with (elsewhere / "report" / "cases.csv").open(encoding="utf-8") as file:
        scored = {row["case"] for row in csv.DictReader(file)}
    with table.open(encoding="utf-8") as file:
        assert scored == {row["case"] for row in csv.DictReader(file) if row["site"] == "Site1"}, "none it trained on"
    checked = doors.strokelab("check", "cohort.csv", "--dataset", "folder", cwd=table.parent).check()
    assert str(table) in checked.output
    exported = doors.strokelab(
        *("export-nnunet", "cohort.csv", "--dataset", "folder", "--out", tmp_path / "raw", "--folds", "2"),
        cwd=table.parent,
    ).check()
    assert "9 labelled" in exported.output
    wrong = doors.train("data=atlas_v1", "data.root=cohort.csv", cwd=table.parent)
    assert wrong.status == 1
    assert "a file" in wrong.output, "a csv is a dataset of own files only"
