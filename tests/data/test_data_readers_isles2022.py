"""ISLES 2022 in both layouts, and the public sample case where it lies beside the checkout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openpyxl
import pytest
from reader_trees import isles2022, write

from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.lesions import label_lesions, lesion_sizes
from strokelab.nifti import read_grid, read_lesion, read_voxels

SAMPLE = Path(__file__).parents[3] / "shared" / "data" / "isles2022-sample"


def lesion(case):
    return read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image)


def facts(root):
    """What a case is, without where it lies."""
    return [
        (c.case_id, c.subject_id, c.site, tuple(c.images), c.label_modality, len(c.lesions), int(lesion(c).sum()))
        for c in read_cases("isles2022", root)
    ]


def test_both_layouts_give_the_same_cases(tmp_path):
    zenodo = isles2022(tmp_path / "a", layout="zenodo")
    challenge = isles2022(tmp_path / "b", layout="challenge")
    assert facts(zenodo) == facts(challenge)
    assert [fact[0] for fact in facts(zenodo)] == [
        "sub-strokecase0001_ses-0001",
        "sub-strokecase0002_ses-0001",
        "sub-strokecase0150_ses-0001",
    ]
    assert facts(zenodo)[0][2:] == (None, ("DWI", "ADC", "FLAIR"), "DWI", 1, 1)


@pytest.mark.parametrize("layout", ["zenodo", "challenge"])
def test_flair_keeps_its_own_grid_and_the_mask_lies_on_dwi(tmp_path, layout):
    for case in read_cases("isles2022", isles2022(tmp_path, layout=layout)):
        grids = {name: read_grid(file) for name, file in case.images.items()}
        assert grids["FLAIR"].shape == (9, 9, 2)
        assert read_grid(case.lesions[0].path).matches(grids["DWI"])
        assert grids["ADC"].matches(grids["DWI"])
        assert case.reference_image == case.images["DWI"]


def test_an_empty_mask_is_a_label(tmp_path):
    case = read_cases("isles2022", isles2022(tmp_path))[-1]
    assert case.labelled
    assert lesion(case).sum() == 0


class TestCentres:
    def table(self, path, rows):
        book = openpyxl.Workbook()
        for row in rows:
            book.active.append(row)
        book.save(path)

    @pytest.mark.parametrize("beside", [False, True])
    def test_sites_come_from_the_table_in_or_beside_the_root(self, tmp_path, beside):
        root = isles2022(tmp_path / "ISLES-2022")
        rows = [["Subject", "Center"], ["sub-strokecase0001", 1], ["sub-strokecase0002", 2]]
        self.table((tmp_path if beside else root) / "center_ids.xlsx", rows)
        assert [case.site for case in read_cases("isles2022", root)] == ["center-1", "center-2", None]

    def test_columns_are_told_by_name_not_by_place(self, tmp_path):
        root = isles2022(tmp_path)
        (root / "center_ids.csv").write_text("centre;case_id\nMunich;1\nBern;2\n")
        assert [case.site for case in read_cases("isles2022", root)] == ["Munich", "Bern", None]

    def test_without_openpyxl_sites_stay_unknown_with_a_warning(self, tmp_path, monkeypatch):
        root = isles2022(tmp_path)
        self.table(root / "center_ids.xlsx", [["Subject", "Center"], ["sub-strokecase0001", 1]])
        monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
        with pytest.warns(DataWarning, match="strokelab\\[excel\\]"):
            cases = read_cases("isles2022", root)
        assert {case.site for case in cases} == {None}
        with pytest.raises(DataError, match="openpyxl"):  # named in the options: no longer optional
            read_cases("isles2022", root, centers="center_ids.xlsx")

    def test_a_damaged_table_is_left_out_with_a_warning(self, tmp_path):
        root = isles2022(tmp_path)
        (root / "center_ids.xlsx").write_bytes(b"no zip")
        with pytest.warns(DataWarning, match="sites stay unknown"):
            assert len(read_cases("isles2022", root)) == 3


def test_some_modalities(tmp_path):
    root = isles2022(tmp_path)
    read_cases("isles2022", root)[0].images["FLAIR"].unlink()
    assert tuple(read_cases("isles2022", root, modalities=["ADC", "DWI"])[0].images) == ("ADC", "DWI")
    with pytest.raises(ConfigError, match="DWI or ADC"):
        read_cases("isles2022", root, modalities=["FLAIR"])


def test_a_mask_drawn_on_flair_is_refused_with_both_grids(tmp_path):
    root = isles2022(tmp_path)
    case = read_cases("isles2022", root)[0]
    write(case.lesions[0].path, np.zeros((9, 9, 2)), affine=read_grid(case.images["FLAIR"]).matrix)
    with pytest.raises(DataError) as error:
        lesion(case)
    assert error.value.where == str(case.lesions[0].path)
    assert str(case.images["DWI"]) in error.value.expected
    assert "(9, 9, 2)" in error.value.found
    assert "(4, 5, 6)" in error.value.expected


@pytest.mark.skipif(not SAMPLE.is_dir(), reason="the public sample case does not lie beside the checkout")
class TestSample:
    @pytest.fixture
    def case(self):
        (case,) = read_cases("isles2022", SAMPLE)
        return case

    def test_names(self, case):
        assert case.case_id == "sub-strokecase0009_ses-0001"
        assert tuple(case.images) == ("DWI", "ADC", "FLAIR")
        assert case.site is None

    def test_grids(self, case):
        grids = {name: read_grid(file) for name, file in case.images.items()}
        for name in ("DWI", "ADC"):
            assert grids[name].shape == (112, 112, 73)
            assert grids[name].spacing == pytest.approx((2, 2, 2), abs=1e-4)
        assert grids["FLAIR"].shape == (512, 512, 29)
        assert grids["FLAIR"].spacing == pytest.approx((0.449, 0.449, 5), abs=1e-3)
        assert {grid.orientation for grid in grids.values()} == {"LAS"}
        expected = [
            (-1.9966, -0.1161, 0.0031, 118.68),
            (-0.1142, 1.9527, -0.4171, -79.14),
            (-0.0212, 0.4166, 1.9560, -57.68),
        ]
        np.testing.assert_allclose(grids["DWI"].matrix[:3], expected, atol=6e-3)
        np.testing.assert_allclose(grids["FLAIR"].matrix[:3, 3], (122.31, -85.44, -56.94), atol=6e-3)
        assert read_grid(case.lesions[0].path).matches(grids["DWI"])

    def test_lesion(self, case):
        mask = lesion(case)
        assert int(mask.sum()) == 523
        assert mask.sum() * read_grid(case.reference_image).voxel_volume_mm3 / 1000 == pytest.approx(4.184, abs=1e-3)
        assert [label_lesions(mask, neighbours)[1] for neighbours in (26, 18, 6)] == [18, 18, 21]
        sizes = sorted(lesion_sizes(*label_lesions(mask)), reverse=True)
        assert sizes == [201, 105, 105, 18, 14, 11, 10, 9, 9, 8, 7, 6, 6, 4, 3, 3, 2, 2]

    def test_brain(self, case):
        dwi, adc = (read_voxels(case.images[name])[0] for name in ("DWI", "ADC"))
        assert np.count_nonzero(dwi) == 181_235
        np.testing.assert_array_equal(dwi != 0, adc != 0)
