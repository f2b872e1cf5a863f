"""The trees against the published descriptions, read here with nibabel alone."""

import csv
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelab.phantoms.cohort import read_truth, write_cohort


def voxels(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def visible(root: Path, pattern: str) -> list[Path]:
    return sorted(path for path in root.rglob(pattern) if not path.name.startswith("."))


# ---------------------------------------------------------------- ATLAS v1.2


@pytest.fixture(scope="module")
def indi(tmp_path_factory):
    return write_cohort("atlas_v1", tmp_path_factory.mktemp("v1") / "c", spacing=8, cases_per_site=3, progress=False)


def test_indi_tree(indi):
    assert sorted(path.name for path in indi.iterdir() if path.is_dir()) == [f"Site{i}" for i in range(1, 10)]
    images = visible(indi, "*_t1w_deface_stx.nii.gz")
    assert len(images) == 27
    for image in images:
        _, person, _, name = image.relative_to(indi).parts
        assert name == f"{person}_t1w_deface_stx.nii.gz"
        assert re.fullmatch(r"03\d{4}", person)
        assert 31768 <= int(person) <= 31987
        masks = visible(image.parent, "*LesionSmooth*")
        assert masks[0 if len(masks) == 1 else -1].name == f"{person}_LesionSmooth_stx.nii.gz"
        assert all(re.fullmatch(rf"{person}_LesionSmooth(_\d+)?_stx\.nii\.gz", mask.name) for mask in masks)
        assert nib.load(image).shape[:3] == (25, 29, 24)
        assert all(np.array_equal(nib.load(mask).affine, nib.load(image).affine) for mask in masks)
    assert (indi / "standard_mni152.nii.gz").is_file()


def test_indi_traps(indi):
    assert visible(indi, "*_LesionSmooth_1_stx.nii.gz")
    again = visible(indi, "t02")
    assert [path.parts[-3] for path in again] == ["Site8"]
    first, second = (visible(again[0].parent / visit, "*_t1w_*")[0] for visit in ("t01", "t02"))
    assert not np.array_equal(voxels(first), voxels(second))
    masks = [voxels(visible(again[0].parent / visit, "*_LesionSmooth_stx*")[0]) for visit in ("t01", "t02")]
    np.testing.assert_array_equal(*masks)
    assert any(nib.load(path).shape[3:] == (1,) for path in visible(indi, "*_t1w_*"))
    twins = list(indi.rglob("._*.nii.gz"))
    assert twins
    assert all(twin.with_name(twin.name[2:]).is_file() for twin in twins)
    with pytest.raises(nib.filebasedimages.ImageFileError):
        nib.load(twins[0])
    values = {tuple(np.unique(voxels(path)).tolist()) for path in visible(indi, "*_LesionSmooth*")}
    assert values == {(0, 1), (0, 255)}


def test_indi_table(indi):
    with (indi / "ATLAS_Meta-Data_Release_1.1_standard_mni.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 27
    assert "# Strokes RH subcortical" in rows[0]
    assert {row["INDI Site ID"] for row in rows} == {f"Site{i}" for i in range(1, 10)}
    assert all(not row["INDI Subject ID"].startswith("0") for row in rows)
    assert rows[0]["Session"] != "t01"
    assert rows[0]["Session"].endswith("t01")
    for row in rows:
        person = indi / row["INDI Site ID"] / f"{int(row['INDI Subject ID']):06d}"
        assert person.is_dir()


def test_icpsr_tree(tmp_path):
    root = write_cohort("atlas_v1", tmp_path / "c", spacing=8, sites=7, cases_per_site=1, form="icpsr", progress=False)
    images = visible(root, "*_t1w_stx.nii.gz")
    assert len(images) == 7
    for image in images:
        top, part, cohort, folder, name = image.relative_to(root).parts
        assert (top, part) == ("standard_MNI", "standard_part1" if cohort < "c0006" else "standard_part2")
        assert re.fullmatch(rf"{cohort}s\d{{4}}t01", folder)
        assert name == f"{folder}_t1w_stx.nii.gz"
        assert (image.parent / f"{folder}_LesionSmooth_stx.nii.gz").is_file()


@pytest.mark.slow
def test_full_size_scan_is_on_the_exact_grid(tmp_path):
    root = write_cohort("atlas_v1", tmp_path / "c", spacing=1, sites=1, cases_per_site=1, progress=False)
    image = nib.load(visible(root, "*_t1w_*")[0])
    assert image.shape == (197, 233, 189, 1)
    np.testing.assert_array_equal(image.affine, [[1, 0, 0, -98], [0, 1, 0, -134], [0, 0, 1, -72], [0, 0, 0, 1]])
    assert image.header.get_zooms()[:3] == (1, 1, 1)
    (row,) = read_truth(root)
    assert float(row["lesion_mm3"]) == pytest.approx(float(row["planned_mm3"]), rel=0.01)


# ---------------------------------------------------------------- ATLAS v2.0


def test_atlas_v2_tree(tmp_path):
    root = write_cohort("atlas_v2", tmp_path / "c", spacing=8, sites=2, cases_per_site=3, progress=False)
    stem = "{0}_ses-1_space-MNI152NLin2009aSym"
    training, testing = visible(root / "Training", "*_T1w.nii.gz"), visible(root / "Testing", "*_T1w.nii.gz")
    assert (len(training), len(testing)) == (6, 2)
    for image in training + testing:
        cohort, subject, session, anat, name = image.relative_to(root).parts[1:]
        assert re.fullmatch(rf"sub-r{cohort[1:]}s\d{{3}}", subject)
        assert (session, anat, name) == ("ses-1", "anat", f"{stem.format(subject)}_T1w.nii.gz")
        assert (root / image.relative_to(root).parts[0] / cohort / "dataset_description.json").is_file()
    for image in training:
        mask = Path(str(image).replace("_T1w", "_label-L_desc-T1lesion_mask"))
        assert set(np.unique(voxels(mask))) == {0, 1}
    assert not visible(root / "Testing", "*mask*")
    assert not visible(root, "*label-R*")
    numbers = sorted(int(re.search(r"s(\d{3})_", path.name)[1]) for path in training + testing if "r001" in path.name)
    assert len(set(numbers)) == len(numbers) == 4
    rows = read_truth(root)
    assert sum(row["labelled"] == "0" for row in rows) == 2
    with (root / "20220425_ATLAS_2.0_MetaData.csv").open(newline="") as handle:
        table = list(csv.DictReader(handle))
    assert sorted(row["Subject ID"] for row in table) == sorted(
        row["subject"] for row in rows if row["labelled"] == "1"
    )


def test_subject_numbers_have_gaps(tmp_path):
    root = write_cohort("atlas_v2", tmp_path / "c", spacing=10, sites=1, cases_per_site=12, progress=False)
    numbers = sorted(int(row["subject"][-3:]) for row in read_truth(root))
    assert numbers[-1] > len(numbers)


def test_bidsified_tree(tmp_path):
    root = write_cohort(
        "atlas_v2", tmp_path / "c", spacing=8, sites=2, cases_per_site=1, form="bidsified", testing=1, progress=False
    )
    assert len(visible(root / "train" / "derivatives" / "ATLAS", "sub-r00?s*_T1w.nii.gz")) == 2
    assert len(visible(root / "test" / "derivatives" / "ATLAS", "sub-r00?s*_T1w.nii.gz")) == 1
    assert json.loads((root / "train/derivatives/ATLAS/dataset_description.json").read_text())["Name"]
    assert not list(root.rglob("R001"))


# ---------------------------------------------------------------- ISLES 2015


def test_siss_tree(tmp_path):
    root = write_cohort("isles2015_siss", tmp_path / "c", spacing=8, cases_per_site=3, progress=False)
    numbers, heights = [], set()
    for case in ("1", "2", "3"):
        folders = sorted((root / case).iterdir())
        assert all([file.stem for file in folder.iterdir()] == [folder.name] for folder in folders)
        tokens = {re.search(r"MR_(\w+)\.\d+$", f.name)[1] for f in folders if "MR_" in f.name}
        assert tokens == {"DWI", "Flair", "T1", "T2"}
        (label,) = [folder for folder in folders if "OT" in folder.name.split(".")]
        numbers += [folder.name.rsplit(".", 1)[1] for folder in folders]
        files = [nib.load(next(folder.iterdir())) for folder in folders]
        assert len({file.shape for file in files}) == 1
        assert all(np.array_equal(file.affine, files[0].affine) for file in files)
        heights.add(files[0].shape[2])
        flair = voxels(next((root / case).glob("*Flair*/*.nii")))
        lesion = voxels(next(label.iterdir()))
        assert 0.02 < (flair > 0).mean() < 0.4  # skull-stripped
        assert (flair[lesion > 0] > 0).all()
    assert len(set(numbers)) == len(numbers) == 15
    assert heights == {19, 20}  # 153 and 154 slices at 8 mm
    assert len({folder.name.split("OT")[0] for folder in root.glob("*/*OT*")}) == 2  # the prefix changes


def test_siss_flat_tree(tmp_path):
    root = write_cohort("isles2015_siss", tmp_path / "c", spacing=8, cases_per_site=1, form="flat", progress=False)
    names = sorted(path.name for path in (root / "training" / "1").iterdir())
    assert names == ["DWI.nii", "Flair.nii", "OT.nii", "T1.nii", "T2.nii"]


def test_spes_tree_has_both_label_forms_of_the_same_content(tmp_path):
    trees = {
        labels: write_cohort(
            "isles2015_spes", tmp_path / labels, spacing=6, cases_per_site=2, labels=labels, progress=False
        )
        for labels in ("both", "files", "values")
    }
    for case in ("1", "2"):
        names = {re.search(r"MR_(\w+)\.", path.name)[1] for path in (trees["both"] / case).glob("*MR_*")}
        assert names == {"CBF", "CBV", "DWI", "T1c", "T2", "TTP", "Tmax"}
        penumbra = voxels(next((trees["files"] / case).glob("*penumbralabel*/*.nii")))
        core = voxels(next((trees["files"] / case).glob("*corelabel*/*.nii")))
        values = voxels(next((trees["values"] / case).glob("*OT*/*.nii")))
        np.testing.assert_array_equal(values == 1, penumbra == 1)
        np.testing.assert_array_equal(values == 2, core == 1)
        assert (values == 1).any()
        assert (values == 2).any()
        tmax = voxels(next((trees["files"] / case).glob("*Tmax*/*.nii")))
        brain = voxels(next((trees["files"] / case).glob("*T1c*/*.nii"))) > 0
        assert np.median(tmax[(penumbra + core) > 0]) > np.median(tmax[brain]) + 3
    assert len(list((trees["both"] / "1").glob("*penumbralabel*"))) == 1
    assert len(list((trees["both"] / "2").glob("*OT*"))) == 1
    maps = np.concatenate([voxels(path).ravel() for path in trees["both"].glob("*/*TTP*/*.nii")])
    assert maps.min() < -5  # outliers


# ---------------------------------------------------------------- ISLES 2022


@pytest.fixture(scope="module")
def isles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("isles")
    return {
        form: write_cohort("isles2022", folder / form, spacing=5, sites=2, cases_per_site=3, form=form, progress=False)
        for form in ("zenodo", "challenge")
    }


def test_isles2022_trees_hold_the_same_bytes(isles):
    name = "sub-strokecase0001"
    for kind, (zenodo, challenge) in {
        "dwi": ("dwi/{}_dwi.nii.gz", "{}_dwi.nii.gz"),
        "adc": ("dwi/{}_adc.nii.gz", "{}_adc.nii.gz"),
        "flair": ("anat/{}_FLAIR.nii.gz", "{}_flair.nii.gz"),
    }.items():
        a = isles["zenodo"] / name / "ses-0001" / zenodo.format(f"{name}_ses-0001")
        b = isles["challenge"] / "rawdata" / name / "ses-0001" / challenge.format(f"{name}_ses-0001")
        assert a.read_bytes() == b.read_bytes(), kind
    for root in isles.values():
        assert len(visible(root / "derivatives", "*_msk.nii.gz")) == 6
        picture = next((root / "derivatives").rglob("*_snp.png")).read_bytes()
        assert picture.startswith(b"\x89PNG")


def test_isles2022_grids(isles):
    root = isles["zenodo"]
    first = nib.load(next(root.rglob("*case0001_*_dwi.nii.gz")))
    directions = first.affine[:3, :3] / np.linalg.norm(first.affine[:3, :3], axis=0)
    measured = [[-0.9983, -0.0581, 0.0016], [-0.0571, 0.9763, -0.2086], [-0.0106, 0.2083, 0.9780]]
    np.testing.assert_allclose(directions, measured, atol=0.02)
    for dwi in visible(root, "*_dwi.nii.gz"):
        case = dwi.name.split("_")[0]
        image = nib.load(dwi)
        adc, mask = (nib.load(next(root.rglob(f"{case}_*_{kind}.nii.gz"))) for kind in ("adc", "msk"))
        flair = nib.load(next(root.rglob(f"{case}_*_FLAIR.nii.gz")))
        assert nib.aff2axcodes(image.affine) == ("L", "A", "S")
        assert image.shape == adc.shape == mask.shape != flair.shape
        np.testing.assert_allclose(image.affine, mask.affine, atol=1e-5)
        assert not np.allclose(image.affine, flair.affine)
        assert int(mask.header["qform_code"]) == 0
        assert mask.get_data_dtype() == np.uint16
        np.testing.assert_array_equal(voxels(dwi) != 0, np.asarray(adc.dataobj) != 0)


def test_isles2022_units_and_one_empty_mask(isles):
    units, empty = [], 0
    for adc in visible(isles["zenodo"], "*_adc.nii.gz"):
        values = voxels(adc)
        top = np.percentile(values[values != 0], 99.9)
        factor = 1e6 if top < 0.1 else 1e3 if top < 100 else 1
        units.append(factor)
        assert 2600 < top * factor < 4800
        assert 650 < np.median(values[values != 0]) * factor < 1300
        mask = voxels(next(isles["zenodo"].rglob(adc.name.replace("adc", "msk"))))
        empty += not mask.any()
    assert set(units[:3]) == {1, 1e3, 1e6}
    assert empty == 1
    assert any((voxels(path) < 0).any() for path in visible(isles["zenodo"], "*_dwi.nii.gz"))


def test_isles2022_side_cars_and_centres(isles):
    root = isles["challenge"]
    contents = [json.loads(path.read_text()) for path in visible(root, "*_dwi.json")]
    assert {} in contents
    assert any(content.get("DiffusionBValue") for content in contents)
    assert len(visible(root, "*_flair.json")) < 6
    with (root / "center_ids.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    truth = {row["subject"]: row["site"] for row in read_truth(root)}
    assert {row["case_id"]: f"center-{row['center']}" for row in rows} == truth
    assert len(set(truth.values())) == 2


def test_isles2022_contrast_in_the_files(isles):
    seen = 0
    for mask_path in visible(isles["zenodo"], "*_msk.nii.gz"):
        mask = voxels(mask_path) > 0
        if mask.sum() < 4:
            continue
        dwi, adc = (voxels(next(isles["zenodo"].rglob(mask_path.name.replace("msk", kind)))) for kind in ("dwi", "adc"))
        rest = (dwi != 0) & ~mask
        assert dwi[mask].mean() > 1.25 * dwi[rest].mean()
        assert np.median(adc[mask]) < 0.9 * np.median(adc[rest])
        seen += 1
    assert seen >= 3


@pytest.mark.parametrize("layout", ["atlas_v1", "atlas_v2", "isles2015_siss", "isles2022"])
def test_truth_volumes_are_those_of_the_files(tmp_path, layout):
    root = write_cohort(layout, tmp_path / "c", spacing=6, sites=1, cases_per_site=3, progress=False)
    patterns = {"atlas_v1": "{s}_Lesion*", "atlas_v2": "{s}_*mask*", "isles2022": "{s}_*msk*"}
    for row in read_truth(root):
        if row.get("labelled") == "0":
            continue
        if layout == "isles2015_siss":
            files = list((root / row["case"].split("-")[1]).glob("*OT*/*.nii"))
        else:
            folder = root / "Site1" / row["subject"] / row["visit"] if layout == "atlas_v1" else root
            files = visible(folder, patterns[layout].format(s=row["subject"]))
        mask = np.any([voxels(file) > 0 for file in files], axis=0)
        volume = mask.sum() * abs(np.linalg.det(nib.load(files[0]).affine[:3, :3]))
        assert volume == pytest.approx(float(row["lesion_mm3"]), rel=1e-4)
