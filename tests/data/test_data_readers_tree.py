"""What holds for every reader alike."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from reader_trees import WRITERS, siss, strew_dot_files, write

from strokelab.data import read_cases, readers
from strokelab.data.readers._tree import subset_of
from strokelab.errors import ConfigError, DataError

COUNTS = {
    "atlas_v1": 10,
    "atlas_v2": 3,
    "isles2015_siss": 3,
    "isles2015_spes": 2,
    "isles2022": 3,
    "bids": 3,
    "folder": 2,
}


def test_every_reader_has_a_tree_here():
    assert set(readers.names()) == set(WRITERS) == set(COUNTS)


@pytest.mark.parametrize("ext", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dataset", WRITERS)
def test_finds_the_same_cases_gzipped_or_not_and_between_dot_files(tmp_path, dataset, ext):
    root = WRITERS[dataset](tmp_path / "data", ext)
    clean = read_cases(dataset, root)
    strew_dot_files(root)
    assert read_cases(dataset, root) == clean
    assert len(clean) == COUNTS[dataset]
    assert all(case.dataset == dataset for case in clean)
    assert len({case.case_id for case in clean}) == len(clean)
    files = [file for case in clean for file in (*case.images.values(), *(lesion.path for lesion in case.lesions))]
    assert all(file.is_file() and file.name.endswith(ext) and not file.name.startswith(".") for file in files)


BIDS_LIKE = ("atlas_v2", "isles2022")  # are BIDS trees as well: data=bids reads them


@pytest.mark.parametrize(
    ("dataset", "other"),
    [
        (one, two)
        for one in WRITERS
        for two in WRITERS
        if one != two and two != "folder" and (one != "bids" or two not in BIDS_LIKE)
    ],
)
def test_a_wrong_dataset_is_refused_with_the_right_guess(tmp_path, dataset, other):
    root = WRITERS[other](tmp_path / "data")
    with pytest.raises(DataError, match=f"looks like {other}"):
        read_cases(dataset, root)


@pytest.mark.parametrize("dataset", WRITERS)
def test_an_empty_and_an_absent_root_say_what_is_expected(tmp_path, dataset):
    with pytest.raises(DataError, match="folder is empty") as error:
        read_cases(dataset, tmp_path)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(DataError, match=r"found: +nothing"):
        read_cases(dataset, tmp_path / "absent")


@pytest.mark.parametrize("dataset", WRITERS)
def test_two_copies_of_an_image_are_an_error_naming_both(tmp_path, dataset):
    root = WRITERS[dataset](tmp_path / "data", ".nii.gz")
    first = next(iter(read_cases(dataset, root)[0].images.values()))
    twin = write(first.with_name(first.name.removesuffix(".gz")))
    with pytest.raises(DataError) as error:
        read_cases(dataset, root)
    assert str(first) in error.value.found
    assert str(twin) in error.value.found


@pytest.mark.parametrize("dataset", WRITERS)
def test_two_copies_of_a_mask_are_an_error_naming_both(tmp_path, dataset):
    root = WRITERS[dataset](tmp_path / "data", ".nii.gz")
    first = read_cases(dataset, root)[0].lesions[0].path
    twin = write(first.with_name(first.name.removesuffix(".gz")))
    with pytest.raises(DataError) as error:
        read_cases(dataset, root)
    assert str(first) in error.value.found
    assert str(twin) in error.value.found


@pytest.mark.parametrize("dataset", [name for name in WRITERS if name not in ("bids", "folder")])
def test_a_missing_mask_names_case_pattern_and_what_lies_there(tmp_path, dataset):
    root = WRITERS[dataset](tmp_path / "data")
    case = read_cases(dataset, root)[0]
    case.lesions[0].path.unlink()
    with pytest.raises(DataError) as error:
        read_cases(dataset, root)
    assert case.case_id in error.value.where
    assert case.reference_image.name in error.value.found
    assert any(word in error.value.expected for word in ("Lesion", "mask", "OT", "msk"))


@pytest.mark.parametrize("dataset", [name for name in WRITERS if name != "bids"])
def test_a_missing_modality_names_case_pattern_and_what_lies_there(tmp_path, dataset):
    root = WRITERS[dataset](tmp_path / "data")
    case = read_cases(dataset, root)[0]
    modality, file = list(case.images.items())[-1]
    file.unlink()
    with pytest.raises(DataError) as error:
        read_cases(dataset, root)
    assert case.case_id in error.value.where
    assert modality.lower() in error.value.expected.lower()
    assert case.lesions[0].path.name in error.value.found


def test_an_excluded_case_is_not_even_looked_at(tmp_path):
    root = siss(tmp_path)
    broken = read_cases("isles2015_siss", root)[1]
    broken.images["T2"].unlink()
    assert [case.case_id for case in read_cases("isles2015_siss", root, exclude=["siss-2"])] == ["siss-1", "siss-10"]


def test_an_unknown_exclusion_is_quoted(tmp_path):
    with pytest.raises(ConfigError, match="siss-77"):
        read_cases("isles2015_siss", siss(tmp_path), exclude=["siss-77"])


def test_several_broken_cases_are_counted_in_the_first_error(tmp_path):
    root = siss(tmp_path)
    for case in read_cases("isles2015_siss", root)[:2]:
        case.images["T2"].unlink()
    with pytest.raises(DataError, match="1 more problem"):
        read_cases("isles2015_siss", root)


def test_unknown_datasets_options_and_values_are_config_errors(tmp_path):
    with pytest.raises(ConfigError, match="isles2022"):
        read_cases("isles2021", tmp_path)
    with pytest.raises(ConfigError, match="sub_set"):
        read_cases("isles2015_siss", siss(tmp_path / "siss"), sub_set="all")
    with pytest.raises(ConfigError, match="'both'"):
        read_cases("isles2015_siss", siss(tmp_path / "siss2"), subset="both")


def test_a_link_that_leads_nowhere_and_a_circle_of_links_do_no_harm(tmp_path):
    root = siss(tmp_path / "data")
    (root / "circle").symlink_to(root)
    (root / "template.nii").symlink_to(tmp_path / "not-there.nii")
    assert len(read_cases("isles2015_siss", root)) == 3


def test_linked_folders_are_followed(tmp_path):
    real = siss(tmp_path / "real")
    link = tmp_path / "link"
    link.mkdir()
    (link / "Training").symlink_to(real / "SISS2015_Training")
    assert len(read_cases("isles2015_siss", link)) == 3


@pytest.mark.parametrize(
    ("path", "root", "part"),
    [
        ("ATLAS_2/Testing/R001/a.nii", "ATLAS_2", "testing"),
        ("data/SISS2015_Training/1/a.nii", "data", "training"),
        ("Training/R001/a.nii", "Training", "training"),
        ("test/derivatives/ATLAS/a.nii", ".", "testing"),
        ("test_of_mine/R001/a.nii", ".", None),
        ("R001/testing.nii", ".", None),
    ],
)
def test_the_part_of_a_release_is_told_by_folder_names(path, root, part):
    assert subset_of(Path("/x") / path, Path("/x") / root) == part


def test_a_tree_of_a_thousand_cases_is_scanned_in_seconds_without_opening_a_file(tmp_path):
    for number in range(1000):  # empty files: opening any of them as an image would fail
        name = f"sub-r{number % 40:03d}s{number:04d}"
        anat = tmp_path / "Training" / name[4:8].upper() / name / "ses-1" / "anat"
        anat.mkdir(parents=True)
        (anat / f"{name}_ses-1_space-MNI152NLin2009aSym_T1w.nii.gz").touch()
        (anat / f"{name}_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask.nii.gz").touch()
    begin = time.perf_counter()
    cases = read_cases("atlas_v2", tmp_path)
    assert len(cases) == 1000
    assert len({case.site for case in cases}) == 40
    assert time.perf_counter() - begin < 5


def test_reading_needs_neither_torch_nor_pandas():
    code = (
        "import sys; from strokelab.data import read_cases; from strokelab.data import check;"
        "from strokelab.data.readers import folder, isles2022;"
        "print([m for m in ('torch', 'pandas', 'lightning', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_name_of_the_room_is_an_attribute_error():
    import strokelab.data

    with pytest.raises(AttributeError, match="ATLASv3"):
        _ = strokelab.data.ATLASv3
