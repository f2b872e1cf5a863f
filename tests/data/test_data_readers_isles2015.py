"""SISS and SPES: names, tokens, labels."""

from __future__ import annotations

import numpy as np
import pytest
from reader_trees import CORE, PENUMBRA, mask, siss, spes, write

from strokelab.data import read_cases
from strokelab.data.readers._isles2015 import is_label, token
from strokelab.errors import ConfigError, DataError
from strokelab.nifti import read_grid, read_lesion

FORMS = ["values", "files"]


def lesion(case):
    return read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("VSD.Brain.XX.O.MR_T1.70615", "t1"),
        ("VSD.Brain.XX.O.MR_T1c.1", "t1c"),
        ("VSD.Brain.XX.O.MR_Flair.70614", "flair"),
        ("VSD.Brain.XX.O.MR_Tmax.3", "tmax"),
        ("MR_old.MR_TTP.3", "ttp"),
        ("Flair", "flair"),
    ],
)
def test_tokens_are_whole_words(stem, expected):
    assert token(stem) == expected


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("VSD.Brain.XX.O.OT.70617", True),
        ("VSD.Brain_3more.XX.XX.OT.6560", True),
        ("OT", True),
        ("VSD.Brain.XX.O.OT.penumbralabel.1", True),
        ("1_corelabel", True),
        ("VSD.Brain.XX.O.MR_OT.1", False),
        ("ROTATED", False),
    ],
)
def test_labels_are_told_by_a_part_of_the_name(stem, expected):
    assert is_label(stem) is expected


class TestSiss:
    @pytest.mark.parametrize("form", ["vsd", "flat"])
    @pytest.mark.parametrize("ext", [".nii", ".nii.gz"])
    def test_cases_in_natural_order_with_their_own_files(self, tmp_path, form, ext):
        cases = read_cases("isles2015_siss", siss(tmp_path, ext, form))
        assert [case.case_id for case in cases] == ["siss-1", "siss-2", "siss-10"]
        assert {case.site for case in cases} == {"SISS-1"}
        for case in cases:
            assert tuple(case.images) == ("FLAIR", "T1", "T2", "DWI")
            assert case.label_modality == "FLAIR"
            for name, file in case.images.items():
                assert token(file.name.split(".nii")[0]) == name.lower()
            assert int(lesion(case).sum()) == 1

    def test_more_slices_in_one_case_than_in_another(self, tmp_path):
        cases = read_cases("isles2015_siss", siss(tmp_path))
        assert [lesion(case).shape[2] for case in cases] == [6, 7, 6]

    @pytest.mark.parametrize("form", ["vsd", "flat"])
    def test_the_test_set_shares_numbers_but_not_ids(self, tmp_path, form):
        root = siss(tmp_path, form=form)
        assert [case.case_id for case in read_cases("isles2015_siss", root, subset="testing")] == ["siss-test-1"]
        everything = read_cases("isles2015_siss", root, subset="all")
        assert [(case.case_id, case.labelled) for case in everything] == [
            ("siss-1", True),
            ("siss-2", True),
            ("siss-10", True),
            ("siss-test-1", False),
        ]

    def test_some_modalities(self, tmp_path):
        root = siss(tmp_path)
        read_cases("isles2015_siss", root)[0].images["T2"].unlink()
        cases = read_cases("isles2015_siss", root, modalities=["DWI", "FLAIR"])
        assert [tuple(case.images) for case in cases] == [("DWI", "FLAIR")] * 3
        with pytest.raises(ConfigError, match="Flair"):
            read_cases("isles2015_siss", root, modalities=["Flair"])

    def test_a_T1c_is_no_T1(self, tmp_path):
        root = siss(tmp_path, form="flat")
        file = root / "training" / "1" / "T1.nii"
        file.rename(file.with_name("T1c.nii"))
        with pytest.raises(DataError, match="MR_T1"):
            read_cases("isles2015_siss", root)


class TestSpes:
    @pytest.mark.parametrize("form", FORMS)
    def test_cases_tokens_and_folders_called_Nr(self, tmp_path, form):
        cases = read_cases("isles2015_spes", spes(tmp_path, form=form))
        assert [(case.case_id, case.site) for case in cases] == [("spes-1", "SPES-1"), ("spes-2", "SPES-1")]
        for case in cases:
            assert tuple(case.images) == ("T1c", "T2", "DWI", "CBF", "CBV", "TTP", "Tmax")
            assert all(f"MR_{name}." in file.name for name, file in case.images.items())

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize(
        ("target", "voxels"), [("penumbra", PENUMBRA), ("core", CORE), ("all", (*PENUMBRA, *CORE))]
    )
    def test_both_label_forms_give_the_same_masks(self, tmp_path, form, target, voxels):
        for case in read_cases("isles2015_spes", spes(tmp_path, form=form), target=target):
            np.testing.assert_array_equal(lesion(case), mask(*voxels))

    def test_more_values_ask_for_a_list_and_obey_it(self, tmp_path):
        root = spes(tmp_path)
        file = read_cases("isles2015_spes", root)[0].lesions[0].path
        write(file, mask((0, 0, 0), value=1) + mask((1, 1, 1), value=7), kind=np.uint8)
        with pytest.raises(DataError, match="values"):
            lesion(read_cases("isles2015_spes", root)[0])
        case = read_cases("isles2015_spes", root, values=[7])[0]
        np.testing.assert_array_equal(lesion(case), mask((1, 1, 1)))

    def test_a_missing_core_file_is_missed(self, tmp_path):
        root = spes(tmp_path, form="files")
        read_cases("isles2015_spes", root, target="core")[0].lesions[0].path.unlink()
        assert len(read_cases("isles2015_spes", root)) == 2
        for target in ("core", "all"):
            with pytest.raises(DataError, match="corelabel"):
                read_cases("isles2015_spes", root, target=target)

    def test_an_unknown_target_is_quoted(self, tmp_path):
        with pytest.raises(ConfigError, match="'tissue'"):
            read_cases("isles2015_spes", spes(tmp_path), target="tissue")
