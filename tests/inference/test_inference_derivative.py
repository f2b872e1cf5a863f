"""BIDS names, the table of volumes, and what must not be mixed up."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from strokelab.contract import Prediction
from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.inference.derivative import Derivative, bids_entities

GRID = Grid.of((6, 5, 4), [[-2, 0, 0, 10], [0, 3, 0, -5], [0, 0, 0.5, 1], [0, 0, 0, 1]])


def prediction(case_id, voxels=(), probability=True):
    mask = np.zeros(GRID.shape, np.uint8)
    for voxel in voxels:
        mask[voxel] = 1
    return Prediction(case_id, GRID, mask, mask * np.float32(0.75) if probability else None, {"run": "x"})


@pytest.mark.parametrize(
    ("case_id", "entities"),
    [
        ("sub-r001s001_ses-1", {"sub": "r001s001", "ses": "1"}),
        ("sub-strokecase0001_ses-0001", {"sub": "strokecase0001", "ses": "0001"}),
        ("ses-2_sub-a_run-3", {"sub": "a", "ses": "2", "run": "3"}),
        ("031768_t01", {"sub": "031768t01"}),
        ("Müller, A.", {"sub": "MllerA"}),
        ("ses-2", {"sub": "ses2"}),
        ("---", {"sub": "case"}),
    ],
)
def test_entities_of_case_ids(case_id, entities):
    assert bids_entities(case_id) == entities
    assert list(bids_entities(case_id)) == list(entities), "in BIDS order"


@given(st.text(max_size=30))
def test_any_case_id_gives_a_legal_name(case_id):
    entities = bids_entities(case_id)
    assert all(re.fullmatch(r"[A-Za-z0-9]+", value) for value in entities.values())


def test_files_of_a_case(tmp_path):
    derivative = Derivative(tmp_path / "out", name="mine", provenance={"checkpoint": "last.ckpt"})
    row = derivative.write(prediction("sub-a_ses-1", [(1, 1, 1), (1, 1, 2), (4, 4, 0)]))
    assert row.volume_ml == pytest.approx(3 * 2 * 3 * 0.5 / 1000)
    assert row.lesions == 2
    folder = tmp_path / "out/sub-a/ses-1/anat"
    assert row.mask == folder / "sub-a_ses-1_label-lesion_mask.nii.gz"
    mask, probability = nib.load(row.mask), nib.load(folder / "sub-a_ses-1_label-lesion_probseg.nii.gz")
    assert np.array_equal(mask.affine, GRID.matrix)
    assert mask.get_data_dtype() == np.uint8
    assert probability.get_data_dtype() == np.float32
    assert np.asarray(probability.dataobj)[1, 1, 1] == 0.75
    description = json.loads((tmp_path / "out/dataset_description.json").read_text())
    assert description["Name"] == "mine"
    assert description["GeneratedBy"][0]["Parameters"] == {"checkpoint": "last.ckpt"}
    derivative.write(prediction("b"))
    assert derivative.finish().read_text().splitlines() == [
        "case\tvolume_ml\tlesions\tmask\tpreparation",
        "sub-a_ses-1\t0.009\t2\tsub-a/ses-1/anat/sub-a_ses-1_label-lesion_mask.nii.gz\t",
        "b\t0.000\t0\tsub-b/anat/sub-b_label-lesion_mask.nii.gz\t",
    ]


def test_masks_alone(tmp_path):
    derivative = Derivative(tmp_path / "a", name="x", provenance={}, probabilities=False)
    derivative.write(prediction("b"))
    Derivative(tmp_path / "c", name="x", provenance={}).write(prediction("b", probability=False))
    assert [path.name for path in tmp_path.rglob("*.nii.gz")] == ["sub-b_label-lesion_mask.nii.gz"] * 2


def test_two_cases_never_share_a_file(tmp_path):
    derivative = Derivative(tmp_path, name="x", provenance={})
    derivative.write(prediction("case 1", [(0, 0, 0)]))
    with pytest.raises(DataError, match="'case 1' and 'case-1'"):
        derivative.write(prediction("case-1"))
    assert np.asarray(nib.load(tmp_path / "sub-case1/anat/sub-case1_label-lesion_mask.nii.gz").dataobj).sum() == 1
    derivative.path_of("case 1", "desc-qc.png")  # the same case may have further files


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        Derivative(tmp_path / "file" / "out", name="x", provenance={})
