"""Where a brain mask comes from: the case's own file, words of the settings, programs on the PATH (stand-ins here)."""

import os
import stat
import sys

import numpy as np
import pytest

from strokelab.contract import Case
from strokelab.data.any_scans import find_any_scans
from strokelab.data.new_scans import find_scans
from strokelab.errors import ConfigError, DataError
from strokelab.grid import Grid
from strokelab.nifti import write_volume
from strokelab.preparation.brain import find_brain
from strokelab.preparation.intake import Intake
from strokelab.preparation.recipe import Preparation, prepare

GRID = Grid.of((12, 14, 10), np.diag([-3.0, 3, 3, 1]))
STAND_IN = """#!{python}
import sys, nibabel as nib, numpy as np
given = dict(zip(sys.argv[1::1], sys.argv[2::1]))
image = nib.load(given["-i"])
mask = (np.asarray(image.dataobj) > {level}).astype(np.uint8)
nib.save(nib.Nifti1Image(mask, image.affine), {place})
sys.exit({status})
"""
PLACES = {"synthstrip": ("mri_synthstrip", 'given["-m"]'), "hd-bet": ("hd-bet", 'given["-o"][:-7] + "_bet.nii.gz"')}


@pytest.fixture
def scan(tmp_path):
    voxels = np.random.default_rng(0).uniform(1, 50, GRID.shape).astype(np.float32)
    voxels[3:9, 4:10, 2:8] += 100
    image = write_volume(tmp_path / "scans" / "sub-1_T1w.nii.gz", voxels, GRID)
    return Case("sub-1", "sub-1", "x", None, {"T1w": image}), voxels


def install(folder, name, monkeypatch, level=80, status=0):
    command, place = PLACES[name]
    file = folder / "bin" / command
    file.parent.mkdir(exist_ok=True)
    file.write_text(STAND_IN.format(python=sys.executable, level=level, place=place, status=status))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("name", PLACES)
def test_a_program_on_the_path_finds_the_brain(name, scan, tmp_path, monkeypatch):
    case, voxels = scan
    install(tmp_path, name, monkeypatch)
    brain, source = find_brain(case, GRID, voxels, name)
    assert source == name
    assert np.array_equal(brain, voxels > 80)
    prepared = prepare(case, Preparation(("T1w",), skull=name))
    assert prepared.brain_source == name
    assert prepared.brain.sum() == (voxels > 80).sum()


def test_a_program_that_is_missing_fails_or_finds_nothing_is_named(scan, tmp_path, monkeypatch):
    case, voxels = scan
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no command mri_synthstrip"):
        find_brain(case, GRID, voxels, "synthstrip")
    install(tmp_path, "hd-bet", monkeypatch, level=1000)
    with pytest.raises(DataError, match="without a single voxel"):
        find_brain(case, GRID, voxels, "hd-bet")
    install(tmp_path, "hd-bet", monkeypatch, status=3)
    with pytest.raises(DataError, match="exit status 3"):
        find_brain(case, GRID, voxels, "hd-bet")


def test_words_and_the_cases_own_file(scan, tmp_path):
    case, voxels = scan
    with pytest.raises(DataError, match="nowhere 0"):
        find_brain(case, GRID, voxels, "nonzero")
    assert find_brain(case, GRID, np.where(voxels > 80, voxels, 0), "nonzero")[0].sum() == (voxels > 80).sum()
    assert find_brain(case, GRID, voxels, "estimated")[1] == "estimated"
    write_volume(tmp_path / "scans" / "sub-1_desc-brain_mask.nii.gz", (voxels > 90).astype(np.uint8), GRID)
    for found in (find_scans([tmp_path / "scans"], ("T1w",)), find_any_scans([tmp_path / "scans"])):
        (one,) = found.cases
        for how in ("auto", "nonzero", "synthstrip"):
            brain, source = find_brain(one, GRID, voxels, how)
            assert source == "file"
            assert np.array_equal(brain, voxels > 90)


def test_settings_without_a_word_are_those_of_before():
    own = Preparation(("T1w",))
    assert "skull" not in own.to_json()
    assert Preparation(("T1w",), skull="hd-bet").to_json()["skull"] == "hd-bet"
    assert Intake().applied(own) is own
    assert Intake(brain_mask="nonzero").applied(own).skull == "nonzero"
    for wrong in ({"brain_mask": "bet"}, {"register": "perhaps"}):
        with pytest.raises(ConfigError, match="one of"):
            Intake(**wrong)
    with pytest.raises(ConfigError, match="skull"):
        Preparation(("T1w",), skull="bet")
