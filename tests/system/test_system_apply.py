"""Masks, tables and reports that leave the house: native grids, BIDS names, numbers that can be recomputed."""

import csv
import json
import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from strokelab import build_model
from strokelab.data import read_cases
from strokelab.inference.bids_names import bids_entities
from strokelab.metrics import score_case
from strokelab.nifti import read_lesion, read_voxels
from strokelab.runs import load_run

# Names that are no BIDS names carry digits of the whole name.
PATIENT_7, B_B = (
    f"sub-{label}/anat/sub-{label}" for label in (bids_entities(case)["sub"] for case in ("patient.7", "B b"))
)


@pytest.fixture(scope="module")
def new_scans(t1_cohort, tmp_path_factory) -> Path:
    """Three scans as a clinic may store them: other orientation, a file in a folder of its own, odd names."""
    folder = tmp_path_factory.mktemp("clinic") / "scans"
    (folder / "more").mkdir(parents=True)
    images = sorted(t1_cohort.glob("Site1/*/t01/0*_t1w_deface_stx.nii.gz"))
    first = nib.load(images[0])
    first = nib.Nifti1Image(np.asarray(first.dataobj).reshape(first.shape[:3]), first.affine)
    turned = first.as_reoriented(nib.orientations.axcodes2ornt("PLI", (("L", "R"), ("P", "A"), ("I", "S"))))
    nib.save(turned, folder / "sub-ann_ses-2_T1w.nii.gz")
    nib.save(first, folder / "patient.7_t1w.nii")
    shutil.copy(images[1], folder / "more" / "B b_T1w.nii.gz")
    return folder


@pytest.fixture(scope="module")
def predicted(trained_run, new_scans, doors, tmp_path_factory) -> Path:
    """The run was moved, and everything is called from another working directory with relative paths."""
    here = tmp_path_factory.mktemp("desk")
    shutil.copytree(trained_run, here / "archive" / "old run")
    (here / "cwd").mkdir()
    scans = Path(shutil.copytree(new_scans, here / "scans"))
    done = doors.strokelab(
        "predict", "../archive/old run", f"../{scans.name}", "--out", "out", cwd=here / "cwd"
    ).check()
    assert "lesion(s)" in done.output
    return here / "cwd" / "out"


def test_names_and_description_are_those_of_a_bids_derivative(predicted):
    files = {str(path.relative_to(predicted)) for path in predicted.rglob("[!.]*") if path.is_file()}
    expected = {"dataset_description.json", "lesions.tsv"}
    for stem in ("sub-ann/ses-2/anat/sub-ann_ses-2", PATIENT_7, B_B):
        kinds = ("label-lesion_mask.nii.gz", "label-lesion_mask.json", "label-lesion_probseg.nii.gz", "desc-qc.png")
        for ending in kinds:
            expected.add(f"{stem}_{ending}")
    assert files == expected
    description = json.loads((predicted / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["BIDSVersion"]
    assert description["GeneratedBy"][0]["Parameters"]["checkpoint"] == "last.ckpt"


def test_masks_and_probabilities_lie_on_each_scan_s_own_grid(predicted, new_scans):
    for scan, stem in (
        ("sub-ann_ses-2_T1w.nii.gz", "sub-ann/ses-2/anat/sub-ann_ses-2"),
        ("patient.7_t1w.nii", PATIENT_7),
        ("more/B b_T1w.nii.gz", B_B),
    ):
        image = nib.load(new_scans / scan)
        mask = nib.load(predicted / f"{stem}_label-lesion_mask.nii.gz")
        probability = nib.load(predicted / f"{stem}_label-lesion_probseg.nii.gz")
        for result in (mask, probability):
            assert result.shape == image.shape[:3]
            assert np.allclose(result.affine, image.affine)
        voxels, chances = np.asarray(mask.dataobj), np.asarray(probability.dataobj)
        assert voxels.dtype == np.uint8
        assert set(np.unique(voxels)) <= {0, 1}
        assert np.array_equal(voxels == 1, chances >= 0.5)
        assert 0 <= chances.min() <= chances.max() <= 1


def test_orientation_on_disk_changes_nothing_in_the_world(predicted):
    turned = nib.load(predicted / "sub-ann/ses-2/anat/sub-ann_ses-2_label-lesion_probseg.nii.gz")
    straight = nib.load(predicted / f"{PATIENT_7}_label-lesion_probseg.nii.gz")
    back = nib.as_closest_canonical(turned)
    straight = nib.as_closest_canonical(straight)
    assert np.allclose(back.affine, straight.affine)
    assert np.array_equal(np.asarray(back.dataobj), np.asarray(straight.dataobj))


def test_the_table_of_volumes_is_that_of_the_masks(predicted):
    rows = list(csv.DictReader((predicted / "lesions.tsv").open(), delimiter="\t"))
    assert len(rows) == 3
    for row in rows:
        mask = nib.load(predicted / row["mask"])
        voxels = int(np.asarray(mask.dataobj).sum())
        assert float(row["volume_ml"]) == pytest.approx(
            voxels * abs(np.linalg.det(mask.affine[:3, :3])) / 1000, abs=1e-3
        )
        assert (int(row["lesions"]) > 0) == (voxels > 0)


def test_qc_pictures_show_something(predicted):
    from PIL import Image

    for path in predicted.rglob("*.png"):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert min(pixels.shape[:2]) > 60
        assert len(np.unique(pixels)) > 20


def test_prediction_knows_neither_labels_nor_sites(trained_run, t1_cohort):
    run = load_run(trained_run)
    case = next(case for case in read_cases("atlas_v1", t1_cohort) if case.case_id in run.split.test)
    known = run.predict(case)
    unknown = run.predict(case.images["T1w"])
    assert np.array_equal(known.mask, unknown.mask)
    assert np.array_equal(known.probability, unknown.probability)


@pytest.fixture(scope="module")
def evaluated(trained_run, trained_unet, doors, tmp_path_factory) -> Path:
    here = tmp_path_factory.mktemp("evaluation")
    moved = Path(shutil.copytree(trained_run, here / "some place" / "sgnet"))
    (here / "cwd").mkdir()
    done = doors.evaluate(f"runs=['../some place/sgnet','{trained_unet}']", "out=../out", cwd=here / "cwd").check()
    assert "report.html" in done.output
    assert moved.is_dir()
    assert list((here / "cwd").iterdir()) == []
    return here / "out"


def test_scores_can_be_recomputed_from_the_saved_masks(evaluated, t1_cohort):
    table = pd.read_csv(evaluated / "cases.csv", dtype={"case": str, "subject": str})
    assert list(table["run"].unique()) == ["sgnet", "unet2d"]
    assert set(table["site"]) == {"Site1"}
    cases = {case.case_id: case for case in read_cases("atlas_v1", t1_cohort)}
    for row in table.to_dict("records"):
        case = cases[row["case"]]
        saved = next(
            (evaluated / "predictions" / f"strokelab-{row['run']}").rglob(
                f"*{row['case'].replace('_', '')}*mask.nii.gz"
            )
        )
        mask, grid = read_voxels(saved)
        reference = read_lesion(case.lesions, grid, case.reference_image)
        scores = score_case(mask.astype(np.uint8), reference, grid.spacing)
        for name, value in scores.items():
            assert row[name] == pytest.approx(value, nan_ok=True), name
        assert row["lesion_ml"] == pytest.approx(reference.sum() * grid.voxel_volume_mm3 / 1000)
        assert row["prediction_ml"] == pytest.approx(mask.sum() * grid.voxel_volume_mm3 / 1000)


def test_training_and_evaluation_report_the_same_numbers(evaluated, trained_run):
    columns = ["case", "dice", "recall", "precision", "hd95", "lesion_f1", "prediction_ml"]
    own = pd.read_csv(trained_run / "cases.csv")[columns]
    again = pd.read_csv(evaluated / "cases.csv").query("run == 'sgnet'")[columns]
    pd.testing.assert_frame_equal(own, again.reset_index(drop=True))


def test_the_report_is_one_file_that_needs_no_network(evaluated):
    html = (evaluated / "report.html").read_text()
    assert "sgnet" in html
    assert "unet2d" in html
    assert "phantom" not in re.search(r"<title>(.*?)</title>", html)[1]
    assert "Phantom data." in html  # read as ATLAS, of the folder of a phantom cohort
    links = re.findall(r"""(?:src|href)=["']([^"'#]+)""", html)
    assert [link for link in links if not link.startswith(("data:", "https://arxiv.org", "https://doi.org"))] == []
    assert html.count("data:image") >= 3


def test_the_command_report_says_the_same(evaluated, trained_run, doors, tmp_path):
    doors.strokelab("report", trained_run, "--out", "my report", cwd=tmp_path).check()
    mine = pd.read_csv(tmp_path / "my report/cases.csv")
    theirs = pd.read_csv(evaluated / "cases.csv").query("run == 'sgnet'")
    pd.testing.assert_frame_equal(mine, theirs.reset_index(drop=True))


def test_moved_data_keep_the_split(trained_run, t1_cohort, doors, tmp_path):
    """The same dataset elsewhere: still only the test part, never the cases that were trained on."""
    moved = Path(shutil.copytree(t1_cohort, tmp_path / "new disk"))
    arguments = ["data=atlas_v1", f"data.root={moved}", "save_predictions=false", "out=out"]
    doors.evaluate(f"runs=[{trained_run}]", *arguments, cwd=tmp_path).check()
    table = pd.read_csv(tmp_path / "out/cases.csv")
    assert set(table["site"]) == {"Site1"}
    assert not (tmp_path / "out/predictions").exists()


def test_another_dataset_is_taken_whole(trained_run, t1_cohort, doors, tmp_path):
    images = tmp_path / "study"
    for number, path in enumerate(sorted(t1_cohort.glob("Site2/*/t01/0*_t1w_deface_stx.nii.gz"))):
        for kind, source in (("images", path), ("labels", next(path.parent.glob("0*_LesionSmooth_stx.nii.gz")))):
            (images / kind).mkdir(parents=True, exist_ok=True)
            name = f"case{number}_T1w.nii.gz" if kind == "images" else f"case{number}.nii.gz"
            shutil.copy(source, images / kind / name)
    arguments = ["data=folder", f"data.root={images}", "data.modalities=[T1w]", "out=out", "profile=atlas"]
    doors.evaluate(f"runs=[{trained_run}]", *arguments, cwd=tmp_path).check()
    table = pd.read_csv(tmp_path / "out/cases.csv")
    assert list(table["case"]) == ["case0", "case1", "case2"]
    assert table["site"].isna().all()


def test_the_threshold_of_evaluation_may_be_another(trained_run, doors, tmp_path):
    arguments = ["postprocess=threshold", "postprocess.threshold=0.999999", "save_predictions=false", "out=out"]
    doors.evaluate(f"runs=[{trained_run}]", *arguments, cwd=tmp_path).check()
    strict = pd.read_csv(tmp_path / "out/cases.csv")["prediction_ml"].sum()
    assert strict < pd.read_csv(trained_run / "cases.csv")["prediction_ml"].sum()


def test_python_does_the_same_as_the_commands(trained_run, t1_cohort):
    """The lines of the README."""
    run = load_run(str(trained_run))
    case = read_cases("atlas_v1", t1_cohort)[0]
    prediction = run.predict(case)
    assert prediction.mask.shape == prediction.probability.shape == (25, 29, 24)
    assert set(prediction.provenance) >= {"run", "checkpoint", "postprocess"}
    network = build_model("sgnet", network__base=4).network
    assert sum(p.numel() for p in network.parameters()) > 1000
    assert yaml.safe_load((trained_run / "config.yaml").read_text())["name"] == run.name == "sgnet"


def test_check_lists_the_cohort(t1_cohort, isles_cohort, doors, tmp_path):
    done = doors.strokelab("check", t1_cohort, "--dataset", "atlas_v1", "--deep", cwd=tmp_path)
    for words in ("9 of 8 subjects", "Site1", "Site3", "T1w", "ml"):
        assert words in done.output, done.output
    isles = doors.strokelab("check", isles_cohort, "--dataset", "isles2022", cwd=tmp_path)
    for words in ("6 of 6", "FLAIR", "ADC"):
        assert words in isles.output, isles.output
