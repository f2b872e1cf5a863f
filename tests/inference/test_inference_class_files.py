"""Maps of all classes in a derivative: named as the family names them, with a segmentation and its table."""

import csv

import nibabel as nib
import numpy as np
import pytest

from strokelab.contract import Prediction
from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.inference.derivative import Derivative

NAMES = ("background", "GM", "non-brain", "lesion")
SHAPE = (4, 3, 2)


def prediction(names=NAMES, seed=0):
    raw = np.random.default_rng(seed).random((len(names), *SHAPE))
    classes = (raw / raw.sum(axis=0)).astype(np.float32)
    grid = Grid(SHAPE, np.diag([1.0, 2, 3, 1]))
    mask = (classes.argmax(axis=0) == len(names) - 1).astype(np.uint8)
    return Prediction("sub-a", grid, mask, classes[-1], {}, classes=classes, class_names=names)


def written(folder, one, **how):
    place = Derivative(folder, name="x", provenance={}, **how)
    place.write(one)
    return sorted(path.name.removeprefix("sub-a_") for path in folder.rglob("sub-a_*"))


def test_each_class_has_a_map_and_the_table_says_what_numbers_mean(tmp_path):
    one = prediction()
    assert written(tmp_path, one, probabilities=False) == [
        *("dseg.nii.gz", "dseg.tsv", "label-GM_probseg.nii.gz", "label-background_probseg.nii.gz"),
        *("label-lesion_mask.json", "label-lesion_mask.nii.gz", "label-lesion_probseg.nii.gz"),
        "label-nonbrain_probseg.nii.gz",
    ]
    folder = tmp_path / "sub-a" / "anat"
    values = nib.load(folder / "sub-a_dseg.nii.gz")
    assert np.array_equal(values.get_fdata(), one.classes.argmax(axis=0))
    np.testing.assert_array_equal(values.affine, one.grid.matrix)
    with (folder / "sub-a_dseg.tsv").open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [(row["index"], row["name"]) for row in rows] == list(
        zip("0123", ["background", "GM", "nonbrain", "lesion"], strict=True)
    )
    assert [row["abbreviation"] for row in rows] == ["BG", "GM", "nonbrain", "L"]
    for k, row in enumerate(rows):
        found = nib.load(folder / f"sub-a_label-{row['name']}_probseg.nii.gz").get_fdata()
        np.testing.assert_allclose(found, one.classes[k], atol=1e-6)


@pytest.mark.parametrize("names", [(), ("background", "lesion"), ("a", "A", "b", "c"), ("-", "a", "b", "c")])
def test_names_that_do_not_tell_classes_apart_are_not_used(tmp_path, names):
    one = prediction()
    unnamed = Prediction("sub-a", one.grid, one.mask, None, {}, classes=one.classes, class_names=names)
    assert written(tmp_path, unnamed) == [
        *(f"label-class{k}_probseg.nii.gz" for k in range(4)),
        *("label-lesion_mask.json", "label-lesion_mask.nii.gz"),
    ]


def test_classes_of_a_former_prediction_do_not_stay(tmp_path):
    written(tmp_path, prediction())
    foreign = tmp_path / "sub-a" / "anat" / "sub-a_label-other_probseg.nii.gz"
    foreign.touch()
    without = Prediction("sub-a", prediction().grid, prediction().mask, None, {})
    kept = ["label-lesion_mask.json", "label-lesion_mask.nii.gz", "label-other_probseg.nii.gz"]
    assert written(tmp_path, without, overwrite=True) == kept
    written(tmp_path, prediction(), overwrite=True)
    (tmp_path / "sub-a" / "anat" / "sub-a_dseg.tsv").write_text("index\tvalue\n0\tx\n")
    with pytest.raises(DataError, match="table"):
        written(tmp_path, without, overwrite=True)
