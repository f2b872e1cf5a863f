"""Damage anywhere in a file of voxels: an error that names the file, or voxels that are right. Never anything else."""

import gzip
import math
import shutil
import warnings

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strokelab.contract import LesionFile
from strokelab.errors import DataError
from strokelab.grid import Grid
from strokelab.nifti import read_grid, read_lesion, read_voxels, verify

SHAPE = (9, 10, 11)
GRID = Grid.of(SHAPE, [[-1.5, 0, 0, 20], [0, 2, 0, -30], [0, 0, 2.5, 5], [0, 0, 0, 1]])
IMAGE = np.random.default_rng(0).normal(300, 80, SHAPE).astype(np.int16)
MASK = np.zeros(SHAPE, np.uint8)
MASK[2:6, 3:7, 4:9] = 255
often = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
bits = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=3)


def content(voxels, kind=nib.Nifti1Image):
    """The bytes of a file, unpacked."""
    image = kind(voxels, GRID.matrix)
    image.header.set_data_dtype(voxels.dtype)
    return image.to_bytes()


PLAIN = {
    "image": content(IMAGE),
    "mask": content(MASK),
    "nifti2": content(MASK, nib.Nifti2Image),
    "mgh": content(IMAGE.astype(np.int32), nib.MGHImage),
}
VOXELS = {"image": IMAGE, "mask": MASK, "nifti2": MASK, "mgh": IMAGE}


def flipped(whole, flips, start=0, stop=None):
    """The same bytes with some bits turned over."""
    changed = bytearray(whole)
    stop = len(whole) if stop is None else stop
    for place, bit in flips:
        changed[start + int(place * (stop - start))] ^= 1 << bit
    return bytes(changed)


def refusal(reader, path):
    """What a reader says against a file, and what it reads: one of the two is None."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return None, reader(path)
        except DataError as error:
            return error, None


def read(path):
    """The voxels of a file, read in every way; None where it is refused by name."""
    for reader in (read_grid, verify, lambda p: read_lesion([LesionFile(p)], GRID, p), read_voxels):
        error, found = refusal(reader, path)
        if error is not None:
            assert str(path) in error.where
            assert all((error.found, error.expected, error.remedy))
    return None if found is None else found[0]


@pytest.mark.parametrize("which", PLAIN)
@often
@given(flips=bits)
def test_flips_anywhere_in_what_is_packed(which, flips, tmp_path):
    path = tmp_path / ("a.mgz" if which == "mgh" else "a.nii.gz")
    path.write_bytes(flipped(gzip.compress(PLAIN[which], mtime=0), flips))
    voxels = read(path)
    assert voxels is None or np.array_equal(voxels, VOXELS[which])


@pytest.mark.parametrize("which", PLAIN)
@pytest.mark.parametrize("packed", [True, False])
@often
@given(flips=bits)
def test_flips_in_the_header_with_a_sound_checksum(which, packed, flips, tmp_path):
    end = {"mgh": 284, "nifti2": 544}.get(which, 352)
    path = tmp_path / ("a.mgz" if which == "mgh" else "a.nii.gz")
    changed = flipped(PLAIN[which], flips, stop=end)
    path.write_bytes(gzip.compress(changed) if packed else changed)
    voxels = read(path)  # what an MGH header leaves over may be its footer
    assert voxels is None or which == "mgh" or math.prod(voxels.shape) == IMAGE.size


@often
@given(noise=st.binary(min_size=0, max_size=600), at=st.integers(0, 360))
def test_any_bytes_in_the_header_and_any_file(noise, at, tmp_path):
    for name, whole in (("a.nii", PLAIN["mask"][:at] + noise + PLAIN["mask"][at + len(noise) :]), ("b.nii", noise)):
        (tmp_path / name).write_bytes(whole)
        read(tmp_path / name)


FIELDS = {
    "datatype 0": (70, np.int16(0)),
    "datatype 99": (70, np.int16(99)),
    "vox_offset 0": (108, np.float32(0)),
    "vox_offset nan": (108, np.float32(np.nan)),
    "vox_offset odd": (108, np.float32(352.5)),
    "vox_offset far": (108, np.float32(1e30)),
    "sizeof_hdr": (0, np.int32(349)),
    "dim huge": (42, np.full(3, 32767, np.int16)),
    "dim negative": (42, np.int16(-9)),
    "dim none": (40, np.int16(0)),
    "dim many": (40, np.int16(77)),
    "dim smaller": (42, np.int16(8)),
    "slope inf": (112, np.float32(np.inf)),
    "inter nan": (112, np.array([1, np.nan], np.float32)),
    "magic": (344, np.frombuffer(b"xyz", np.uint8)),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_fields_that_cannot_be_are_refused(field, name, tmp_path):
    offset, value = FIELDS[field]
    changed = bytearray(PLAIN["mask"])
    changed[offset : offset + value.nbytes] = value.tobytes()
    (tmp_path / name).write_bytes(gzip.compress(changed) if name.endswith(".gz") else changed)
    assert read(tmp_path / name) is None


def test_a_slope_that_is_no_number_means_no_scaling(tmp_path):
    changed = bytearray(PLAIN["mask"])
    changed[112:116] = np.float32(np.nan).tobytes()
    (tmp_path / "a.nii").write_bytes(changed)
    assert np.array_equal(read(tmp_path / "a.nii"), MASK)


def test_a_broken_extension_does_not_reach_the_voxels(tmp_path):
    image = nib.Nifti1Image(MASK, GRID.matrix)
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"scanned on a Monday"))
    whole = bytearray(image.to_bytes())
    whole[352:356] = np.int32(1 << 30).tobytes()
    (tmp_path / "a.nii").write_bytes(whole)
    assert np.array_equal(read(tmp_path / "a.nii"), MASK)


def test_the_last_byte_counts(tmp_path):
    """Whatever gzip -t refuses is refused, even where all voxels could be unpacked."""
    whole = gzip.compress(PLAIN["mask"])
    cases = {
        "checksum": flipped(whole, [(0, 0)], start=len(whole) - 8),
        "length": flipped(whole, [(0, 0)], start=len(whole) - 4),
        "no trailer": whole[:-8],
        "cut trailer": whole[:-1],
        "garbage after": whole + b"garbage",
        "second file after": whole + whole,
    }
    for name, changed in cases.items():
        path = tmp_path / f"{name}.nii.gz"
        path.write_bytes(changed)
        for reader in (read_voxels, verify, lambda p: read_lesion([LesionFile(p)], GRID, p)):
            with pytest.raises(DataError, match=name):
                reader(path)


def test_parts_packed_one_by_one_and_padding_are_one_file(tmp_path):
    whole = PLAIN["image"]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(gzip.compress(whole[i : i + 500]) for i in range(0, len(whole), 500)))
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(whole) + bytes(512))
    for name in ("a.nii.gz", "b.nii.gz"):
        assert np.array_equal(read(tmp_path / name), IMAGE)


def test_headers_that_promise_more_than_a_file_can_hold_allocate_nothing(tmp_path):
    changed = bytearray(PLAIN["mask"])
    changed[42:48] = np.full(3, 32767, np.int16).tobytes()
    for name, whole in (("a.nii", bytes(changed)), ("a.nii.gz", gzip.compress(changed))):
        (tmp_path / name).write_bytes(whole)
        with pytest.raises(DataError) as caught:
            read_grid(tmp_path / name)
        assert str(32767**3 + 352) in caught.value.expected


def test_pairs_are_one_volume_of_two_files(tmp_path):
    nib.save(nib.Nifti1Pair(IMAGE, GRID.matrix), tmp_path / "a.img")
    nib.save(nib.Nifti1Pair(IMAGE, GRID.matrix), tmp_path / "z.img.gz")
    for name in ("a.img", "a.hdr", "z.img.gz", "z.hdr.gz"):
        assert np.array_equal(read(tmp_path / name), IMAGE)
        assert read_grid(tmp_path / name) == GRID
    for name in ("a.img", "a.hdr"):
        (tmp_path / name).rename(tmp_path / name.upper())
    assert np.array_equal(read(tmp_path / "A.IMG"), IMAGE)
    shutil.copy(tmp_path / "A.IMG", tmp_path / "alone.img")
    with pytest.raises(DataError, match=r"no alone\.hdr"):
        read_grid(tmp_path / "alone.img")
    nib.save(nib.AnalyzeImage(IMAGE, GRID.matrix), tmp_path / "old.img")
    with pytest.raises(DataError, match="does not say where left is"):
        read_grid(tmp_path / "old.img")


@pytest.mark.parametrize("name", ["a.mgz", "a.mgh", "A.MGZ"])
def test_volumes_of_freesurfer(name, tmp_path):
    plain = PLAIN["mgh"]
    (tmp_path / name).write_bytes(plain if name.endswith("h") else gzip.compress(plain))
    assert np.array_equal(read(tmp_path / name), IMAGE)
    assert read_grid(tmp_path / name).matches(GRID)


def test_other_formats_are_called_by_their_name(tmp_path):
    (tmp_path / "a.nrrd").write_bytes(b"NRRD0004\n")
    with pytest.raises(DataError, match="SimpleITK") as caught:
        read_voxels(tmp_path / "a.nrrd")
    assert "NRRD" in caught.value.found
