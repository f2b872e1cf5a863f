"""ATLAS v1.2 and v2.0: masks, visits, sites, tables, subsets."""

from __future__ import annotations

import numpy as np
import openpyxl
import pytest
from reader_trees import atlas_v1_icpsr, atlas_v1_indi, atlas_v2, mask, write

from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.nifti import read_grid, read_lesion

V1_HEADER = "INDI Site ID,INDI Subject ID,Session,# Strokes LH Cortical,Stroke type,Primary Stroke Location Hemisphere"


def by_id(cases):
    return {case.case_id: case for case in cases}


def lesion(case):
    return read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image)


class TestV1Indi:
    def test_ids_sites_and_scanners(self, tmp_path):
        cases = read_cases("atlas_v1", atlas_v1_indi(tmp_path))
        assert [case.case_id for case in cases][:2] == ["031768_t01", "031769_t01"]
        assert {case.site for case in cases} == {f"Site{n}" for n in range(1, 10)}
        assert by_id(cases)["031772_t01"].meta["scanner"] == "Philips Achieva"
        assert all(tuple(case.images) == ("T1w",) for case in cases)

    def test_two_visits_of_a_person_are_two_cases_of_one_subject(self, tmp_path):
        cases = by_id(read_cases("atlas_v1", atlas_v1_indi(tmp_path)))
        first, second = cases["031775_t01"], cases["031775_t02"]
        assert first.subject_id == second.subject_id == "031775"
        assert (first.meta["visit"], second.meta["visit"]) == ("t01", "t02")
        assert len({case.subject_id for case in cases.values()}) == len(cases) - 1

    def test_three_masks_are_one_lesion_map_and_leaving_one_out_changes_it(self, tmp_path):
        case = by_id(read_cases("atlas_v1", atlas_v1_indi(tmp_path)))["031770_t01"]
        names = [file.path.name.split("Smooth")[1] for file in case.lesions]
        assert names == ["_stx.nii.gz", "_1_stx.nii.gz", "_2_stx.nii.gz"]  # the primary one first
        expected = mask((0, 0, 0), (0, 0, 1), (1, 1, 1), (2, 2, 2))  # 255 and 1; one voxel in two masks
        np.testing.assert_array_equal(lesion(case), expected)
        for left_out, voxels in ((0, 3), (1, 3), (2, 3)):
            files = [file for index, file in enumerate(case.lesions) if index != left_out]
            grid = read_grid(case.reference_image)
            assert read_lesion(files, grid, case.reference_image).sum() == voxels

    def test_a_mask_of_another_name_is_left_out_with_a_warning(self, tmp_path):
        root = atlas_v1_indi(tmp_path)
        write(root / "Site1/031768/t01/031768_LesionSmooth_stx_old.nii.gz")
        with pytest.warns(DataWarning, match=r"1 masks .*031768_LesionSmooth_stx_old"):
            case = by_id(read_cases("atlas_v1", root))["031768_t01"]
        assert [file.path.name for file in case.lesions] == ["031768_LesionSmooth_stx.nii.gz"]

    def test_a_singleton_axis_is_dropped(self, tmp_path):
        case = by_id(read_cases("atlas_v1", atlas_v1_indi(tmp_path)))["031769_t01"]
        assert lesion(case).shape == (4, 5, 6)

    def test_a_lesion_without_its_scan_is_an_error(self, tmp_path):
        root = atlas_v1_indi(tmp_path)
        (root / "Site1/031768/t01/031768_t1w_deface_stx.nii.gz").unlink()
        with pytest.raises(DataError, match="031768_LesionSmooth_stx"):
            read_cases("atlas_v1", root)

    def test_scans_without_masks_are_kept_when_asked_for(self, tmp_path):
        root = atlas_v1_indi(tmp_path)
        (root / "Site1/031768/t01/031768_LesionSmooth_stx.nii.gz").unlink()
        with pytest.raises(DataError, match="include_unlabelled"):
            read_cases("atlas_v1", root)
        cases = read_cases("atlas_v1", root, include_unlabelled=True)
        assert [case.case_id for case in cases if not case.labelled] == ["031768_t01"]

    def test_the_table_is_matched_by_number_and_cleaned_session(self, tmp_path):
        root = atlas_v1_indi(tmp_path)
        rows = ["Site8,31775, t01,2,Embolic,Left", "Site8,31775,'t02,0,Embolic,Right", "Site4,31771,t01,,,"]
        (root / "ATLAS_Meta-Data_Release_1.1_standard_mni.csv").write_text("\n".join([V1_HEADER, *rows]))
        cases = by_id(read_cases("atlas_v1", root))
        assert cases["031775_t01"].meta["# strokes lh cortical"] == 2
        assert cases["031775_t01"].meta["primary stroke location hemisphere"] == "Left"
        assert cases["031775_t02"].meta["primary stroke location hemisphere"] == "Right"
        assert "stroke type" not in cases["031771_t01"].meta  # empty cells are absent
        assert cases["031768_t01"].site == "Site1"  # the tree needs no table

    def test_a_tree_without_site_folders_takes_sites_from_the_table(self, tmp_path):
        scan = tmp_path / "scans" / "031771" / "t01"
        write(scan / "031771_t1w_deface_stx.nii.gz")
        write(scan / "031771_LesionSmooth_stx.nii.gz", mask((1, 1, 1)))
        assert read_cases("atlas_v1", tmp_path)[0].site is None
        (tmp_path / "my_metadata.csv").write_text(f"{V1_HEADER}\nSite4,31771,t01,1,,\n")
        assert read_cases("atlas_v1", tmp_path)[0].site == "Site4"

    def test_one_site_or_one_scan_can_be_the_root(self, tmp_path):
        root = atlas_v1_indi(tmp_path)
        assert [case.case_id for case in read_cases("atlas_v1", root / "Site8")] == ["031775_t01", "031775_t02"]
        assert read_cases("atlas_v1", root / "Site8")[0].site == "Site8"

    def test_a_share_of_zero_takes_every_non_zero_voxel(self, tmp_path):
        root = atlas_v1_indi(tmp_path)
        soft = mask((1, 1, 1)).astype(np.float32)
        soft[1, 1, 2] = 0.2
        write(root / "Site1/031768/t01/031768_LesionSmooth_stx.nii.gz", soft)
        counts = []
        for above in (0.5, 0.0):
            case = read_cases("atlas_v1", root, above=above)[0]
            with pytest.warns(DataWarning, match="count as lesion"):
                counts.append(int(lesion(case).sum()))
        assert counts == [1, 2]


class TestV1Icpsr:
    def test_standard_space_through_doubled_folders(self, tmp_path):
        cases = read_cases("atlas_v1", atlas_v1_icpsr(tmp_path))
        assert [(case.case_id, case.subject_id, case.site) for case in cases] == [
            ("c0001s0004t01", "c0001s0004", "c0001"),
            ("c0002s0001t01", "c0002s0001", "c0002"),
        ]
        assert [len(case.lesions) for case in cases] == [1, 2]

    def test_native_space_is_an_option(self, tmp_path):
        (case,) = read_cases("atlas_v1", atlas_v1_icpsr(tmp_path), space="native")
        assert case.images["T1w"].name == "c0002s0001t01.nii.gz"
        assert int(lesion(case).sum()) == 2

    def test_native_scans_alone_point_to_the_option(self, tmp_path):
        root = atlas_v1_icpsr(tmp_path)
        with pytest.raises(DataError, match="space=native"):
            read_cases("atlas_v1", root / "native")
        with pytest.raises(ConfigError, match="mni"):
            read_cases("atlas_v1", root, space="mni")

    def test_the_excel_table(self, tmp_path):
        root = atlas_v1_icpsr(tmp_path)
        book = openpyxl.Workbook()
        for row in (["Subject ID", "Vascular territory "], ["c0001s0004t01", "MCA"]):
            book.active.append(row)
        book.save(root / "20171106_ATLAS_Meta-Data_Release_1.1_Updated.xlsx")
        assert read_cases("atlas_v1", root)[0].meta["vascular territory"] == "MCA"


class TestV2:
    @pytest.mark.parametrize("form", ["indi", "bids"])
    def test_training_cases_and_their_cohorts(self, tmp_path, form):
        cases = read_cases("atlas_v2", atlas_v2(tmp_path, form=form))
        assert [(case.case_id, case.subject_id, case.site) for case in cases] == [
            ("sub-r001s001_ses-1", "sub-r001s001", "R001"),
            ("sub-r001s003_ses-1", "sub-r001s003", "R001"),
            ("sub-r009s002_ses-1", "sub-r009s002", "R009"),
        ]
        assert all(case.labelled and len(case.lesions) == 1 for case in cases)

    @pytest.mark.parametrize("form", ["indi", "bids"])
    def test_test_scans_are_unlabelled(self, tmp_path, form):
        root = atlas_v2(tmp_path, form=form)
        (case,) = read_cases("atlas_v2", root, subset="testing")
        assert (case.case_id, case.site, case.labelled) == ("sub-r001s002_ses-1", "R001", False)
        everything = read_cases("atlas_v2", root, subset="all")
        assert [case.labelled for case in everything] == [True, False, True, True]
        assert [case.meta["subset"] for case in everything][:2] == ["training", "testing"]

    def test_the_test_folder_alone_is_refused_for_training(self, tmp_path):
        root = atlas_v2(tmp_path)
        with pytest.raises(DataError, match="subset=testing") as error:
            read_cases("atlas_v2", root / "Testing")
        assert "not trained on" in str(error.value)
        assert len(read_cases("atlas_v2", root / "Testing", subset="testing")) == 1

    def test_a_metadata_table_whose_names_need_trimming(self, tmp_path):
        root = atlas_v2(tmp_path)
        (root / "20220425_ATLAS_2.0_MetaData.csv").write_text(
            "Subject ID , Session,SCANNER Brand,Days Post Stroke,ATLAS 1.2\n"
            "sub-r001s001,ses-1,Siemens,180,1\nsub-r009s002,ses-1,GE,,0\n"
        )
        cases = by_id(read_cases("atlas_v2", root))
        assert cases["sub-r001s001_ses-1"].meta["scanner brand"] == "Siemens"
        assert cases["sub-r001s001_ses-1"].meta["days post stroke"] == 180
        assert "scanner brand" not in cases["sub-r001s003_ses-1"].meta
        # The table lies beside the part, too.
        assert by_id(read_cases("atlas_v2", root / "Training"))["sub-r009s002_ses-1"].meta["scanner brand"] == "GE"

    def test_scans_of_v1_can_be_left_out_only_when_they_are_known(self, tmp_path):
        root = atlas_v2(tmp_path)
        with pytest.raises(DataError, match=r"ATLAS 1\.2"):
            read_cases("atlas_v2", root, without_v1=True)
        (root / "ATLAS_2.0_MetaData.csv").write_text(
            "Subject ID,ATLAS 1.2\nsub-r001s001,1\nsub-r001s003,0\nsub-r009s002,Yes\n"
        )
        assert list(by_id(read_cases("atlas_v2", root, without_v1=True))) == ["sub-r001s003_ses-1"]

    def test_two_masks_are_an_error(self, tmp_path):
        root = atlas_v2(tmp_path)
        first = read_cases("atlas_v2", root)[0].lesions[0].path
        write(first.with_name(first.name.replace("T1lesion", "T1lesionB")))
        with pytest.raises(DataError, match="2 files for one"):
            read_cases("atlas_v2", root)

    def test_both_forms_in_one_root_are_an_id_twice(self, tmp_path):
        atlas_v2(tmp_path / "a")
        atlas_v2(tmp_path / "b", form="bids")
        with pytest.raises(DataError, match="twice"):
            read_cases("atlas_v2", tmp_path)
