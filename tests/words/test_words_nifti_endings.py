"""File names of volumes: what is taken, what it is called without its ending, what is named as foreign."""

import bz2
import lzma
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from strokelab.grid import Grid
from strokelab.nifti import foreign_format, is_volume, read_voxels, stem, write_volume
from strokelab.nifti.endings import partner, with_nibabel

GRID = Grid.of((2, 3, 4), [[-1, 0, 0, 5], [0, 2, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("name", "taken", "bare"),
    [
        ("a.nii", True, "a"),
        ("a.b.NII.GZ", True, "a.b"),
        ("a.Nii.gz", True, "a"),
        ("x.nii.nii.gz", True, "x.nii"),
        ("a.mgz", True, "a"),
        ("a.MGH", True, "a"),
        ("a.img", True, "a"),
        ("a.img.gz", True, "a"),
        ("a.hdr", False, "a"),
        ("a.gz", False, "a.gz"),
        ("nii", False, "nii"),
        ("a.nii.txt", False, "a.nii.txt"),
        ("a.nrrd", False, "a.nrrd"),
    ],
)
def test_endings_in_any_case(name, taken, bare, tmp_path):
    assert is_volume(tmp_path / name) is taken
    assert stem(tmp_path / name) == bare


@pytest.mark.parametrize(
    ("one", "other"), [("a.img", "a.hdr"), ("A.HDR", "A.IMG"), ("a.img.gz", "a.hdr.gz"), ("a.nii", None)]
)
def test_the_two_files_of_a_pair_know_each_other(one, other, tmp_path):
    assert partner(tmp_path / one) == (other and tmp_path / other)


@pytest.mark.parametrize(
    ("name", "title", "word"),
    [
        ("a.nrrd", "NRRD", "SimpleITK"),
        ("a.MHA", "MetaImage", "SimpleITK"),
        ("a.dcm", "DICOM", "dcm2niix"),
        ("a.npy", "NumPy", "affine"),
        ("a.mnc", "MINC", "nibabel"),
        ("a.nii.BZ2", "bzip2", "bunzip2"),
        ("a.nii.xz", "xz", "unxz"),
        ("a.nii.zst", "zstd", "zstd"),
    ],
)
def test_foreign_formats_are_named_with_a_remedy(name, title, word, tmp_path):
    found = foreign_format(tmp_path / name)
    assert title in found.name
    assert word in found.remedy
    assert foreign_format(tmp_path / "a.nii.gz") is foreign_format(tmp_path / "a.json") is None


def test_the_lines_that_convert_work_when_pasted(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    folder = tmp_path / "it's $HOME"
    volume = write_volume(folder / "a.nii.gz", np.arange(24.0, dtype=np.float32).reshape(2, 3, 4), GRID)
    sitk.WriteImage(sitk.ReadImage(str(volume)), str(folder / "b.nrrd"))
    remedy = foreign_format(folder / "b.nrrd").remedy
    for line, result in (
        (remedy[remedy.index("python") : remedy.rindex(" (after")], "b_converted.nii.gz"),
        (with_nibabel(volume), "a_converted.nii.gz"),
    ):
        words = shlex.split(line)
        assert words[0] == "python"
        subprocess.run([sys.executable, *words[1:]], check=True)
        voxels, grid = read_voxels(folder / result)
        assert np.array_equal(voxels, read_voxels(volume)[0])
        assert grid.matches(GRID)


@pytest.mark.parametrize(("ending", "pack"), [("bz2", bz2.compress), ("xz", lzma.compress)])
def test_the_lines_that_unpack_work_when_pasted(ending, pack, tmp_path):
    folder = tmp_path / "it's $HOME"
    volume = write_volume(folder / "a.nii", np.arange(24.0, dtype=np.float32).reshape(2, 3, 4), GRID)
    packed = folder / f"b.nii.{ending}"
    packed.write_bytes(pack(volume.read_bytes()))
    line = foreign_format(packed).remedy.removeprefix("unpack it: ")
    if not shutil.which(shlex.split(line)[0]):
        pytest.skip(f"no {shlex.split(line)[0]} here")
    subprocess.run(["bash", "-c", line], check=True)
    assert packed.is_file()
    assert (folder / "b.nii").read_bytes() == volume.read_bytes()
