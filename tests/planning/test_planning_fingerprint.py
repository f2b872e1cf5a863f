"""The geometry of a cohort, from its files."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from strokelab.contract import Case
from strokelab.errors import DataError
from strokelab.grid import Grid, Orient
from strokelab.planning import fingerprint
from strokelab.preparation import nonzero
from strokelab.preparation.recipe import Preparation

T1W = Preparation(("T1w",), box="nonzero")


def scan(folder, name, box, shape=(20, 24, 18), codes="RAS", spacing=1.0) -> Case:
    """A volume that is zero outside ``box`` (slices in RAS), stored in axes of any direction."""
    voxels = np.zeros(shape, dtype=np.float32)
    voxels[box] = np.random.default_rng(0).uniform(1, 2, voxels[box].shape)
    orient = Orient(Grid.of(shape, np.diag([spacing, spacing, spacing, 1.0])), codes)
    path = folder / f"{name}.nii.gz"
    nib.save(nib.Nifti1Image(orient.apply(voxels), orient.target.matrix), path)
    return Case(name, name, "folder", None, {"T1w": path})


BOX = np.s_[2:17, 5:20, 3:15]


def test_geometry_is_the_same_however_a_file_turns_its_axes(tmp_path):
    cases = [scan(tmp_path, codes, BOX, codes=codes, spacing=1.5) for codes in ("RAS", "LPS", "PIR", "ASL")]
    seen = fingerprint(cases, T1W, store=tmp_path / "store", workers=2)
    assert np.allclose(seen.spacings, 1.5)
    assert (seen.shapes == (20, 24, 18)).all()
    assert (seen.boxes == (15, 15, 12)).all()
    assert seen.median_box_share == pytest.approx(15 * 15 * 12 / (20 * 24 * 18))
    turned = fingerprint(cases[2:3], replace(T1W, orientation="file"), store=tmp_path / "store")
    assert turned.boxes.tolist() == [[15, 12, 15]]  # P, I, R


def test_voxels_are_read_once_for_all_plans(tmp_path, monkeypatch):
    cases = [scan(tmp_path, f"c{i}", BOX) for i in range(3)]
    first = fingerprint(cases, T1W, store=tmp_path / "store")
    with monkeypatch.context() as patch:
        patch.setattr(nonzero, "read_voxels", lambda path: pytest.fail(f"{path} read again"))
        again = fingerprint(cases, T1W, store=tmp_path / "store")
    assert (again.boxes == first.boxes).all()
    scan(tmp_path, "c1", np.s_[4:10, 5:20, 3:15])  # another content under the same name
    assert fingerprint(cases, T1W, store=tmp_path / "store").boxes[1].tolist() == [6, 15, 12]


def test_the_box_holds_what_any_modality_shows(tmp_path):
    left, right = scan(tmp_path, "a", np.s_[2:8, 5:9, 3:6]), scan(tmp_path, "b", np.s_[12:16, 7:20, 3:15])
    both = replace(left, images={"T1w": left.images["T1w"], "FLAIR": right.images["T1w"]})
    seen = fingerprint([both], Preparation(("T1w", "FLAIR"), box="nonzero"), store=tmp_path / "store")
    assert seen.boxes.tolist() == [[14, 15, 12]]


def test_a_damaged_file_and_a_store_that_cannot_be_written_are_named(tmp_path):
    case = scan(tmp_path, "a", BOX)
    (tmp_path / "taken").write_text("a file where the store should be")
    with pytest.raises(DataError, match=r"data\.store"):
        fingerprint([case], T1W, store=tmp_path / "taken")
    content = case.images["T1w"].read_bytes()
    case.images["T1w"].write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"a\.nii\.gz"):
        fingerprint([case], T1W, store=tmp_path / "store")
