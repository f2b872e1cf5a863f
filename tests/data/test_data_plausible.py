"""Masks that cannot be meant: labels without a word, inverted masks, leftovers; images that lie elsewhere."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_trees import WRITERS, atlas_v1_indi, isles2022, siss, write
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.configuration import compose
from strokelab.contract import Case, LesionFile
from strokelab.data import read_cases
from strokelab.data.check import check_cohort
from strokelab.errors import ConfigError, DataError, DataWarning
from strokelab.exchange import export_nnunet
from strokelab.grid import Grid
from strokelab.lesions import label_volumes
from strokelab.nifti import binarize, read_grid, read_lesion, read_voxels
from strokelab.placement import share_covered
from strokelab.preparation.recipe import Preparation, prepare


def found(report, severity):
    return [problem for problem in report.problems if problem.severity == severity]


def printed(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    return result.exit_code, result.stdout


class TestLabels:
    @settings(max_examples=30, deadline=None)
    @given(
        values=st.lists(st.integers(1, 400), min_size=1, max_size=5, unique=True),
        scale=st.sampled_from([1.0, 1.0001, 0.01]),
        kind=st.sampled_from([np.uint16, np.float32]),
    )
    def test_several_whole_numbers_are_labels_and_one_is_a_mask(self, values, scale, kind):
        voxels = np.zeros((6, 5, 4))
        for index, value in enumerate(values):
            voxels[index, : index + 1] = value
        stored = (voxels * (scale if kind is np.float32 else 1)).astype(kind)
        counts = {value: 4 * (index + 1) for index, value in enumerate(values)}
        graded = max(values) in (100, 255) and any(0.1 * max(values) < v < 0.9 * max(values) for v in values)
        shares = kind is np.float32 and (scale == 0.01 or (scale > 1 and max(values) > 10))
        if len(values) == 1 or graded:
            assert label_volumes(stored) == {}
        elif not shares:
            assert label_volumes(stored) == counts

    def test_smoothed_masks_stay_masks(self):
        edge = np.zeros((9, 9, 9), dtype=np.float32)
        edge[2:7, 2:7, 2:7], edge[3:6, 3:6, 3:6] = 0.4, 1
        assert label_volumes(edge) == {}
        assert label_volumes((255 * edge).astype(np.uint8)) == {}
        with pytest.warns(DataWarning, match="count as lesion"):
            assert binarize(edge, LesionFile("x")).sum() == 27

    @pytest.mark.parametrize("dataset", [name for name in WRITERS if name != "isles2015_spes"])
    def test_every_reader_checks_and_trains_by_the_same_rule_and_its_remedy_works(self, tmp_path, dataset):
        root = WRITERS[dataset](tmp_path)
        case = next(case for case in read_cases(dataset, root) if len(case.lesions) == 1)
        grid = read_grid(case.reference_image)
        labels = np.zeros(grid.shape, dtype=np.uint8)
        labels[0, 0, :3], labels[1, 0, :2], labels[2, 0, 0] = 1, 2, 5
        write(case.lesions[0].path, labels, affine=grid.matrix, kind=np.uint8)
        with pytest.raises(DataError) as error:
            read_lesion(case.lesions, grid, case.reference_image)
        ml = grid.voxel_volume_mm3 / 1000
        assert f"1 ({3 * ml:.4g} ml), 2 ({2 * ml:.4g} ml), 5 ({ml:.4g} ml)" in error.value.found
        assert [p.file for p in found(check_cohort(root, dataset), "error")] == [str(case.lesions[0].path)]
        (pasted,) = [word for word in error.value.remedy.split() if word.startswith("data.options.values=")]
        assert pasted == "data.options.values=[1,2,5]"
        chosen = compose("train", [f"data={dataset}", f"data.root={root}", pasted.replace("2,", "")])["data"]["options"]
        assert chosen["values"] == [1, 5]
        (again,) = [c for c in read_cases(dataset, root, values=chosen["values"]) if c.case_id == case.case_id]
        assert read_lesion(again.lesions, grid, again.reference_image).sum() == 4
        status, text = printed("check", root, "--dataset", dataset, "--values", "1,255", "--json")
        assert (status, json.loads(text)["ok"]) == (0, True)

    def test_values_that_are_not_there_and_values_that_are_none(self, tmp_path):
        root = siss(tmp_path)
        case = read_cases("isles2015_siss", root, values=[3])[0]
        with pytest.warns(DataWarning, match=r"values 1 but none of \[3\]"):
            assert not read_lesion(case.lesions, read_grid(case.reference_image), case.reference_image).any()
        for wrong in ([], [0], [1.5], ["1"], [True]):
            with pytest.raises((ConfigError, DataError)):
                read_cases("isles2015_siss", root, values=wrong)


class TestVolumes:
    @pytest.mark.parametrize(
        ("spacing", "voxels", "word"),
        [(20.0, 126, "1,008 ml"), (20.0, 120, None), (2.0, 144, None), (2.0, 148, "62% of the volume")],
    )
    def test_larger_than_a_brain_can_lose(self, tmp_path, spacing, voxels, word):
        affine = np.diag([spacing, spacing, spacing, 1])
        shape = (6, 8, 5) if spacing == 2.0 else (10, 10, 10)
        lesion = np.zeros(shape, dtype=np.uint8)
        lesion.flat[:voxels] = 1
        write(tmp_path / "images" / "a_T1w.nii.gz", shape=shape, affine=affine)
        label = write(tmp_path / "labels" / "a.nii.gz", lesion, affine=affine, kind=np.uint8)
        errors = found(check_cohort(tmp_path, "folder"), "error")
        assert [problem.file for problem in errors] == ([str(label)] if word else [])
        assert not word or (word in errors[0].message and "inverted mask?" in errors[0].message)

    def test_training_and_scoring_stop_as_well(self, tmp_path):
        affine = np.diag([30.0, 30, 30, 1])
        image = write(tmp_path / "a.nii.gz", affine=affine)
        label = write(tmp_path / "b.nii.gz", np.ones((4, 5, 6)), affine=affine)
        case = Case("a", "a", "folder", None, {"T1w": image}, lesions=(LesionFile(label),))
        with pytest.raises(DataError, match="3,240 ml"):
            prepare(case, Preparation(("T1w",)))
        brain = Case("a", "a", "folder", None, {"T1w": image}, brain=label)
        assert prepare(brain, Preparation(("T1w",))).brain.all()

    def test_united_files_are_listed(self, tmp_path):
        report = check_cohort(atlas_v1_indi(tmp_path), "atlas_v1")
        (united,) = [problem for problem in report.problems if problem.message == "mask files united into one lesion"]
        names = "031770_LesionSmooth_stx.nii.gz, 031770_LesionSmooth_1_stx.nii.gz, 031770_LesionSmooth_2_stx.nii.gz"
        assert (united.file, united.severity) == (f"case 031770_t01: {names}", "note")

    def test_a_mask_with_a_damaged_middle_is_a_line(self, tmp_path):
        root = siss(tmp_path, ".nii.gz")
        file = read_cases("isles2015_siss", root)[0].lesions[0].path
        content = bytearray(file.read_bytes())
        content[len(content) // 2 :] = b"\x00" * (len(content) - len(content) // 2)
        file.write_bytes(content)
        assert str(file) in {problem.file for problem in found(check_cohort(root, "isles2015_siss"), "error")}


PLACE = np.array([[-2.0, 0, 0, 30], [0, 2, 0, -40], [0, 0, 2, -25], [0, 0, 0, 1]])


def two_images(tmp_path, moved, *, shape=(20, 22, 18)):
    """A head with a skull-stripped brain, DWI and FLAIR; FLAIR with another affine."""
    brain = np.zeros(shape, dtype=np.float32)
    brain[4:-4, 4:-4, 4:-4] = np.random.default_rng(0).uniform(50, 150, tuple(n - 8 for n in shape))
    images = {"DWI": write(tmp_path / "images" / "a_DWI.nii.gz", brain, affine=PLACE)}
    head = np.pad(np.random.default_rng(1).uniform(50, 150, tuple(n - 2 for n in shape)), 1, constant_values=7)
    images["FLAIR"] = write(tmp_path / "images" / "a_FLAIR.nii.gz", head, affine=moved)
    label = write(tmp_path / "labels" / "a.nii.gz", np.where(brain > 140, 1, 0), affine=PLACE, kind=np.uint8)
    return Case("a", "a", "folder", None, images, lesions=(LesionFile(label),), label_modality="DWI")


def shifted(mm):
    affine = PLACE.copy()
    affine[0, 3] += mm
    return affine


class TestPlaces:
    @pytest.mark.parametrize("moved", [shifted(3000.0), np.eye(4), np.diag([-2.0, -2, 2, 1])])
    def test_no_overlap_and_a_lost_origin_are_errors_everywhere(self, tmp_path, moved):
        case = two_images(tmp_path, moved)
        file = str(case.images["FLAIR"])
        with pytest.raises(DataError) as error:
            prepare(case, Preparation(("DWI", "FLAIR")))
        assert error.value.where == file
        with pytest.raises(DataError) as error:
            export_nnunet([case], tmp_path / "out", name="x")
        assert error.value.where == file
        assert not list((tmp_path / "out").iterdir())
        report = check_cohort(tmp_path, "folder", label_modality="DWI")
        assert [problem.file for problem in found(report, "error")] == [file]

    def test_isles_trees_too(self, tmp_path):
        root = isles2022(tmp_path)
        case = read_cases("isles2022", root)[0]
        write(case.images["FLAIR"], shape=(9, 9, 2), affine=np.diag([-1, 1.2, 7, 1]) + np.eye(4, k=3) * 5000)
        assert [p.file for p in found(check_cohort(root, "isles2022"), "error")] == [str(case.images["FLAIR"])]

    def test_a_part_of_the_brain_is_a_warning_with_the_share(self, tmp_path):
        # 12 voxels of brain along x; a shift by 12 voxels less 4 of margin leaves 4 of them in the field of view.
        case = two_images(tmp_path, shifted(-24.0))
        with pytest.warns(DataWarning, match="covers 33% of the brain"):
            prepare(case, Preparation(("DWI", "FLAIR")))
        report = check_cohort(tmp_path, "folder", label_modality="DWI")
        assert report.ok
        assert ["covers 40% of the volume" in problem.message for problem in found(report, "warning")].count(True) == 1

    def test_what_is_outside_takes_the_image_s_own_background(self, tmp_path):
        case = two_images(tmp_path, shifted(-24.0))
        with pytest.warns(DataWarning, match="covers 40%"):
            written = export_nnunet([case], tmp_path / "out", name="x")
        voxels, _ = read_voxels(written.folder / "imagesTr" / "a_0001.nii.gz")
        assert float(voxels.min()) == pytest.approx(7)
        assert np.median(voxels[:4]) == pytest.approx(7)

    def test_shares_by_hand(self):
        one, half = Grid.of((10, 10, 10), np.eye(4)), Grid.of((5, 10, 10), np.eye(4))
        assert share_covered(one, one) == 1
        assert share_covered(one, half) == 0.5
        assert share_covered(half, one) == 1
        region = np.zeros((10, 10, 10), dtype=bool)
        region[3:7] = True
        assert share_covered(one, half, region) == 0.5
