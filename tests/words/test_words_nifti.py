"""Real files on disk: what is read, what is refused, what is written."""

import gzip
import shlex
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from strokelab.contract import LesionFile
from strokelab.errors import DataError, DataWarning
from strokelab.grid import Grid
from strokelab.nifti import binarize, read_grid, read_lesion, read_voxels, stem, write_volume

AFFINE = np.array([[-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2.5, 5], [0, 0, 0, 1.0]])
SHAPE = (5, 6, 7)
GRID = Grid.of(SHAPE, AFFINE)


def paste(remedy):
    """Run the line for the shell that a remedy ends with."""
    words = shlex.split(remedy[remedy.index("python -c") :])
    subprocess.run([sys.executable, *words[1:3]], check=True)


def save(path, voxels, affine=AFFINE, kind=nib.Nifti1Image):
    nib.save(kind(np.asarray(voxels), affine), path)
    return path


@pytest.mark.parametrize(
    ("name", "expected"), [("a.nii", "a"), ("a.b.nii.gz", "a.b"), ("x.nii.nii.gz", "x.nii"), ("c", "c")]
)
def test_stems(name, expected, tmp_path):
    assert stem(tmp_path / name) == expected


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_voxels_and_grid_of_every_form(suffix, kind, dtype, tmp_path):
    voxels = (np.random.default_rng(0).random(SHAPE) * 100).astype(dtype)
    path = save(tmp_path / f"a{suffix}", voxels, kind=kind)
    read, grid = read_voxels(path)
    assert read.dtype == np.float32
    assert np.array_equal(read, voxels.astype(np.float32))
    assert grid == read_grid(path)
    assert grid.matches(GRID)


def test_scaled_integers_are_read_in_their_units(tmp_path):
    image = nib.Nifti1Image(np.linspace(-1, 1, 210).reshape(SHAPE), AFFINE)
    image.header.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.nii.gz")
    assert np.allclose(read_voxels(tmp_path / "a.nii.gz")[0], image.get_fdata(), atol=1e-4)


def test_a_fourth_axis_of_one_is_dropped_and_of_two_refused(tmp_path):
    assert read_voxels(save(tmp_path / "one.nii.gz", np.ones((*SHAPE, 1, 1))))[0].shape == SHAPE
    for shape in ((*SHAPE, 2), (5, 6), (5,)):
        path = save(tmp_path / f"{len(shape)}.nii.gz", np.ones(shape))
        with pytest.raises(DataError, match=path.name):
            read_grid(path)


def test_not_a_number_becomes_zero_and_is_counted(tmp_path):
    voxels = np.ones(SHAPE, np.float32)
    voxels[0, 0, :3] = np.nan, np.inf, -np.inf
    path = save(tmp_path / "a.nii.gz", voxels)
    with pytest.warns(DataWarning, match=r"a\.nii\.gz: 3 voxels"):
        read, _ = read_voxels(path)
    assert read.sum() == voxels.size - 3


@pytest.mark.parametrize("kind", ["c8", [("R", "u1"), ("G", "u1"), ("B", "u1")]], ids=["complex", "colours"])
def test_voxels_that_are_no_real_numbers_are_refused(tmp_path, kind):
    nib.save(nib.Nifti1Image(np.zeros(SHAPE, kind), AFFINE), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"a\.nii\n.*(complex|RGB)"):
        read_voxels(tmp_path / "a.nii")


OTHER_FILES = {
    "empty": b"",
    "text": b"hello world" * 100,
    "other content": gzip.compress(b"x" * 1000),
    "cut gzip": gzip.compress(b"x" * 9000)[:60],
    "damaged gzip": b"\x1f\x8b" + b"\0" * 50,
}


@pytest.mark.parametrize("content", OTHER_FILES.values(), ids=OTHER_FILES)  # gzip holds the time: no stable names
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_other_files_are_no_nifti(content, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_grid(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_folders(tmp_path):
    for path in (tmp_path / "gone.nii.gz", tmp_path):
        with pytest.raises(DataError, match="no such file"):
            read_grid(path)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keep=st.floats(0, 0.99))
def test_truncated_anywhere_it_is_refused_by_name(keep, tmp_path):
    whole = tmp_path / "whole.nii.gz"
    if not whole.exists():
        save(whole, np.random.default_rng(0).random((20, 20, 20)))
    path = tmp_path / "cut.nii.gz"
    content = whole.read_bytes()
    path.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(DataError, match="cut"):
        read_voxels(path)


def test_headers_without_a_way_back_are_refused(tmp_path):
    for number, affine in enumerate((np.diag([1, 0, 1, 1.0]), np.full((4, 4), np.nan))):
        image = nib.Nifti1Image(np.ones(SHAPE, np.uint8), None)
        image.header.set_sform(affine, code=1)
        nib.save(image, tmp_path / f"{number}.nii")
        with pytest.raises(DataError, match="singular"):
            read_grid(tmp_path / f"{number}.nii")


# --- writing ---------------------------------------------------------------------------------------------------------


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    voxels=st.sampled_from([np.uint8, np.float32, np.int16, bool]).flatmap(
        lambda kind: st_numpy.arrays(
            kind, SHAPE, elements={"allow_nan": False, "allow_infinity": False} if kind == np.float32 else None
        )
    )
)
def test_what_is_written_comes_back_bit_for_bit(voxels, tmp_path):
    path = write_volume(tmp_path / "deep" / "a.nii.gz", voxels, GRID)
    image = nib.load(path)
    assert np.array_equal(np.asarray(image.dataobj), voxels.astype(np.uint8 if voxels.dtype == bool else voxels.dtype))
    assert image.get_data_dtype() == (np.uint8 if voxels.dtype == bool else voxels.dtype)
    assert np.array_equal(image.affine, AFFINE)
    assert np.allclose(image.get_qform(), AFFINE, atol=1e-5)
    assert image.header.get_xyzt_units()[0] == "mm"
    assert read_grid(path) == GRID
    assert [p.name for p in path.parent.iterdir()] == ["a.nii.gz"]


def test_a_volume_of_another_shape_is_a_mistake_of_ours(tmp_path):
    with pytest.raises(ValueError, match="shape"):
        write_volume(tmp_path / "a.nii.gz", np.zeros((2, 2, 2)), GRID)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="a file that can be written"):
        write_volume(tmp_path / "file" / "a.nii.gz", np.zeros(SHAPE), GRID)


# --- lesions ---------------------------------------------------------------------------------------------------------


def mask(*voxels, value=1, kind=np.float32):
    out = np.zeros(SHAPE, kind)
    for voxel in voxels:
        out[voxel] = value
    return out


@pytest.mark.parametrize("value", [1, 255, 0.5, 1000])
def test_any_two_valued_mask_is_the_same_lesion(value, tmp_path, recwarn):
    path = save(tmp_path / "m.nii.gz", mask((1, 1, 1), (2, 2, 2), value=value))
    lesion = read_lesion([LesionFile(path)], GRID, tmp_path / "image.nii.gz")
    assert lesion.dtype == np.uint8
    assert np.array_equal(lesion, mask((1, 1, 1), (2, 2, 2)))
    assert not [w for w in recwarn if issubclass(w.category, DataWarning)]


def test_the_rule_of_half_the_maximum_is_strict_and_said():
    voxels = mask((0, 0, 0), value=200) + mask((0, 0, 1), value=100) + mask((0, 0, 2), value=100.1)
    with pytest.warns(DataWarning, match="voxels above 100 count as lesion"):
        lesion = binarize(voxels, LesionFile("m.nii.gz"))
    assert np.argwhere(lesion).tolist() == [[0, 0, 0], [0, 0, 2]]
    with pytest.warns(DataWarning):
        everything = binarize(voxels, LesionFile("m.nii.gz", above=0.0))
    assert everything.sum() == 3


def test_negative_values_are_no_mask(tmp_path):
    """A perfect mask whose 255 became -1 once scored 0, as an empty one."""
    assert binarize(mask(), LesionFile("m")).sum() == 0
    minus = mask((1, 1, 1), (2, 2, 2), value=-1, kind=np.int8)
    for voxels in (minus, mask((1, 1, 1)) + mask((0, 0, 0), value=-1), mask((0, 0, 0), value=-0.02) + mask((1, 1, 1))):
        path = save(tmp_path / "m.nii.gz", voxels)
        for file in (LesionFile(path), LesionFile(path, values=(1,)), LesionFile(path, above=0.0)):
            with pytest.raises(DataError, match=r"m\.nii\.gz") as caught:
                read_lesion([file], GRID, tmp_path / "image.nii.gz")
            assert f"negative values down to {voxels.min():g}" in caught.value.found
    save(tmp_path / "m.nii.gz", minus)
    with pytest.raises(DataError) as caught:
        read_lesion([LesionFile(tmp_path / "m.nii.gz")], GRID, tmp_path / "image.nii.gz")
    paste(caught.value.remedy)
    mended = read_lesion([LesionFile(tmp_path / "m_uint8.nii.gz")], GRID, tmp_path / "image.nii.gz")
    assert np.array_equal(mended, -minus)


def test_rounding_below_zero_is_said_and_read():
    with pytest.warns(DataWarning):
        assert binarize(mask((1, 1, 1)) + mask((0, 0, 0), value=-0.009), LesionFile("m")).sum() == 1


def test_labels_are_read_by_value_and_strange_ones_refused(tmp_path):
    voxels = mask((0, 0, 0)) + mask((1, 1, 1), value=2)
    assert np.argwhere(binarize(voxels, LesionFile("m", values=(2,)))).tolist() == [[1, 1, 1]]
    assert binarize(voxels, LesionFile("m", values=(1, 2))).sum() == 2
    with pytest.raises(DataError, match=r"label values \[7\]"):
        binarize(voxels + mask((2, 2, 2), value=7), LesionFile("m", values=(1,)))


def test_several_files_are_united_and_grids_compared(tmp_path):
    one = LesionFile(save(tmp_path / "1.nii.gz", mask((1, 1, 1))))
    two = LesionFile(save(tmp_path / "2.nii.gz", mask((1, 1, 1), (2, 2, 2), value=255)))
    assert read_lesion([one, two], GRID, tmp_path / "i").sum() == 2
    assert read_lesion([], GRID, tmp_path / "i").sum() == 0
    moved = AFFINE.copy()
    moved[2, 3] += 0.1
    strange = LesionFile(save(tmp_path / "3.nii.gz", mask((1, 1, 1)), affine=moved))
    with pytest.raises(DataError) as caught:
        read_lesion([one, strange], GRID, tmp_path / "image.nii.gz")
    for words in ("3.nii.gz", "image.nii.gz", "resample the mask"):
        assert words in str(caught.value)
