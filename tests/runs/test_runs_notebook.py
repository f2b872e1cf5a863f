"""What a user of Python and notebooks expects: arrays in, figures and tables out, lines for objects."""

import nibabel as nib
import numpy as np
import pytest
import torch

from strokelab import build_model
from strokelab.contract import Case
from strokelab.data import read_cases
from strokelab.errors import DataError
from strokelab.metrics import score_case
from strokelab.nifti import read_voxels
from strokelab.preparation.recipe import Preparation, prepare
from strokelab.runs import load_run


@pytest.fixture(scope="module")
def run(trained_run):
    return load_run(trained_run)


@pytest.fixture(scope="module")
def scan(t1_cohort):
    return next(case for case in read_cases("atlas_v1", t1_cohort) if case.site == "Site1").reference_image


def image_of(path):
    loaded = nib.load(path)
    return nib.Nifti1Image(np.asarray(loaded.dataobj).reshape(loaded.shape[:3]), loaded.affine)


def test_a_path_an_image_and_an_array_give_one_mask(run, scan, tmp_path):
    image = image_of(scan)
    voxels = np.asarray(image.dataobj)
    by_path = run.predict(str(scan))
    pairs = [(voxels, image.affine), {"T1w": (voxels, image.affine)}, [(voxels, image.affine)], image]
    for given in (*pairs, (voxels.astype(np.float64), image.affine.tolist())):
        made = run.predict(given, progress=given is image)
        assert np.array_equal(made.mask, by_path.mask)
        assert np.array_equal(made.probability, by_path.probability)
        assert made.scan is image if given is image else isinstance(made.scan, nib.Nifti1Image)
    assert by_path.scan == scan
    assert by_path.save(tmp_path / "mask.nii.gz").is_file()


def test_kinds_of_numbers_that_nifti_has_no_place_for(run, scan):
    image = image_of(scan)
    whole = np.round(np.asarray(image.dataobj)).astype(np.int64)
    expected = run.predict((whole.astype(np.float32), image.affine)).mask
    assert np.array_equal(run.predict((whole, image.affine)).mask, expected)


def test_a_prediction_plots_itself(run, scan, tmp_path):
    by_path = run.predict(scan)
    figure = by_path.plot()
    assert len(figure.axes) == 3
    assert "031796" in figure.get_suptitle() or "ml" in figure.get_suptitle()
    assert figure._repr_png_().startswith(b"\x89PNG")
    image = image_of(scan)
    voxels = np.asarray(image.dataobj, np.float32)
    for given in (image, voxels, (voxels, image.affine), str(scan)):
        assert len(by_path.plot(given).axes) == 3
    with pytest.raises(DataError, match="another grid"):
        by_path.plot(voxels[:-1])
    with pytest.raises(DataError, match="another grid"):
        by_path.plot((voxels, np.eye(4)))
    case = Case("x", "x", "x", None, {"T1w": scan})
    with pytest.raises(DataError, match="no image"):
        run.predict_prepared(prepare(case, run.preparation_of(case))).plot()


def test_masks_are_scored_in_any_form(run, scan, tmp_path):
    made = run.predict(scan)
    path = made.save(tmp_path / "mask.nii.gz")
    voxels, grid = read_voxels(path)
    own = score_case(path, path)
    assert own["dice"] == 1
    other = np.roll(voxels, 1, axis=0)
    expected = score_case(voxels, other, grid.spacing)
    pair = (other, grid.affine)
    for mask in (path, made, nib.load(path), (voxels, grid.affine), (voxels.astype(bool), grid.affine)):
        assert score_case(mask, pair) == expected
    assert score_case(torch.from_numpy(voxels), made)["dice"] == 1


def test_cases_are_a_list_and_a_table(t1_cohort):
    cases = read_cases("atlas_v1", t1_cohort)
    assert isinstance(cases, list)
    assert cases == list(cases)
    table = cases.to_frame()
    assert list(table["case"]) == [case.case_id for case in cases]
    assert set(table.columns) >= {"case", "subject", "dataset", "site", "labelled", "T1w"}
    assert repr(cases).splitlines()[0] == "9 cases of 8 subjects"
    assert len(repr(cases).splitlines()) == 11
    assert "<table" in cases._repr_html_()
    assert repr(type(cases)()) == "0 cases of 0 subjects"
    assert list(type(cases)().to_frame()) == ["case", "subject", "dataset", "site", "labelled"]


def test_objects_are_one_line(run, scan):
    case = Case("x", "x", "x", None, {"T1w": scan})
    prepared = prepare(case, Preparation(("T1w",)))
    model = build_model("sgnet", in_channels=1, n_sites=2, plane=[32, 32], network__base=4)
    lines = [repr(thing) for thing in (run, case, prepared, run.predict(scan), model, run.model)]
    assert not [line for line in lines if "\n" in line or len(line) > 200]
    assert repr(model).startswith("Segmenter(UNet, 0.1")
    assert "MaskedAdaIN, Hemispheres, SiteAdversary" in repr(model)
    assert "\n" in repr(model.network)
    assert "T1w" in repr(prepared)
