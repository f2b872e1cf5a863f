import hashlib
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from strokelab.errors import ConfigError, DataError
from strokelab.phantoms.cohort import RECORD, TRUTH, _write_one, read_truth, write_cohort
from strokelab.phantoms.layouts import atlas_v1, layout_names
from strokelab.phantoms.settings import Settings

SMALL = {"spacing": 8.0, "sites": 2, "cases_per_site": 2, "progress": False}


def prints(root: Path) -> dict[str, str]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_there_is_a_layout_for_each_dataset():
    assert layout_names() == ["atlas_v1", "atlas_v2", "bids", "isles2015_siss", "isles2015_spes", "isles2022"]


@pytest.mark.parametrize(("layout", "workers"), [("atlas_v1", 2), ("isles2015_siss", 1), ("isles2022", 1)])
def test_files_are_the_same_bit_for_bit_whoever_writes_them(tmp_path, layout, workers):
    one = write_cohort(layout, tmp_path / "one", workers=1, **SMALL)
    again = write_cohort(layout, tmp_path / "again", workers=workers, **SMALL)
    assert prints(one) == prints(again)


def test_files_are_the_same_bit_for_bit_on_any_number_of_threads(tmp_path):
    """Of this subject one grey value was another with two threads of BLAS."""
    settings = Settings.of("atlas_v1", spacing=4.0, sites=5, cases_per_site=10, seed=0, options={"smallest_mm3": 4000})
    (subject,) = [one for one in atlas_v1.plan(settings) if "031868" in str(one)]
    for threads in (1, 2):
        with threadpool_limits(threads, user_api="blas"):
            _write_one("atlas_v1", tmp_path / str(threads), subject)
    assert prints(tmp_path / "1") == prints(tmp_path / "2")


def test_another_seed_gives_other_scans(tmp_path):
    one = write_cohort("isles2015_spes", tmp_path / "one", seed=1, **SMALL)
    two = write_cohort("isles2015_spes", tmp_path / "two", seed=2, **SMALL)
    a, b = prints(one), prints(two)
    assert not {name for name in set(a) & set(b) if name.endswith(".nii") and a[name] == b[name]}


def test_a_finished_cohort_is_reused_and_others_are_refused_or_replaced(tmp_path):
    root = write_cohort("atlas_v1", tmp_path / "c", **SMALL)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert write_cohort("atlas_v1", str(root), workers=2, **SMALL) == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    with pytest.raises(DataError, match=r"seed = 0(.|\n)*seed = 1"):
        write_cohort("atlas_v1", root, seed=1, **SMALL)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    write_cohort("atlas_v1", root, seed=1, overwrite=True, **SMALL)
    assert json.loads((root / RECORD).read_text())["seed"] == 1
    assert not set(before) & set(root.rglob("*_t1w_*.nii.gz"))


@pytest.mark.parametrize("overwrite", [False, True])
def test_foreign_folders_and_files_are_never_touched(tmp_path, overwrite):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("mine", "file"):
        with pytest.raises(DataError, match="phantom cohort"):
            write_cohort("atlas_v1", tmp_path / name, overwrite=overwrite, **SMALL)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "mine"


def test_only_the_trees_of_the_real_release_are_wanted_when_no_number_is_given(tmp_path):
    root = write_cohort("isles2015_siss", tmp_path / "c", spacing=10.0, sites=1, cases_per_site=None, progress=False)
    assert len(read_truth(root)) == 28


def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch):
    real = atlas_v1.write
    calls = []

    def fails_on_the_third(subject, root):
        calls.append(subject)
        if len(calls) == 3:
            raise OSError("disk full")
        return real(subject, root)

    monkeypatch.setattr(atlas_v1, "write", fails_on_the_third)
    with pytest.raises(OSError, match="disk full"):
        write_cohort("atlas_v1", tmp_path / "c", **SMALL)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []
    # What a killed process leaves behind is cleared, not reused.
    (tmp_path / ".c.partial" / "Site1").mkdir(parents=True)
    monkeypatch.setattr(atlas_v1, "write", real)
    root = write_cohort("atlas_v1", tmp_path / "c", **SMALL)
    assert len(read_truth(root)) == 4
    assert not (tmp_path / ".c.partial").exists()


def test_an_existing_empty_folder_is_fine(tmp_path):
    (tmp_path / "c").mkdir()
    assert (write_cohort("isles2022", tmp_path / "c", **SMALL) / TRUTH).is_file()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layout": "atlas_v3"}, "atlas_v1, atlas_v2"),
        ({"spacing": 0.5}, "1 to 10 mm"),
        ({"sites": 0}, "at least 1"),
        ({"cases_per_site": [3]}, "2 positive numbers"),
        ({"cases_per_site": 0}, "2 positive numbers"),
        ({"smallest_mm3": "tiny"}, "10 to 4000"),
        ({"smallest_mm3": 1}, "10 to 4000"),
        ({"form": "dicom"}, "indi, icpsr"),
        ({"colour": "red"}, "unknown options"),
    ],
)
def test_wrong_settings_are_named_before_anything_is_written(tmp_path, settings, message):
    wanted = {"layout": "atlas_v1", **SMALL, **settings}
    with pytest.raises(ConfigError, match=message):
        write_cohort(wanted.pop("layout"), tmp_path / "c", **wanted)
    assert not list(tmp_path.iterdir())


def test_truth_tells_every_case_and_its_scanner(tmp_path):
    root = write_cohort("atlas_v1", tmp_path / "c", spacing=8.0, sites=3, cases_per_site=[1, 3, 2], progress=False)
    rows = read_truth(root)
    assert [row["site"] for row in rows] == ["Site1"] + ["Site2"] * 3 + ["Site3"] * 2
    for row in rows:
        folder = root / row["site"] / row["subject"] / row["visit"]
        masks = [nib.load(p).get_fdata() > 0 for p in sorted(folder.glob("[!.]*LesionSmooth*"))]
        assert len(masks) == int(row["lesions"])
        union = np.any(masks, axis=0)
        assert union.sum() == int(row["lesion_voxels"])
        assert union.sum() * 512 == float(row["lesion_mm3"])
    assert len({row["scanner_grey"] for row in rows}) == 3


def test_a_coarse_cohort_may_leave_out_the_smallest(tmp_path):
    root = write_cohort(
        "atlas_v1", tmp_path / "c", spacing=8, sites=1, cases_per_site=12, smallest_mm3=2000, progress=False
    )
    planned = [float(row["planned_mm3"]) for row in read_truth(root)]
    assert 2000 <= min(planned) < 5000
    assert json.loads((root / RECORD).read_text())["options"] == {"smallest_mm3": 2000}
