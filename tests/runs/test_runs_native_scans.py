"""Native scans for runs that were trained in MNI space: registered, said, brought back; what fails is named."""

import csv
import json
import shutil
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from rich.console import Console

from strokelab.contract import Case, Registered
from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataWarning
from strokelab.evaluation.new_scans import Applying, Writing, segment
from strokelab.nifti import read_voxels, write_volume
from strokelab.phantoms.anatomy import template
from strokelab.phantoms.native import pose, scan_grid, see
from strokelab.preparation.register import RegistrationError
from strokelab.preparation.regrid import say_doubts
from strokelab.preparation.restore import restore, restore_mask
from strokelab.preparation.store import PreparedStore
from strokelab.runs import load_run
from strokelab.scoring.cases import score_cases

HEAD = pose((10, -8, 6), (20.0, -35.0, 25.0))
NATIVE = scan_grid((56, 64, 52), (4.0, 4.0, 4.0), np.diag([-1.0, 1, 1]), (18.0, -32.0, 20.0))


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A stripped head in a scanner, 4 mm."""
    head = template(4.0)
    image = see(np.where(head.brain, head.tissue + 0.3, 0), head.grid, NATIVE, HEAD)
    inside = see(head.brain.astype(np.float32), head.grid, NATIVE, HEAD) > 0.5
    file = tmp_path_factory.mktemp("native") / "sub-01_T1w.nii.gz"
    return write_volume(file, np.where(inside, 100 * image, 0).astype(np.float32), NATIVE)


def predicted(run, scans, out, **settings):
    segment([run, *scans], Applying(**settings), Writing(out), console=Console(quiet=True))


def rows(out):
    return list(csv.DictReader((out / "lesions.tsv").open(), delimiter="\t"))


def test_a_native_scan_is_registered_said_and_brought_back(trained_run, scan, tmp_path):
    predicted(trained_run, [scan], tmp_path)
    (row,) = rows(tmp_path)
    assert row["preparation"].startswith("registered to mni152 (brain overlap 0.9")
    mask = nib.load(tmp_path / row["mask"])
    assert mask.shape == NATIVE.shape
    assert np.allclose(mask.affine, NATIVE.matrix)
    place = (tmp_path / row["mask"]).parent
    told = json.loads((place / "sub-01_label-lesion_mask.json").read_text())
    name = "sub-01_from-T1w_to-MNI152NLin2009aSym_mode-image_xfm"
    facts = json.loads((place / f"{name}.json").read_text())
    assert told["Registration"][0]["BrainOverlapDice"] == facts["BrainOverlapDice"] > 0.9
    assert (place / "sub-01_desc-registration.png").is_file()
    # Another program takes the text file: points of the template go where our matrix has them, in LPS.
    transform = sitk.ReadTransform(str(place / f"{name}.txt"))
    back = np.asarray(facts["TemplateToScanRAS"])
    for point in ((0.0, 0.0, 0.0), (30.0, -40.0, 20.0)):
        ours = (back @ [*point, 1.0])[:3]
        theirs = np.asarray(transform.TransformPoint((-point[0], -point[1], point[2]))) * (-1, -1, 1)
        assert np.allclose(ours, theirs, atol=1e-6)
    assert np.allclose(np.asarray(facts["ScanToTemplateRAS"]) @ back, np.eye(4))
    assert np.linalg.norm((np.linalg.inv(HEAD.matrix) @ [0, -18, 12, 1])[:3] - (back @ [0, -18, 12, 1])[:3]) < 4
    assert predicted_again(trained_run, scan, tmp_path) is None


def predicted_again(run, scan, out):
    """Of a case that is not registered any more, its transform goes."""
    with pytest.warns(DataWarning, match="laid around its brain"):
        segment([run, scan], Applying(register="never"), Writing(out, overwrite=True), console=Console(quiet=True))
    assert not list(out.rglob("*_xfm.*"))
    assert not list(out.rglob("*registration.png"))


def test_the_way_there_and_back_is_one_transform(trained_run, scan):
    run = load_run(trained_run)
    case = read_case(scan)
    ((preparer, form),) = run.forms_of(case).items()
    assert form.grid.shape == (24, 28, 24)  # the crop of the training, on the training's own grid of 8 mm
    brain = restore_mask(form.brain, form.steps).astype(bool)
    native = read_voxels(scan)[0] != 0
    assert 2 * (brain & native).sum() / (brain.sum() + native.sum()) > 0.9
    assert restore(np.asarray(form.image), form.steps).shape == (1, *NATIVE.shape)
    assert preparer.done(form).startswith("registered to mni152")


def read_case(scan):
    from strokelab.data.new_scans import find_scans

    return find_scans([scan], ("T1w",)).cases[0]


def test_a_scan_that_needs_no_registration_is_prepared_as_ever(trained_run, t1_cohort):
    case = read_cases("atlas_v1", t1_cohort)[0]
    run = load_run(trained_run)
    assert run.preparation_of(case) is run.view.preparation
    assert run.preparation_of.intake.named == {}
    assert load_run(trained_run, register="never").provenance["inference"] == "32, register=never"
    always = load_run(trained_run, register="always").preparation_of(case)
    assert always.register.refined
    assert always.onto.matches(run.preparation_of.trained_on.frame)
    with pytest.raises(ConfigError, match="register"):
        load_run(trained_run, register="sometimes")


def test_what_cannot_be_registered_is_named_listed_and_not_predicted(trained_run, scan, tmp_path):
    noise = np.abs(np.random.default_rng(0).normal(size=NATIVE.shape)).astype(np.float32)
    bad = write_volume(tmp_path / "in" / "sub-02_T1w.nii.gz", noise, NATIVE)
    with pytest.raises(ConfigError, match="1 of 2 scans"):
        predicted(trained_run, [bad, scan], tmp_path / "out")
    first, second = sorted(rows(tmp_path / "out"), key=lambda row: row["case"])
    assert first["case"] == "sub-01"
    assert second["case"] == "sub-02"
    assert (second["mask"], second["volume_ml"]) == ("n/a", "n/a")
    assert second["preparation"].startswith("failed: case sub-02: this looks like no head")
    assert "information" in second["preparation"]
    with pytest.raises(RegistrationError, match="nats"):
        load_run(trained_run).predict(bad)
    masks = list((tmp_path / "out").rglob("*_mask.nii.gz"))
    assert [mask.name for mask in masks] == ["sub-01_label-lesion_mask.nii.gz"]
    whole = write_volume(bad, read_voxels(scan)[0], NATIVE)  # the file is mended: the line of the failure goes
    segment([trained_run, whole], Applying(), Writing(tmp_path / "out", resume=True), console=Console(quiet=True))
    assert [row["mask"] == "n/a" for row in rows(tmp_path / "out")] == [False, False]


def test_an_evaluation_has_a_row_with_the_reason_for_a_case_that_cannot_be_registered(trained_run, scan, tmp_path):
    noise = np.abs(np.random.default_rng(0).normal(size=NATIVE.shape)).astype(np.float32)
    lesion = np.zeros(NATIVE.shape, np.uint8)
    lesion[20:24, 30:34, 25:29] = 1
    for name, image in (("s1", read_voxels(scan)[0]), ("s2", noise)):
        write_volume(tmp_path / "cohort" / "images" / f"{name}_T1w.nii.gz", image, NATIVE)
        write_volume(tmp_path / "cohort" / "labels" / f"{name}.nii.gz", lesion, NATIVE)
    cases = read_cases("folder", tmp_path / "cohort", modalities=["T1w"])
    run = load_run(trained_run)
    store = PreparedStore(tmp_path / "store")
    scores = score_cases(run, cases, store.prepare_each(cases, run.preparation_of, progress=False), progress=False)
    good, bad = (scores.cases.set_index("case").loc[name] for name in ("s1", "s2"))
    assert good["error"] == ""
    assert 0 <= good["dice"] <= 1
    assert "nats" in bad["error"]
    assert np.isnan(bad["dice"])
    with pytest.raises(RegistrationError, match="s2"):
        store.prepare(cases, run.preparation_of, progress=False)


@pytest.mark.parametrize(("overlap", "outside", "words"), [(0.7, 0.0, "doubtful"), (0.95, 0.1, "10%"), (0.95, 0.0, "")])
def test_a_doubtful_registration_is_warned_of(overlap, outside, words):
    made = Registered("mni152", (), -0.5, -0.2, 0.5, overlap, 1.0, 1.0, "T1w", 0.3, outside)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        say_doubts(made, Case("c", "c", "folder", None, images={"T1w": Path("c.nii")}))
    assert len(found) == bool(words)
    assert all(words in str(one.message) for one in found)


def test_a_training_that_has_not_ended_is_said(trained_run, tmp_path):
    cut = shutil.copytree(trained_run, tmp_path / "cut")
    status = json.loads((cut / "status.json").read_text())
    (cut / "status.json").write_text(json.dumps(status | {"state": "killed"}))
    with pytest.warns(DataWarning, match="has not ended"):
        Applying().load([cut])
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        Applying().load([trained_run])
