"""The check lists every problem with its file, and says whether a cohort can be used."""

from __future__ import annotations

import gzip
import io
import time

import numpy as np
import pytest
from reader_trees import WRITERS, atlas_v1_indi, atlas_v2, isles2022, mask, own_folder, siss, write
from rich.console import Console

from strokelab.data import check, read_cases
from strokelab.data.check import check_cohort
from strokelab.data.check_tables import render
from strokelab.errors import ConfigError


def problems(report, severity):
    return {problem.file: problem.message for problem in report.problems if problem.severity == severity}


def printed(report, width=160):
    console = Console(file=io.StringIO(), width=width)
    render(report, console)
    return console.file.getvalue()


@pytest.mark.parametrize("dataset", WRITERS)
def test_a_sound_cohort_is_ok(tmp_path, dataset):
    report = check_cohort(WRITERS[dataset](tmp_path), dataset)
    assert report.ok, report.problems
    assert problems(report, "error") == {}
    assert report.voxels_read
    assert "ready" in printed(report)


def test_what_lies_there(tmp_path):
    report = check_cohort(atlas_v1_indi(tmp_path), "atlas_v1")
    assert (report.cases, report.subjects, report.labelled) == (10, 9, 10)
    assert report.sites["Site8"] == 2
    assert sum(report.sites.values()) == 10
    assert report.modalities == {"T1w": 10}
    assert report.grids == {"T1w": {"4 x 5 x 6, 1 x 1 x 1 mm, RAS": 10}}
    # 2 voxels of 1 mm^3 everywhere, 4 where three masks are united.
    assert report.lesion_volumes_ml["031770_t01"] == pytest.approx(0.004)
    assert report.volume_quartiles_ml == pytest.approx((0.002, 0.002, 0.002, 0.002, 0.004))
    text = printed(report)
    assert "10 of 9 subjects" in text
    assert "Site8 (2)" in text
    assert "0.002 to 0.004" in text


def test_voxel_size_counts_in_volumes(tmp_path):
    report = check_cohort(isles2022(tmp_path), "isles2022")
    assert list(report.lesion_volumes_ml.values()) == pytest.approx([0.008, 0.008, 0])


def test_test_sets_are_looked_at_without_being_asked_for(tmp_path):
    report = check_cohort(atlas_v2(tmp_path), "atlas_v2")
    assert (report.cases, report.labelled) == (4, 3)
    assert check_cohort(tmp_path, "atlas_v2", subset="training").cases == 3


def test_every_incomplete_case_is_listed(tmp_path):
    root = siss(tmp_path)
    first, second, _ = read_cases("isles2015_siss", root)
    first.images["T2"].unlink()
    second.lesions[0].path.unlink()
    report = check_cohort(root, "isles2015_siss")
    assert not report.ok
    assert set(problems(report, "error")) == {"case siss-1", "case siss-2"}
    assert report.cases == 2  # siss-10 and the test case


def test_all_cases_incomplete_are_all_listed(tmp_path):
    root = siss(tmp_path)
    for case in read_cases("isles2015_siss", root, subset="all"):
        case.images["T2"].unlink()
    report = check_cohort(root, "isles2015_siss")
    assert len(problems(report, "error")) == 4
    assert "not usable" in printed(report)


def test_a_wrong_dataset_is_one_error(tmp_path):
    report = check_cohort(isles2022(tmp_path), "isles2015_siss")
    (message,) = problems(report, "error").values()
    assert "looks like isles2022" in message
    with pytest.raises(ConfigError):
        check_cohort(tmp_path, "isles")


def test_files_that_are_no_whole_nifti(tmp_path):
    root = atlas_v1_indi(tmp_path)
    cases = read_cases("atlas_v1", root)
    texts, header, voxels, mask_file = (
        cases[0].images["T1w"],
        cases[1].images["T1w"],
        cases[2].images["T1w"],
        cases[3].lesions[0].path,
    )
    texts.write_text("this is no image")
    header.write_bytes(header.read_bytes()[:60])  # a gzip stream that ends inside the header
    noise = np.random.default_rng(0).normal(size=(40, 50, 60))
    write(voxels, noise)
    voxels.write_bytes(voxels.read_bytes()[:-5000])
    write(mask_file, noise)
    mask_file.write_bytes(mask_file.read_bytes()[:-5000])
    report = check_cohort(root, "atlas_v1")
    assert {str(file) for file in (texts, header, voxels, mask_file)} <= set(problems(report, "error"))
    assert len(report.lesion_volumes_ml) == 6


@pytest.mark.parametrize("ext", [".nii", ".nii.gz"])
def test_truncated_voxels_are_found_without_reading_them(tmp_path, ext, monkeypatch):
    monkeypatch.setattr(check, "FREE_VOXELS", 0)
    root = siss(tmp_path, ext)
    file = read_cases("isles2015_siss", root)[0].images["DWI"]
    whole = gzip.decompress(file.read_bytes()) if ext.endswith(".gz") else file.read_bytes()
    file.write_bytes(gzip.compress(whole[:-8]) if ext.endswith(".gz") else whole[:-8])
    report = check_cohort(root, "isles2015_siss")
    assert not report.voxels_read
    assert list(problems(report, "error")) == [str(file)]
    assert f"{len(whole) - 8} bytes" in problems(report, "error")[str(file)]


def test_a_gzip_file_in_several_parts_is_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "FREE_VOXELS", 0)
    root = siss(tmp_path, ".nii.gz")
    file = read_cases("isles2015_siss", root)[0].images["DWI"]
    whole = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(whole[:400]) + gzip.compress(whole[400:]))
    assert check_cohort(root, "isles2015_siss").ok


def test_dimensions_and_grids(tmp_path):
    root = atlas_v1_indi(tmp_path)
    cases = read_cases("atlas_v1", root)
    write(cases[0].images["T1w"], shape=(4, 5, 6, 2))
    shifted = np.eye(4)
    shifted[0, 3] = 2
    write(cases[1].lesions[0].path, mask((1, 1, 1)), affine=shifted)
    errors = problems(check_cohort(root, "atlas_v1"), "error")
    assert "4 dimensions" in errors[str(cases[0].images["T1w"])]
    message = errors[str(cases[1].lesions[0].path)]
    assert str(cases[1].images["T1w"]) in message
    assert "(1, 0, 0, 2)" in message
    assert "(1, 0, 0, 0)" in message


def test_a_brain_mask_on_another_grid(tmp_path):
    root = own_folder(tmp_path)
    write(root / "brain" / "ann.nii.gz", np.ones((3, 3, 3)))
    assert list(problems(check_cohort(root, "folder"), "error")) == [str(root / "brain" / "ann.nii.gz")]


def test_images_on_several_grids_only_where_one_is_promised(tmp_path):
    root = siss(tmp_path / "siss")
    file = read_cases("isles2015_siss", root)[0].images["DWI"]
    write(file, shape=(3, 3, 3))
    report = check_cohort(root, "isles2015_siss")
    assert report.ok
    assert "another grid than FLAIR" in problems(report, "warning")[str(file)]
    assert problems(check_cohort(isles2022(tmp_path / "isles"), "isles2022"), "warning") == {}


def test_masks_state_the_rule_that_is_applied(tmp_path):
    root = siss(tmp_path)
    two, soft, empty = (case.lesions[0].path for case in read_cases("isles2015_siss", root))
    write(two, mask((1, 1, 1), value=200))
    values = mask((1, 1, 1), (1, 1, 2), shape=(4, 5, 7)).astype(np.float32)
    values[1, 1, 2] = 0.3
    write(soft, values)
    write(empty, mask())
    report = check_cohort(root, "isles2015_siss")
    assert report.ok
    warned = problems(report, "warning")
    assert "voxels above 100 count as lesion" in warned[str(two)]
    assert "voxels above 0.5 count as lesion" in warned[str(soft)]
    assert "empty mask" in problems(report, "note")[str(empty)]
    assert report.lesion_volumes_ml == {"siss-1": 0.001, "siss-2": 0.001, "siss-10": 0.0}


def test_bad_voxels_in_images(tmp_path):
    root = siss(tmp_path)
    first, second, third = read_cases("isles2015_siss", root)
    ramp = np.arange(120, dtype=np.float32).reshape(4, 5, 6)
    ramp[0, 0, 0], ramp[0, 0, 1] = np.nan, np.inf
    write(first.images["T1"], ramp)
    write(second.images["T2"], np.full((4, 5, 7), 3.0))
    third.images["DWI"].write_bytes(first.images["DWI"].read_bytes())
    report = check_cohort(root, "isles2015_siss")
    assert "2 voxels are NaN or Inf" in problems(report, "warning")[str(first.images["T1"])]
    assert "every voxel is 3" in problems(report, "error")[str(second.images["T2"])]
    assert str(first.images["DWI"]) in problems(report, "warning")[str(third.images["DWI"])]


def test_large_cohorts_are_read_deeply_only_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(check, "FREE_VOXELS", 0)
    root = siss(tmp_path)
    file = read_cases("isles2015_siss", root)[0].images["T2"]
    write(file, np.zeros((4, 5, 6)))
    quick, deep = check_cohort(root, "isles2015_siss"), check_cohort(root, "isles2015_siss", deep=True)
    assert (quick.ok, deep.ok) == (True, False)
    assert "not read" in printed(quick)
    assert list(problems(deep, "error")) == [str(file)]


def test_sites(tmp_path):
    lonely = check_cohort(own_folder(tmp_path / "own"), "folder")
    assert set(problems(lonely, "warning")) == {"site Lyon", "site Oslo"}
    unknown = check_cohort(isles2022(tmp_path / "isles"), "isles2022")
    assert unknown.sites == {}
    assert any("3 of 3 cases is unknown" in problem.message for problem in unknown.problems)
    assert "unknown (3)" in printed(unknown)


def test_published_counts_and_errata_are_notes(tmp_path):
    root = atlas_v2(tmp_path)
    anat = root / "Training/R009/sub-r009s003/ses-1/anat"
    stem = "sub-r009s003_ses-1_space-MNI152NLin2009aSym"
    write(anat / f"{stem}_T1w.nii.gz")
    write(anat / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", mask((1, 1, 1)))
    report = check_cohort(root, "atlas_v2")
    notes = problems(report, "note")
    assert "655 (Training)" in notes[str(root)]
    assert "mislabelled" in notes["case sub-r009s003_ses-1"]
    assert report.ok


def test_equal_problems_are_gathered_and_errors_keep_all_their_files(tmp_path):
    root = atlas_v1_indi(tmp_path)
    report = check_cohort(root, "atlas_v1")
    assert len([p for p in report.problems if "values 0 and 255" in p.message]) == 10
    assert printed(report).count("voxels above 127.5 count as lesion") == 1
    for case in read_cases("atlas_v1", root):
        write(case.images["T1w"], np.zeros((4, 5, 6)))
    text = printed(check_cohort(root, "atlas_v1"))
    assert all(case.images["T1w"].name in text for case in read_cases("atlas_v1", root))


def test_errors_of_one_sentence_are_one_whatever_their_files_are_called(tmp_path):
    root = tmp_path / ("a_long_folder_name_" * 6) / "c"
    shape = (4, 5, 6)
    for number in range(14):
        place = root / "Site1" / f"0318{number:02}" / "t01"
        write(place / f"0318{number:02}_t1w_deface_stx.nii.gz", np.full(shape, 3 + number))
    report = check_cohort(root, "atlas_v1")
    assert len({problem.message for problem in report.problems if problem.severity == "error"}) == 14
    text = printed(report, width=100_000)
    assert text.count("error: ") == 1
    assert text.count("LesionSmooth") == 1
    assert "    and 4 more\n" in text
    assert "--json" in text


def test_where_there_is_no_terminal_only_a_path_is_longer_than_a_line(tmp_path):
    root = atlas_v1_indi(tmp_path / ("a_long_folder_name_" * 9))
    for case in read_cases("atlas_v1", root)[:4]:
        write(case.images["T1w"], np.zeros((4, 5, 6)))
    report = check_cohort(root, "atlas_v1")
    lines = printed(report, width=100_000).splitlines()
    assert f"atlas_v1 in {root}" in lines, "a path is not cut"
    assert {
        f"    {problem.file.removeprefix(f'{root}/')}" for problem in report.problems if problem.severity == "error"
    } <= {*lines}
    assert not [line for line in lines if len(line) > 160 and str(root) not in line]


def test_brackets_in_names_are_no_markup(tmp_path):
    root = own_folder(tmp_path / "[red]data")
    write(root / "labels" / "ann.nii.gz", mask())
    assert "[red]data" in printed(check_cohort(root, "folder")).replace("\n", "")  # wrapped wherever the path ends


def test_two_hundred_cases_take_seconds(tmp_path):
    shape = (49, 58, 47)  # full size at 4 mm
    image = np.random.default_rng(0).normal(100, 20, shape)
    for number in range(200):
        write(tmp_path / "images" / f"case{number}_T1w.nii.gz", image + number, kind=np.int16)
        write(tmp_path / "labels" / f"case{number}.nii.gz", mask((1, 1, 1), shape=shape), kind=np.uint8)
    begin = time.perf_counter()
    report = check_cohort(tmp_path, "folder")
    assert time.perf_counter() - begin < 15
    assert (report.ok, report.cases, report.voxels_read) == (True, 200, True)


@pytest.mark.parametrize("free", [0, check.FREE_VOXELS])
@pytest.mark.parametrize("kind", ["images", "labels", "brain"])
def test_what_gzip_refuses_is_not_ready(tmp_path, monkeypatch, kind, free):
    """One bit of the checksum: all voxels can still be unpacked."""
    monkeypatch.setattr(check, "FREE_VOXELS", free)
    shape = (6, 7, 8)
    name = "case_T1w.nii.gz" if kind == "images" else "case.nii.gz"
    write(tmp_path / "images" / "case_T1w.nii.gz", np.random.default_rng(0).normal(100, 20, shape))
    for folder in ("labels", "brain"):
        write(tmp_path / folder / "case.nii.gz", mask((1, 1, 1), shape=shape), kind=np.uint8)
    assert check_cohort(tmp_path, "folder").ok
    path = tmp_path / kind / name
    whole = bytearray(path.read_bytes())
    whole[-8] ^= 1
    path.write_bytes(whole)
    report = check_cohort(tmp_path, "folder")
    assert not report.ok
    assert [*problems(report, "error")] == [str(path)]
