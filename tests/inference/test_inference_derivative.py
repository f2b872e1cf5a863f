"""BIDS names, the table of volumes, and what must not be mixed up."""

import json
import warnings
from concurrent.futures import ThreadPoolExecutor

import nibabel as nib
import numpy as np
import pytest

from strokelab.contract import Case, Prediction
from strokelab.errors import DataError, DataWarning
from strokelab.files import file_digest
from strokelab.grid import Grid
from strokelab.inference.derivative import Derivative
from strokelab.inference.postprocess import threshold
from strokelab.inference.predict import to_native
from strokelab.inference.scores import Scores
from strokelab.nifti import write_volume
from strokelab.preparation.recipe import Preparation, prepare

GRID = Grid.of((6, 5, 4), [[-2, 0, 0, 10], [0, 3, 0, -5], [0, 0, 0.5, 1], [0, 0, 0, 1]])


def prediction(case_id, voxels=(), probability=True):
    mask = np.zeros(GRID.shape, np.uint8)
    for voxel in voxels:
        mask[voxel] = 1
    return Prediction(case_id, GRID, mask, mask * np.float32(0.75) if probability else None, {"run": "x"})


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
    second = derivative.write(prediction("b"))
    assert derivative.finish().read_text().splitlines() == [
        "case\tvolume_ml\tlesions\tmask\tpreparation\timage\tdigest\tmade_by",
        f"sub-a_ses-1\t0.009\t2\tsub-a/ses-1/anat/sub-a_ses-1_label-lesion_mask.nii.gz\t\t\t{file_digest(row.mask)}\t1",
        f"b\t0.000\t0\tsub-b/anat/sub-b_label-lesion_mask.nii.gz\t\t\t{file_digest(second.mask)}\t1",
    ]


def test_masks_alone(tmp_path):
    derivative = Derivative(tmp_path / "a", name="x", provenance={}, probabilities=False)
    derivative.write(prediction("b"))
    Derivative(tmp_path / "c", name="x", provenance={}).write(prediction("b", probability=False))
    assert [path.name for path in tmp_path.rglob("*.nii.gz")] == ["sub-b_label-lesion_mask.nii.gz"] * 2


def voxels(path):
    return int(np.asarray(nib.load(path).dataobj).sum())


TWINS = ("case 1", "case-1", "case1", "Case1", "sub-case1", "sub-case1_rec-norm", "sub-case1_ce-gad", "患者", "Больной")


@pytest.mark.parametrize("order", [1, -1])
def test_no_two_cases_share_a_file(tmp_path, order):
    """Not where capitals make no difference either."""
    derivative = Derivative(tmp_path, name="x", provenance={})
    for number, case in enumerate(TWINS[::order]):
        derivative.write(prediction(case, [(0, 0, z) for z in range(number % 4)]))
        derivative.path_of(case, "desc-qc.png").write_text(case)
    rows = Derivative(tmp_path, name="x", provenance={}).rows()
    assert list(rows) == list(TWINS[::order])
    assert [voxels(row.mask) for row in rows.values()] == [number % 4 for number in range(len(TWINS))]
    names = [str(path.relative_to(tmp_path)).lower() for path in tmp_path.rglob("*.*") if path.is_file()]
    assert len(names) == len(set(names)) == 4 * len(TWINS) + 4


def test_a_second_call_adds(tmp_path):
    Derivative(tmp_path, name="x", provenance={"run": "one"}).write(prediction("a"))
    other = Derivative(tmp_path, name="x", provenance={"run": "two"})
    other.write(prediction("b"))
    assert [row.split("\t")[0] for row in other.finish().read_text().splitlines()] == ["case", "a", "b"]
    made = json.loads((tmp_path / "dataset_description.json").read_text())["GeneratedBy"]
    assert [maker["Parameters"]["run"] for maker in made] == ["one", "two"]
    assert [(row.made_by, other.made(row)) for row in other.rows().values()] == [(1, False), (2, True)]


def test_a_case_that_is_there_is_replaced_only_when_asked(tmp_path):
    first = Derivative(tmp_path, name="x", provenance={})
    kept = first.write(prediction("b", [(1, 1, 1)]))
    row = first.write(prediction("a", [(0, 0, 0)]))
    with pytest.raises(DataError) as error:
        Derivative(tmp_path, name="x", provenance={}).write(prediction("a"))
    assert "1 of 1" in error.value.found
    assert "--overwrite" in error.value.remedy
    assert voxels(row.mask) == 1
    again = Derivative(tmp_path, name="x", provenance={}, probabilities=False, overwrite=True)
    again.write(prediction("a", [(0, 0, 0), (2, 2, 2)]))
    assert [(case, row.volume_ml) for case, row in again.rows().items()] == [("b", 0.003), ("a", 0.006)]
    assert voxels(kept.mask) == 1
    assert not list(tmp_path.rglob("sub-a_*probseg*")), "a map of the mask that was replaced"
    assert len(list(tmp_path.rglob("sub-b_*probseg*"))) == 1


def test_an_edited_mask_is_named(tmp_path):
    derivative = Derivative(tmp_path, name="x", provenance={})
    row = derivative.write(prediction("a"))
    assert not derivative.row_of("a").edited()
    write_volume(row.mask, prediction("a", [(3, 3, 3)]).mask, GRID)
    assert derivative.row_of("a").edited()
    with pytest.raises(DataError, match="edited since: a"):
        derivative.check_new(["a"])
    assert voxels(row.mask) == 1


def test_a_mask_that_the_table_does_not_list(tmp_path):
    """Of another program it stays; of a predict that was killed before it wrote the table it is taken."""
    derivative = Derivative(tmp_path, name="x", provenance={})
    path = derivative.path_of("a", "label-lesion_mask.nii.gz")
    write_volume(path, prediction("a", [(3, 3, 3)]).mask, GRID)
    with pytest.raises(DataError) as error:
        derivative.write(prediction("a"))
    assert error.value.where == str(path)
    assert voxels(path) == 1
    assert not derivative.rows()
    assert derivative.write(prediction("a", [(3, 3, 3)])).mask == path


def test_another_image_of_the_same_name(tmp_path):
    derivative = Derivative(tmp_path / "out", name="x", provenance={}, overwrite=True)
    derivative.write(prediction("a"), image=tmp_path / "one" / "a_T1w.nii")
    derivative.write(prediction("a"), image=tmp_path / "one" / "a_T1w.nii")
    with pytest.raises(DataError, match="another image"):
        derivative.write(prediction("a"), image=tmp_path / "two" / "a_T1w.nii")


def test_several_processes_write_into_one_folder(tmp_path):
    """Each holds an object of its own; no row is lost."""

    def work(name):
        derivative = Derivative(tmp_path, name="x", provenance={"run": name})
        for number in range(3):
            derivative.write(prediction(f"{name}{number}"))

    with ThreadPoolExecutor() as threads:
        list(threads.map(work, "abc"))
    assert len(Derivative(tmp_path, name="x", provenance={}).rows()) == 9


@pytest.mark.parametrize(
    ("modality", "folder"), [("DWI", "dwi"), ("adc", "dwi"), ("Tmax", "perf"), ("T1w", "anat"), ("", "anat")]
)
def test_the_folder_of_a_contrast(tmp_path, modality, folder):
    derivative = Derivative(tmp_path, name="x", provenance={})
    assert derivative.write(prediction("a"), modality=modality).mask.parent == tmp_path / "sub-a" / folder


def test_a_table_of_an_earlier_version(tmp_path):
    path = tmp_path / "sub-p1/anat/sub-p1_label-lesion_mask.nii.gz"
    write_volume(path, prediction("p_1").mask, GRID)
    (tmp_path / "lesions.tsv").write_text(
        f"case\tvolume_ml\tlesions\tmask\np_1\t0.000\t0\t{path.relative_to(tmp_path)}\n"
    )
    derivative = Derivative(tmp_path, name="x", provenance={})
    with pytest.raises(DataError, match="p_1"):
        derivative.check_new(["p_1"])
    assert derivative.write(prediction("p1", [(1, 1, 1)])).mask != path
    assert voxels(path) == 0


@pytest.mark.parametrize(
    "content", ['{"Name": "mine", "DatasetType": "raw"}', '{"GeneratedBy": [{"Name": "fMRIPrep"}]}']
)
def test_the_description_of_another_dataset_stays(tmp_path, content):
    (tmp_path / "dataset_description.json").write_text(content)
    with pytest.raises(DataError) as error:
        Derivative(tmp_path, name="x", provenance={})
    assert "derivatives" in error.value.remedy
    assert (tmp_path / "dataset_description.json").read_text() == content


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        Derivative(tmp_path / "file" / "out", name="x", provenance={})


@pytest.mark.parametrize("codes", [(1, 2), (3, 0), (0, 4)])
def test_every_map_of_a_case_has_both_header_forms_of_its_input(codes, tmp_path):
    """qform and sform 12 mm apart: whichever a viewer takes, mask and image lie on each other."""
    image = nib.Nifti1Image(np.arange(120, dtype=np.float32).reshape(GRID.shape), None)
    image.header.set_qform(GRID.matrix + 12 * np.eye(4, k=1) * [[0], [0], [1], [0]], codes[0])
    image.header.set_sform(GRID.matrix, codes[1])
    nib.save(image, tmp_path / "in.nii.gz")
    case = Case("c", "c", "test", None, {"T1w": tmp_path / "in.nii.gz"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        prepared = prepare(case, Preparation(("T1w",), normalize="none"))
    chance = np.full(prepared.grid.shape, 0.7, np.float32)
    made = to_native(prepared, Scores(chance, disagreement=chance), postprocess=threshold)
    Derivative(tmp_path / "out", name="t", provenance={}).write(made)
    written = sorted((tmp_path / "out").rglob("*.nii.gz"))
    assert len(written) == 3
    for path in written:
        header = nib.load(path).header
        for field in ("qform_code", "sform_code", "qoffset_z", "quatern_b", "srow_z"):
            assert np.array_equal(header[field], nib.load(tmp_path / "in.nii.gz").header[field])
        assert np.array_equal(header["pixdim"][:4], nib.load(tmp_path / "in.nii.gz").header["pixdim"][:4])
