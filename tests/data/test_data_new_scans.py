"""Scans of which no lesion is known: what of the named files and folders is a scan, and why the rest is none."""

import shutil

import pytest
from reader_trees import atlas_v1_indi, atlas_v2, isles2022, write

from strokelab.data import read_cases
from strokelab.data.new_scans import find_scans, grouped
from strokelab.data.readers._names import contrast_of, is_mask
from strokelab.errors import ConfigError, DataError


def cases_of(paths, modalities, **options):
    return find_scans(paths, modalities, **options).cases


def test_single_files_are_cases_whatever_their_names(tmp_path):
    first = write(tmp_path / "sub-7_T1w.nii.gz")
    second = write(tmp_path / "scan of monday.nii")
    cases = cases_of([first, str(second)], ["T1w"])
    assert [(c.case_id, c.site, c.labelled) for c in cases] == [
        ("scan of monday", None, False),
        ("sub-7", None, False),
    ]
    assert cases[1].subject_id == "sub-7"


def test_of_a_dataset_folder_only_the_images_are_taken(tmp_path):
    cases = cases_of([atlas_v2(tmp_path)], ["T1w"])
    assert len(cases) == 4
    assert all(case.images["T1w"].name.endswith("_T1w.nii.gz") for case in cases)


def test_several_modalities_are_grouped_by_name(tmp_path):
    root = isles2022(tmp_path)
    cases = cases_of([root], ["DWI", "ADC", "FLAIR"])
    assert cases[0].case_id == "sub-strokecase0001_ses-0001"
    assert [tuple(case.images) for case in cases] == [("DWI", "ADC", "FLAIR")] * 3
    assert cases[0].images == read_cases("isles2022", root)[0].images
    assert cases[0].reference_image == cases[0].images["DWI"]
    assert cases_of([root], ["FLAIR", "DWI"], label_modality="DWI")[0].label_modality == "DWI"


def test_files_named_by_modality_in_a_folder_per_case(tmp_path):
    for subject in ("p1", "p2"):
        for name in ("dwi", "adc"):
            write(tmp_path / subject / f"{name}.nii.gz")
    assert [case.case_id for case in cases_of([tmp_path], ["DWI", "ADC"])] == ["p1", "p2"]


def test_a_missing_modality_names_the_case_and_what_lies_there(tmp_path):
    write(tmp_path / "ann_DWI.nii.gz")
    with pytest.raises(DataError) as error:
        cases_of([tmp_path], ["DWI", "ADC"])
    assert "ann" in error.value.where
    assert "ann_ADC" in error.value.expected
    assert "ann_DWI.nii.gz" in error.value.found


def test_a_named_file_without_modality_is_refused_where_several_are_needed(tmp_path):
    file = write(tmp_path / "scan.nii.gz")
    other = write(tmp_path / "x_DWI.nii.gz")
    with pytest.raises(DataError, match=r"scan\.nii\.gz"):
        cases_of([file, other], ["DWI", "ADC"])


@pytest.mark.parametrize("name", ["absent.nii.gz", "notes.txt"])
def test_no_nifti(tmp_path, name):
    (tmp_path / "notes.txt").write_text("no")
    with pytest.raises(DataError, match=name):
        cases_of([tmp_path / name], ["T1w"])


def test_an_empty_folder(tmp_path):
    with pytest.raises(DataError, match="no NIfTI file"):
        cases_of([tmp_path], ["T1w"])


class TestContrast:
    """A file-name suffix that names another contrast is never taken for the run's."""

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("sub-01_ses-1_dwi.nii.gz", "DWI"),
            ("sub-01_space-FLAIR_T1w.nii.gz", "T1w"),
            ("031806_t1w_deface_stx.nii", "T1w"),
            ("VSD.Brain.XX.O.MR_Flair.70614.nii", "FLAIR"),
            ("p7-t2.NII.GZ", "T2w"),
            ("ann_CT_12.nii", "CT"),
            ("t1_mprage_sag_p2_iso.nii", "T1w"),
            ("T1w_masked.nii", "T1w"),
            ("patient7.nii.gz", None),
        ],
    )
    def test_what_names_say(self, tmp_path, name, says):
        assert contrast_of(tmp_path / name) == says

    @pytest.mark.parametrize(
        "name",
        ["sub-01_dwi.nii.gz", "x_FLAIR.nii", "x_T2w.nii", "x-adc.nii", "sub-1_bold.nii", "x_ct.nii", "x_t1ce.nii"],
    )
    def test_another_contrast_is_refused_unless_asked_for(self, tmp_path, name):
        file = write(tmp_path / name)
        with pytest.raises(DataError) as error:
            find_scans([file], ["T1w"])
        assert error.value.where == str(file)
        assert "T1w" in error.value.expected
        assert "--as T1w" in error.value.remedy
        assert len(cases_of([file], ["T1w"], as_modality="T1w")) == 1
        assert len(cases_of([file], ["image"])) == 1, "a run of any contrast"

    def test_a_folder_s_name_counts_where_the_file_s_says_nothing(self, tmp_path):
        file = write(tmp_path / "FLAIR" / "patient7.nii.gz")
        with pytest.raises(DataError, match="FLAIR"):
            find_scans([file], ["T1w"])

    def test_an_isles_folder_on_a_run_of_t1w(self, tmp_path):
        with pytest.raises(DataError) as error:
            find_scans([isles2022(tmp_path)], ["T1w"])
        assert all(word in error.value.found for word in ("DWI", "ADC", "FLAIR", "masks"))
        assert "--as T1w" in error.value.remedy

    def test_asked_for_it_is_every_scan_and_no_mask(self, tmp_path):
        cases = cases_of([isles2022(tmp_path)], ["T1w"], as_modality="t1w")
        assert len(cases) == len({case.case_id for case in cases}) == 9
        assert not any("msk" in case.images["T1w"].name for case in cases)

    @pytest.mark.parametrize(("modalities", "asked"), [(["T1w"], "DWI"), (["DWI", "ADC"], "DWI")])
    def test_asking_for_what_the_run_has_not(self, tmp_path, modalities, asked):
        with pytest.raises(ConfigError, match="--as"):
            find_scans([write(tmp_path / "x_T1w.nii")], modalities, as_modality=asked)


class TestMasks:
    @pytest.mark.parametrize(
        "name",
        [
            "sub-1_ses-1_msk",
            "sub-1_label-L_desc-T1lesion_mask",
            "sub-1_label-lesion_probseg",
            "sub-1_dseg",
            "031806_LesionSmooth_1_stx",
            "VSD.Brain.XX.O.OT.70618",
            "p7_T1w_seg",
            "lesion_mask2",
            "brainmask",
        ],
    )
    @pytest.mark.parametrize("modality", ["T1w", "image"])
    def test_a_mask_is_never_a_scan(self, tmp_path, name, modality):
        file = write(tmp_path / f"{name}.nii.gz")
        scan = write(tmp_path / "p9.nii.gz")
        found = find_scans([tmp_path], [modality])
        assert [case.images[modality] for case in found.cases] == [scan]
        assert list(found.left_out) == [file]
        for options in ({}, {"as_modality": modality}):
            with pytest.raises(DataError) as error:
                find_scans([file], [modality], **options)
            assert error.value.where == str(file)
            assert "mask" in error.value.found

    def test_a_name_that_ends_on_the_run_s_own_modality_is_none(self, tmp_path):
        """nnU-Net's names: the dataset is called lesion."""
        file = write(tmp_path / "lesion_001_0000.nii.gz")
        assert is_mask(file)
        assert cases_of([file], ["0000"])[0].case_id == "lesion_001"

    def test_masks_do_not_pass_for_one_of_several_modalities(self, tmp_path):
        for name in ("x_dwi_reg", "x_adc_reg", "x_dwi_mask"):
            write(tmp_path / f"{name}.nii.gz")
        found = find_scans([tmp_path], ["DWI", "ADC"])
        assert found.cases[0].images["DWI"].name == "x_dwi_reg.nii.gz"
        assert [file.name for file in found.left_out] == ["x_dwi_mask.nii.gz"]


class TestFolders:
    """Every file of a folder is taken, or left out with the reason."""

    def test_names_of_all_kinds(self, tmp_path):
        write(tmp_path / "sub-01_T1w.nii.gz")
        write(tmp_path / "patient7.nii.gz")
        write(tmp_path / "x.nii.gz").rename(tmp_path / "patient8.NII.GZ")
        for name in ("patient9.nrrd", "sub-01_T1w.json", "._patient7.nii.gz"):
            (tmp_path / name).write_bytes(b"x")
        write(tmp_path / "MNI152NLin2009aSym.nii.gz")
        write(tmp_path / "sub-01_FLAIR.nii.gz")
        found = find_scans([tmp_path], ["T1w"])
        assert [case.case_id for case in found.cases] == ["patient7", "patient8", "sub-01"]
        assert [file.name for file in found.assumed] == ["patient7.nii.gz", "patient8.NII.GZ"]
        assert {file.name: reason.split()[0] for file, reason in found.left_out.items()} == {
            "patient9.nrrd": "images",
            "sub-01_T1w.json": "files",
            "MNI152NLin2009aSym.nii.gz": "templates",
            "sub-01_FLAIR.nii.gz": "scans",
        }
        assert len(grouped(found.left_out)) == 4

    def test_few_lines_for_many_files(self, tmp_path):
        for number in range(9):
            write(tmp_path / f"s{number}_T1w.nii")
            write(tmp_path / f"s{number}_mask.nii")
        (line,) = grouped(find_scans([tmp_path], ["T1w"]).left_out)
        assert line.startswith("9 masks")
        assert line.count(".nii") == 3

    def test_every_scan_of_a_cohort_has_an_id_of_its_own(self, tmp_path):
        """ATLAS v1.2: one subject was scanned twice, and the visit is in the folder's name alone."""
        cases = cases_of([atlas_v1_indi(tmp_path)], ["T1w"])
        assert len(cases) == 10
        assert {case.case_id for case in cases} >= {"031768", "t01_031775", "t02_031775"}

    def test_the_same_name_from_two_folders(self, tmp_path):
        files = [write(tmp_path / folder / "T1w" / "scan.nii.gz") for folder in "ab"]
        assert [case.case_id for case in cases_of(files, ["T1w"])] == ["a_scan", "b_scan"]
        assert len(cases_of([files[0], files[0]], ["T1w"])) == 1

    def test_a_plain_and_a_gzipped_copy(self, tmp_path):
        files = [write(tmp_path / f"scan.nii{gz}") for gz in ("", ".gz")]
        with pytest.raises(DataError, match="2 files"):
            find_scans(files, ["T1w"])

    def test_two_versions_of_one_scan(self, tmp_path):
        shutil.copy(write(tmp_path / "sub-01_T1w.nii.gz"), tmp_path / "sub-01_T1w_brain.nii.gz")
        assert [case.case_id for case in cases_of([tmp_path], ["T1w"])] == ["sub-01", "sub-01_T1w_brain"]
