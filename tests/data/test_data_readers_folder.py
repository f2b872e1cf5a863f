"""A user's own files: folders, tables, bare lists of scans."""

from __future__ import annotations

import numpy as np
import pytest
from reader_trees import FLAIR_AFFINE, mask, own_folder, write

from strokelab.data import read_cases
from strokelab.data.readers._tables import read_table
from strokelab.errors import DataError, DataWarning
from strokelab.nifti import read_grid, read_lesion


class TestFolder:
    def test_images_labels_brain_and_table(self, tmp_path):
        ann, bob = read_cases("folder", own_folder(tmp_path))
        assert (ann.case_id, ann.subject_id, ann.site, ann.meta) == ("ann", "p1", "Lyon", {"age": 71})
        assert (bob.case_id, bob.subject_id, bob.site, bob.meta) == ("bob_2", "p2", "Oslo", {"age": 58.5})
        assert tuple(ann.images) == ("T1w", "FLAIR")
        assert ann.label_modality == "T1w"
        assert ann.brain is not None
        assert ann.brain.name == "ann.nii.gz"
        assert (ann.labelled, bob.labelled, bob.brain) == (True, False, None)

    def test_the_grid_of_the_labels_can_be_named(self, tmp_path):
        root = own_folder(tmp_path)
        write(root / "labels" / "ann.nii.gz", np.ones((9, 9, 2)), affine=FLAIR_AFFINE)
        case = read_cases("folder", root, label_modality="FLAIR")[0]
        assert read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image).sum() == 162
        with pytest.raises(DataError, match="label_modality='DWI'"):
            read_cases("folder", root, label_modality="DWI")

    def test_any_subset_of_modalities_in_any_order(self, tmp_path):
        root = own_folder(tmp_path)
        assert [tuple(c.images) for c in read_cases("folder", root, modalities=["FLAIR"])] == [("FLAIR",)] * 2
        assert tuple(read_cases("folder", root, modalities=["FLAIR", "T1w"])[0].images) == ("FLAIR", "T1w")

    def test_unfamiliar_names_are_one_image_each(self, tmp_path):
        for name in ("patient_1", "patient_2", "patient_10"):
            write(tmp_path / "images" / f"{name}.nii.gz")
        write(tmp_path / "labels" / "patient_1.nii.gz", mask((1, 1, 1)))
        cases = read_cases("folder", tmp_path)
        assert [(c.case_id, c.labelled) for c in cases] == [
            ("patient_1", True),
            ("patient_2", False),
            ("patient_10", False),
        ]
        assert [tuple(c.images) for c in read_cases("folder", tmp_path, modalities=["T1w"])] == [("T1w",)] * 3

    def test_channels_by_number_when_named(self, tmp_path):
        for channel in ("0000", "0001"):
            write(tmp_path / "imagesTr" / f"case_7_{channel}.nii.gz")
        write(tmp_path / "labelsTr" / "case_7.nii.gz", mask((1, 1, 1)))
        options = {"images": "imagesTr", "labels": "labelsTr", "modalities": ["0000", "0001"]}
        (case,) = read_cases("folder", tmp_path, **options)
        assert (case.case_id, tuple(case.images), case.labelled) == ("case_7", ("0000", "0001"), True)

    def test_flattened_atlas_v2(self, tmp_path):
        for number in (1, 2):
            stem = f"sub-r001s00{number}_ses-1_space-MNI152NLin2009aSym"
            write(tmp_path / "images" / f"{stem}_T1w.nii.gz")
            write(tmp_path / "labels" / f"{stem}_label-L_desc-T1lesion_mask.nii.gz", mask((1, 1, 1)))
        cases = read_cases("folder", tmp_path)
        assert [case.subject_id for case in cases] == ["sub-r001s001", "sub-r001s002"]
        assert all(case.labelled and tuple(case.images) == ("T1w",) for case in cases)

    def test_flattened_atlas_v1_unites_masks(self, tmp_path):
        write(tmp_path / "images" / "031806_t1w_deface_stx.nii.gz")
        for number in ("", "_1"):
            write(tmp_path / "labels" / f"031806_LesionSmooth{number}_stx.nii.gz", mask((1, 1, 1)))
        (case,) = read_cases("folder", tmp_path, modalities=["T1w"])
        assert (case.case_id, len(case.lesions)) == ("031806", 2)

    def test_a_label_goes_to_the_longest_name_it_starts_with(self, tmp_path):
        for name in ("a", "a_1"):
            write(tmp_path / "images" / f"{name}_T1w.nii.gz")
        write(tmp_path / "labels" / "a_1.nii.gz", mask((1, 1, 1)))
        assert [case.labelled for case in read_cases("folder", tmp_path)] == [False, True]

    def test_a_label_of_nobody_is_an_error(self, tmp_path):
        root = own_folder(tmp_path)
        write(root / "labels" / "carl.nii.gz")
        with pytest.raises(DataError, match=r"carl\.nii\.gz"):
            read_cases("folder", root)

    def test_a_row_of_nobody_is_an_error(self, tmp_path):
        root = own_folder(tmp_path)
        (root / "cases.csv").write_text("case,site\nann,Lyon\ncarl,Rome\n")
        with pytest.raises(DataError, match="'carl'"):
            read_cases("folder", root)

    def test_images_may_lie_in_the_root_itself(self, tmp_path):
        write(tmp_path / "x_DWI.nii.gz")
        write(tmp_path / "x_ADC.nii.gz")
        (case,) = read_cases("folder", tmp_path)
        assert (case.case_id, tuple(case.images), case.site) == ("x", ("DWI", "ADC"), None)

    def test_masks_beside_the_images_are_no_images(self, tmp_path):
        """In a folder without ``images`` a mask would pass for a scan of the modality ``image``."""
        write(tmp_path / "x_T1w.nii.gz")
        write(tmp_path / "x_lesion.nii.gz", mask((1, 1, 1)))
        with pytest.raises(DataError) as error:
            read_cases("folder", tmp_path)
        assert error.value.where.endswith("x_lesion.nii.gz")
        assert "labels" in error.value.expected

    def test_formats_that_are_not_read_are_named(self, tmp_path):
        write(tmp_path / "images" / "p_T1w.nii.gz")
        for folder, name in (("images", "q_T1w.nrrd"), ("labels", "p.mha")):
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).write_bytes(b"x")
        with pytest.warns(DataWarning, match=r"2 files.*q_T1w\.nrrd.*p\.mha"):
            assert len(read_cases("folder", tmp_path)) == 1

    def test_endings_in_any_case(self, tmp_path):
        for folder, name in (("images", "p_T1w.NII.GZ"), ("images", "q_T1w.Nii"), ("labels", "p.NII.gz")):
            path = tmp_path / folder / name
            write(path.with_name("x.nii" if name.endswith("Nii") else "x.nii.gz"), mask((1, 1, 1))).rename(path)
        p, q = read_cases("folder", tmp_path)
        assert [(p.case_id, p.labelled), (q.case_id, q.labelled)] == [("p", True), ("q", False)]
        assert read_lesion(p.lesions, read_grid(p.reference_image), p.reference_image).sum() == 1

    def test_labels_are_read_by_value_when_asked_for(self, tmp_path):
        write(tmp_path / "images" / "x_T1w.nii.gz")
        write(tmp_path / "labels" / "x.nii.gz", mask((0, 0, 0)) + mask((1, 1, 1), value=4), kind=np.uint8)
        (case,) = read_cases("folder", tmp_path, values=[4])
        np.testing.assert_array_equal(
            read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image), mask((1, 1, 1))
        )


class TestTable:
    def test_a_table_that_names_every_file(self, tmp_path):
        write(tmp_path / "scans" / "one.nii.gz")
        write(tmp_path / "scans" / "two.nii.gz")
        write(tmp_path / "scans" / "three.nii.gz")
        write(tmp_path / "m1.nii.gz", mask((1, 1, 1)))
        write(tmp_path / "m2.nii.gz", mask((2, 2, 2)))
        table = tmp_path / "cohort.csv"
        table.write_text(
            "Case,Subject,Site,T1w,FLAIR,lesion,age\n"
            "7,p7,A,scans/one.nii.gz,scans/two.nii.gz,m1.nii.gz;m2.nii.gz,60\n"
            f"8,p8,,{tmp_path}/scans/three.nii.gz,scans/one.nii.gz,,\n"
        )
        seven, eight = read_cases("folder", table)
        assert (seven.case_id, seven.subject_id, seven.site, seven.meta) == ("7", "p7", "A", {"age": 60})
        assert (tuple(seven.images), len(seven.lesions)) == (("T1w", "FLAIR"), 2)
        assert (eight.site, eight.labelled, eight.images["T1w"].name) == (None, False, "three.nii.gz")
        assert read_cases("folder", tmp_path, table="cohort.csv") == [seven, eight]
        assert tuple(read_cases("folder", table, modalities=["FLAIR"])[0].images) == ("FLAIR",)

    def test_a_named_file_that_is_not_there(self, tmp_path):
        (tmp_path / "cohort.csv").write_text("case,T1w\n1,absent.nii.gz\n")
        with pytest.raises(DataError, match=r"absent\.nii\.gz"):
            read_cases("folder", tmp_path / "cohort.csv")

    def test_an_empty_cell_is_a_missing_modality(self, tmp_path):
        write(tmp_path / "a.nii.gz")
        (tmp_path / "cohort.csv").write_text("case,T1w,FLAIR\n1,a.nii.gz,a.nii.gz\n2,a.nii.gz,\n")
        with pytest.raises(DataError, match="2_FLAIR"):
            read_cases("folder", tmp_path / "cohort.csv")

    def test_no_column_of_files_shows_the_columns(self, tmp_path):
        (tmp_path / "cohort.csv").write_text("case,site\n1,A\n")
        with pytest.raises(DataError, match="site"):
            read_cases("folder", tmp_path / "cohort.csv")

    def test_the_same_case_in_two_rows(self, tmp_path):
        write(tmp_path / "a.nii.gz")
        (tmp_path / "cohort.csv").write_text("case,T1w\n1,a.nii.gz\n1,a.nii.gz\n")
        with pytest.raises(DataError, match="twice"):
            read_cases("folder", tmp_path / "cohort.csv")

    @pytest.mark.parametrize(
        "content", ["A,b c\n 007 ,2.5\n", "\ufeffA;b c\n007;2.5\n", "A\tb  c \n007\t2.5\n\n", "title\nA,b c\n007,2.5\n"]
    )
    def test_tables_of_many_programs(self, tmp_path, content):
        (tmp_path / "t.csv").write_text(content, encoding="utf-8")
        assert read_table(tmp_path / "t.csv").rows == ({"a": "007", "b c": 2.5},)

    def test_a_table_in_an_old_encoding(self, tmp_path):
        (tmp_path / "t.csv").write_bytes("case,ort\n1,Tübingen\n".encode("latin-1"))
        assert read_table(tmp_path / "t.csv").rows == ({"case": "1", "ort": "Tübingen"},)
