"""A model that takes any contrast: each image of a case alone on its own grid, logits averaged on the case's grid."""

import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console
from scipy import ndimage
from scipy.special import expit
from sibling_runs import any_contrast_sibling

from strokelab.data import read_cases
from strokelab.data.any_scans import find_any_scans
from strokelab.errors import ConfigError, DataError
from strokelab.evaluation.new_scans import Applying, Writing, segment
from strokelab.grid import Grid, resample
from strokelab.runs import load_ensemble, load_run


@pytest.fixture(scope="module")
def run(trained_unet, tmp_path_factory):
    return load_run(any_contrast_sibling(trained_unet, tmp_path_factory.mktemp("any") / "run"))


@pytest.fixture(scope="module")
def case(isles_cohort):
    return replace(read_cases("isles2022", isles_cohort)[0], lesions=())


@pytest.fixture(scope="module")
def subject(case, tmp_path_factory):
    """A BIDS session: DWI as it is; FLAIR turned, on a grid of its own that ends below the top of the DWI."""
    folder = tmp_path_factory.mktemp("bids") / "sub-01" / "ses-2"
    names = {"DWI": "dwi/sub-01_ses-2_dwi", "ADC": "dwi/sub-01_ses-2_adc", "FLAIR": "anat/sub-01_ses-2_acq-2d_FLAIR"}
    for name, place in names.items():
        image = nib.load(case.images[name])
        voxels, affine = np.asarray(image.dataobj), image.affine
        if name == "FLAIR":
            voxels, affine = voxels[::-1, :, :-6], affine @ np.array(nib.affines.from_matvec(np.diag([-1, 1, 1])))
            affine[:3, 3] += image.affine[:3, 0] * (image.shape[0] - 1) + [3.0, -2.0, 1.0]
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels, affine), folder / f"{place}.nii.gz")
    shutil.copy(folder / "dwi/sub-01_ses-2_adc.nii.gz", folder / "anat/sub-01_ses-2_label-lesion_mask.nii.gz")
    return folder


def logits(run, path):
    """Of one image alone, on its prepared grid, of 8 mm."""
    scan = find_any_scans([path]).cases[0]
    ((_, form),) = run.forms_of(scan).items()
    return run.scores(form).values, form


def test_one_image_alone_is_the_plain_prediction(run, case, trained_unet, tmp_path):
    fixed = any_contrast_sibling(trained_unet, tmp_path / "fixed")
    config = (fixed / "config.yaml").read_text()
    (fixed / "config.yaml").write_text(config.replace("any_contrast: true", "any_contrast: false"))
    plain = load_run(fixed, register="never").predict({"T1w": case.images["FLAIR"]})
    for item in (case.images["FLAIR"], {"FLAIR": case.images["FLAIR"]}, nib.load(case.images["FLAIR"])):
        mine = run.predict(item)
        np.testing.assert_array_equal(mine.probability, plain.probability)
        np.testing.assert_array_equal(mine.mask, plain.mask)
    assert np.ptp(plain.probability) > 0.01


def test_two_equal_images_are_one(run, case):
    once = run.predict({"A": case.images["DWI"]})
    twice = run.predict({"A": case.images["DWI"], "B": case.images["DWI"]}, disagreement=True)
    np.testing.assert_array_equal(once.probability, twice.probability)
    assert twice.disagreement.max() == 0
    assert twice.provenance["modalities"] == "A, B"


def test_logits_are_averaged_where_images_are(run, subject):
    """By hand: each image's logits in one interpolation onto the grid of the first, the mean of those that cover."""
    first, second = subject / "dwi/sub-01_ses-2_dwi.nii.gz", subject / "anat/sub-01_ses-2_acq-2d_FLAIR.nii.gz"
    prediction = run.predict([first, second])
    grid = Grid.of(nib.load(first).shape, nib.load(first).affine)
    assert prediction.grid.matches(grid)
    maps, inside = [], []
    for path in (first, second):
        values, form = logits(run, path)
        maps.append(resample(values[0], form.grid, grid))
        inside.append(resample(np.ones(form.grid.shape, np.uint8), form.grid, grid, "nearest") != 0)
    assert inside[0].all()
    assert 0.5 < inside[1].mean() < 0.95
    expected = np.where(inside[1], (maps[0] + maps[1]) / 2, maps[0])
    np.testing.assert_allclose(prediction.probability, expit(expected), atol=2e-6)
    assert np.abs(maps[0] - maps[1])[inside[1]].max() > 0.01
    turned = run.predict([second, first])
    assert turned.grid.matches(Grid.of(nib.load(second).shape, nib.load(second).affine))
    assert turned.provenance["modalities"] == "FLAIR, DWI"


def test_what_a_subject_has_is_used_and_said(run, subject):
    prediction = run.predict(subject)
    assert prediction.provenance["modalities"] == "FLAIR, ADC, DWI"
    assert [part.split(":")[0] for part in prediction.provenance["preparation"].split(" | ")] == ["FLAIR", "ADC", "DWI"]
    chosen = load_ensemble([run.folder], modalities=["DWI", "FLAIR"])
    pair = [subject / "dwi/sub-01_ses-2_dwi.nii.gz", subject / "anat/sub-01_ses-2_acq-2d_FLAIR.nii.gz"]
    named = {"DWI": pair[0], "FLAIR": pair[1]}
    np.testing.assert_array_equal(chosen.predict(named).probability, run.predict(pair).probability)
    assert chosen.provenance["applied"] == "DWI | FLAIR"


def test_runs_are_averaged_image_by_image(run, subject, trained_unet, tmp_path):
    other = any_contrast_sibling(trained_unet, tmp_path / "other", seed=1)
    both = load_ensemble([run.folder, other])
    assert both.any_contrast
    maps = [one.predict(subject).probability.astype(np.float64) for one in (run, load_run(other))]
    together = both.predict(subject, disagreement=True)
    expected = expit(np.mean([np.log(one / (1 - one)) for one in maps], axis=0))
    np.testing.assert_allclose(together.probability, expected, atol=1e-5)
    np.testing.assert_allclose(together.disagreement, np.std(maps, axis=0), atol=1e-5)
    alone = load_ensemble([run.folder]).predict(subject)
    np.testing.assert_array_equal(alone.probability, run.predict(subject).probability)


def test_a_scan_lies_and_is_turned_as_it_likes(run, case, tmp_path):
    """Spec 15.10: an oblique, anisotropic scan that is not RAS comes back on its own grid."""
    turn = nib.affines.from_matvec(np.array([[0.0, 9.9, 0.4], [-6.0, 0.9, 0.0], [0.0, 0.3, -4.0]]), [10, -20, 30])
    voxels = ndimage.zoom(np.asarray(nib.load(case.images["DWI"]).dataobj), (1.3, 0.9, 2), order=1)
    nib.save(nib.Nifti1Image(voxels, turn), tmp_path / "scan.nii.gz")
    prediction = run.predict(tmp_path / "scan.nii.gz")
    assert prediction.mask.shape == voxels.shape
    np.testing.assert_allclose(prediction.grid.matrix, turn, atol=1e-5)
    assert prediction.provenance["modalities"] == "image"


@pytest.mark.parametrize(
    ("files", "cases"),
    [
        (["p1_T1.nii", "p1_FLAIR.nii", "p2_T1.nii"], {"p1": "FLAIR T1w", "p2": "T1w"}),
        (["T1/p1_T1.nii", "flair/p1_flair.nii"], {"p1": "FLAIR T1w"}),
        (["p1/t1.nii", "p1/adc.nii", "p2/t1.nii"], {"p1": "ADC T1w", "p2": "T1w"}),
        (["a.nii", "b.nii"], {"a": "image", "b": "image"}),
        (["s1/p_T1.nii", "s2/p_T1.nii"], {"s1_p": "T1w", "s2_p": "T1w"}),
        (["031_t1w_deface.nii", "031_flair_deface.nii"], {"031_deface": "FLAIR T1w"}),
        (
            ["sub-1_ses-1_T1w.nii", "sub-1_ses-2_T1w.nii", "sub-1_ses-1_FLAIR.nii", "sub-1_ses-1_space-MNI_T1w.nii"],
            {"sub-1_ses-1": "FLAIR T1w", "sub-1_ses-1_space-MNI": "T1w", "sub-1_ses-2": "T1w"},
        ),
        (
            ["sub-1_run-1_T1w.nii", "sub-1_run-2_T1w.nii", "sub-1_run-2_FLAIR.nii"],
            {"sub-1_run-1": "T1w", "sub-1_run-2": "FLAIR T1w"},
        ),
        (
            [f"7/VSD.Brain.XX.O.MR_{name}/VSD.Brain.XX.O.MR_{name}.nii" for name in ("T1.70615", "DWI.70613")],
            {"7": "DWI T1w"},
        ),
        (["sub-1_dwi.nii", "sub-1_dwi.bval", "sub-1_T1w.nii", "sub-1_bold.nii", "sub-1_mask.nii"], {"sub-1": "T1w"}),
    ],
)
def test_files_that_are_one_case(tmp_path, files, cases):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    found = find_any_scans([tmp_path])
    assert {case.case_id: " ".join(case.images) for case in found.cases} == cases
    assert len(found.left_out) + sum(len(case.images) for case in found.cases) == len(files)


def test_what_is_no_scan(run, tmp_path):
    (tmp_path / "x_mask.nii").touch()
    for place in (tmp_path, tmp_path / "x_mask.nii"):
        with pytest.raises(DataError, match="mask"):
            find_any_scans([place])
    with pytest.raises(ConfigError, match="any contrast"):
        run.predict(tmp_path, as_modality="T1w")


def test_the_command_says_what_it_used(run, subject, tmp_path):
    said = []
    segment([run.folder, subject], Applying(), Writing(tmp_path / "out", report=said.append), console=Console())
    account = said[0]
    (one,) = account["cases"]
    assert list(one["images"]) == ["FLAIR", "ADC", "DWI"]
    row = (tmp_path / "out/lesions.tsv").read_text().splitlines()[1]
    assert all(f"{name}: " in row for name in one["images"])
    assert [entry["reason"] for entry in account["left_out"]] == ["masks by their names"]
