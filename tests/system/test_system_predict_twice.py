"""``strokelab predict`` into a folder that holds something: nothing is lost, nothing is wrong in silence."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import pytest

from strokelab.files import file_digest
from strokelab.runs import load_run


@pytest.fixture
def scans(t1_cohort, tmp_path) -> Path:
    """Two scans of T1w, a mask, a FLAIR and a note."""
    folder = tmp_path / "scans"
    folder.mkdir()
    for name, source in zip("ab", sorted(t1_cohort.glob("Site1/*/t01/0*_t1w_deface_stx.nii.gz")), strict=False):
        shutil.copy(source, folder / f"{name}_T1w.nii.gz")
    for name in ("a_mask", "a_FLAIR"):
        shutil.copy(folder / "a_T1w.nii.gz", folder / f"{name}.nii.gz")
    (folder / "notes.txt").write_text("")
    return folder


def rows(out: Path) -> list[str]:
    return [line.split("\t")[0] for line in (out / "lesions.tsv").read_text().splitlines()[1:]]


def test_twice_edited_resumed_replaced(trained_run, scans, doors, tmp_path):
    def predict(*arguments):
        return doors.strokelab("predict", trained_run, *arguments, "--out", "out", cwd=tmp_path)

    done = predict(scans).check()
    assert "2 of 5 files are scans of T1w" in done.output
    assert all(name in done.output for name in ("a_mask.nii.gz", "a_FLAIR.nii.gz", "notes.txt"))
    mask = tmp_path / "out/sub-a/anat/sub-a_label-lesion_mask.nii.gz"
    image = nib.load(mask)
    nib.save(nib.Nifti1Image(1 - image.get_fdata().astype("uint8"), image.affine), mask)
    edited = file_digest(mask)

    refused = predict(scans)
    assert refused.status == 1
    assert "2 of 2 cases are there already" in refused.output
    assert "edited since: a" in refused.output
    shutil.copy(scans / "a_T1w.nii.gz", scans / "c_T1w.nii.gz")
    assert "2 of 3 cases are done already" in predict(scans, "--resume").check().output
    assert rows(tmp_path / "out") == ["a", "b", "c"]
    assert file_digest(mask) == edited
    other = predict(scans, "--resume", "--postprocess", "threshold", "--postprocess", "threshold=0.9")
    assert other.status == 1, "made with other settings"
    assert file_digest(mask) == edited
    predict(scans / "a_T1w.nii.gz", "--overwrite").check()
    assert rows(tmp_path / "out") == ["a", "b", "c"]
    assert file_digest(mask) != edited


@pytest.mark.parametrize("moment", ["write", "row_of_case"])
def test_killed_and_resumed(trained_run, scans, doors, tmp_path, moment):
    """Whenever it is killed, what is finished is listed, and the same command with --resume makes the rest."""
    target = {"write": "write", "row_of_case": "_list"}[moment]
    place = (f"strokelab.inference.derivative.Derivative.{target}", 2)
    arguments = ("predict", str(trained_run), str(scans), "--out", "out")
    doors.start("strokelab", *arguments, cwd=tmp_path, kill_at=place).wait()
    assert rows(tmp_path / "out") == ["a"]
    doors.strokelab(*arguments, "--resume", cwd=tmp_path).check()
    assert rows(tmp_path / "out") == ["a", "b"]
    assert len(list((tmp_path / "out").rglob("*_mask.nii.gz"))) == 2


def test_the_account(trained_run, scans, doors, tmp_path):
    """One JSON text with what was done, failed and left out; the lines for readers go to stderr."""
    (scans / "d_T1w.nii.gz").write_bytes(b"no image")
    command = ("predict", trained_run, scans, "--out", "out", "--json")
    done = doors.strokelab(*command, cwd=tmp_path)
    assert done.status == 1
    (text,) = (line for line in done.output.splitlines() if line.startswith("{"))
    account = json.loads(text)
    assert (account["schema"], account["ok"]) == ("strokelab.predict/1", False)
    assert account["error"]["found"].startswith("1 of 3 scans")
    assert [case["case"] for case in account["cases"]] == ["a", "b"]
    assert all(Path(tmp_path / case["mask"]).is_file() for case in account["cases"])
    assert [failed["case"] for failed in account["failed"]] == ["d"]
    assert Path(account["failed"][0]["where"]).name == "d_T1w.nii.gz"
    assert sorted(Path(left["file"]).name for left in account["left_out"]) == [
        "a_FLAIR.nii.gz",
        "a_mask.nii.gz",
        "notes.txt",
    ]


def test_python(trained_run, scans, tmp_path):
    """What a notebook may give and get."""
    run = load_run(trained_run)
    path = scans / "a_T1w.nii.gz"
    known = run.predict(path)
    for given in (nib.load(path), [path], {"T1w": path}, {"T1w": nib.load(path)}):
        assert (run.predict(given).probability == known.probability).all()
    assert (run.predict(scans / "a_FLAIR.nii.gz", as_modality="T1w").mask == known.mask).all()
    assert len(repr(run)) < 200
    assert "T1w" in repr(run)
    saved = known.save(tmp_path / "a.nii.gz", probability=tmp_path / "p.nii.gz")
    assert (nib.load(saved).get_fdata() == known.mask).all()
