"""``strokelab bids``: a dataset in, a derivative, a table and a page out."""

import csv
import json
import os
import re
import shutil
import subprocess

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.data import read_cases
from strokelab.errors import DataError, StrokelabError
from strokelab.inference.derivative import Derivative
from strokelab.phantoms.cohort import write_cohort
from strokelab.runs import load_run

VALIDATOR = shutil.which("bids-validator-deno")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Six sessions of four subjects at 8 mm, as the runs of the tests were trained."""
    place = tmp_path_factory.mktemp("bids") / "ds"
    return write_cohort("bids", place, spacing=8.0, sites=1, cases_per_site=4, progress=False)


@pytest.fixture(scope="module")
def predicted(dataset, trained_unet, tmp_path_factory):
    """The dataset with predictions of all its sessions, made in two commands."""
    out = tmp_path_factory.mktemp("out") / "strokelab"
    said = bids(dataset, out, "participant", "--model", trained_unet, "--participant-label", "001", "sub-003")
    assert sorted(path.name for path in out.glob("sub-*")) == ["sub-001", "sub-003"]
    assert "sub-003_ses-followup" in said
    masks = {path: path.stat().st_mtime_ns for path in out.rglob("*_mask.nii.gz")}
    assert "3 of 5 cases are done already" in bids(dataset, out, "participant", "--model", trained_unet)
    assert masks.items() <= {path: path.stat().st_mtime_ns for path in out.rglob("*_mask.nii.gz")}.items()
    return out


def bids(*words, error: str | None = None) -> str:
    result = CliRunner().invoke(app, ["bids", *map(str, words), "--skip-bids-validation"])
    if error is not None:
        assert isinstance(result.exception, StrokelabError), result.output
        assert re.search(error, str(result.exception)), result.exception
        return str(result.exception)
    assert result.exit_code == 0, f"{result.output}{result.exception}"
    return result.output


def rows(path):
    with path.open() as handle:
        return list(csv.DictReader(handle, delimiter="\t"))


def test_masks_are_those_of_the_run(dataset, predicted, trained_unet):
    run = load_run(trained_unet)
    for case in read_cases("bids", dataset, modalities=["T1w"]):
        subject, session = case.case_id.split("_")
        mask = predicted / subject / session / "anat" / f"{case.case_id}_label-lesion_mask.nii.gz"
        np.testing.assert_array_equal(np.asarray(nib.load(mask).dataobj), run.predict(case).mask)


def test_group_sums_up(dataset, predicted, tmp_path):
    out = shutil.copytree(predicted, tmp_path / "out")
    labels = nib.Nifti1Image(np.ones(nib.load(next(out.rglob("*_mask.nii.gz"))).shape, np.uint8), None)
    labels.set_sform(nib.load(next(out.rglob("*_mask.nii.gz"))).affine, 2)
    nib.save(labels, tmp_path / "all.nii.gz")
    (tmp_path / "all.tsv").write_text("index\tname\n1\t<b>head</b>\n")
    empty = next(out.rglob("sub-002*_mask.nii.gz"))
    image = nib.load(empty)
    nib.save(nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine, image.header), empty)
    lost = DataError("x", found="<i>no</i> head", expected="a head", remedy="look at it")
    Derivative(out, name="strokelab", provenance={}).fail("sub-009", lost, image=tmp_path / "sub-009_T1w.nii.gz")
    bids(dataset, out, "group", "--atlas", tmp_path / "all.nii.gz")
    lesions = rows(out / "group_lesions.tsv")
    assert [row["participant_id"] for row in lesions] == ["sub-001", "sub-002", "sub-003", "sub-003", "sub-004"]
    assert [row["session_id"] for row in lesions][2:4] == ["ses-acute", "ses-followup"]
    for row in lesions:
        mask = np.asarray(nib.load(out / row["mask"]).dataobj)
        assert float(row["volume_ml"]) == pytest.approx(mask.sum() * 0.512, abs=0.001)
        assert float(row["left_ml"]) + float(row["right_ml"]) == pytest.approx(float(row["volume_ml"]), abs=0.002)
        assert row["side"] == "none" or row["region"] == "<b>head</b>"
    assert lesions[1]["side"] == "none"
    assert "no lesion found" in lesions[1]["warnings"]
    assert "edited after" in lesions[1]["warnings"]
    assert {row["share_of_lesion"] for row in rows(out / "group_regions.tsv")} == {"1.0000"}
    page = (out / "gallery.html").read_text()
    assert page.count('<img src="data:image/png;base64,') == 5
    assert "Not predicted: sub-009: &lt;i&gt;no&lt;/i&gt; head" in page
    assert "&lt;b&gt;head" in page
    assert "<b>head" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "one file, offline"
    record = out / lesions[2]["mask"].replace(".nii.gz", ".json")
    made = {"ScanToTemplateRAS": np.eye(4).tolist(), "BrainOverlapDice": 0.7}
    record.write_text(json.dumps({"Registration": [made]}))
    bids(dataset, out, "group", "--participant_label=003", "002")
    assert {row["participant_id"] for row in rows(out / "group_lesions.tsv")} == {"sub-002", "sub-003"}
    bids(dataset, out, "group", "--participant_label", "003")
    assert "registration is doubtful" in rows(out / "group_lesions.tsv")[0]["warnings"]
    assert "sub-009" not in (out / "gallery.html").read_text(), "is not asked for"
    assert len(rows(out / "group_lesions.tsv")) == 2
    assert not (out / "group_regions.tsv").exists(), "of an atlas that was not named"


def test_what_cannot_be_done_is_said(dataset, predicted, trained_unet, tmp_path):
    bids(dataset, tmp_path, "participant", error="--model")
    bids(dataset, tmp_path / "none", "group", error="level participant first")
    asked = (dataset, tmp_path / "new", "participant", "--model", trained_unet)
    assert "--participant-label 001" in bids(*asked, "--participant-label", "009", error="009, which")
    assert "--session-label acute" in bids(*asked, "--session-label", "9", error="9, which")
    bids(*asked, "--participant-label", "001", "--session-label", "followup", error="both of them")
    bids(*asked, "--prefer", "run", error="write it with =")
    bids(*asked, "--version")
    assert CliRunner().invoke(app, ["bids", str(dataset), str(tmp_path), "sessions"]).exit_code == 2


def test_a_session_with_two_runs_is_left_out_and_the_others_are_done(dataset, trained_unet, tmp_path, monkeypatch):
    tree = shutil.copytree(dataset, tmp_path / "ds")
    (scan,) = (tree / "sub-001").rglob("*_T1w.nii.gz")
    shutil.copy(scan, scan.with_name(scan.name.replace("_T1w", "_run-2_T1w")))
    words = (tree, tmp_path / "out", "participant", "--model", trained_unet)
    bids(*words, error="1 sessions could not be read")
    assert sorted(path.name for path in (tmp_path / "out").glob("sub-*")) == ["sub-002", "sub-003", "sub-004"]
    monkeypatch.setenv("STROKELAB_STORE", "")  # is put back as it was
    bids(*words, "--prefer", "run=2", "-w", tmp_path / "work")
    assert os.environ["STROKELAB_STORE"] == str(tmp_path / "work")
    assert (tmp_path / "out" / "sub-001").is_dir()
    assert "1 of 1 cases are done already" in bids(*words, "--participant-label", "001", "--repeats", "first")


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_input_and_output_are_valid_and_an_invalid_dataset_is_not_predicted(dataset, predicted, trained_unet, tmp_path):
    for place in (dataset, predicted):
        done = subprocess.run([VALIDATOR, place, "--ignoreWarnings"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    (scan,) = (dataset / "sub-001").rglob("*_T1w.nii.gz")
    own = scan.name.replace("_T1w", "_space-lab_T1w")  # a space that BIDS does not know
    (tmp_path / "scans").mkdir()
    shutil.copy(scan, tmp_path / "scans" / own)
    words = ["predict", str(trained_unet), str(tmp_path / "scans"), "--out", str(tmp_path / "own")]
    assert CliRunner().invoke(app, words).exit_code == 0
    done = subprocess.run(
        [VALIDATOR, tmp_path / "own", "--ignoreWarnings"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    again = CliRunner().invoke(app, [*words, "--no-probabilities", "--overwrite"])
    assert again.exit_code == 0
    assert [path.name for path in (tmp_path / "own").rglob("*_probseg.*")] == []
    tree = shutil.copytree(dataset, tmp_path / "ds")
    os.rename(next(tree.rglob("*_T1w.nii.gz")), tree / "sub-001" / "ses-acute" / "anat" / "sub-001_T1.nii.gz")
    words = ["bids", str(tree), str(tmp_path / "out"), "participant", "--model", str(trained_unet)]
    result = CliRunner().invoke(app, words)
    assert "--skip-bids-validation" in str(result.exception)
