"""Any BIDS dataset: which files are images and masks, what the tables say, two of a kind, what is left out."""

import json
from pathlib import Path

import pytest
from reader_trees import bids, mask, write

from strokelab.data import read_cases
from strokelab.data.check import check_cohort
from strokelab.data.splits import HoldOut
from strokelab.errors import ConfigError, DataError, DataWarning


def cases(root: Path, **options):
    return {case.case_id: case for case in read_cases("bids", root, **options)}


def touched(root: Path, *names: str) -> Path:
    """Files of which only the names count."""
    for name in names:
        subject, session = name.split("_")[0], next((f"{w}" for w in name.split("_") if w.startswith("ses-")), "")
        folder = "dwi" if name.rsplit("_", 1)[1].lower() in ("dwi", "adc", "trace") else "anat"
        *above, file = name.split("/")
        place = root.joinpath(*above, Path(subject).name if not above else file.split("_")[0], session, folder)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{file}.nii.gz").touch()
    return root


def test_sessions_tables_and_masks(tmp_path):
    root = bids(tmp_path)
    (root / "sub-01" / "sub-01_sessions.tsv").write_text("session_id\tsite\nses-2\tBern\n")
    found = cases(root, modalities=["T1w"])
    assert list(found) == ["sub-01_ses-1", "sub-01_ses-2", "sub-02_ses-1"]
    assert [case.subject_id for case in found.values()] == ["sub-01", "sub-01", "sub-02"]
    assert [case.site for case in found.values()] == ["Oslo", "Bern", "Lyon"], "a session's own row stands above"
    assert found["sub-01_ses-1"].meta == {"site": "Oslo", "age": 71.0, "group": "drug"}
    assert "age" not in found["sub-02_ses-1"].meta
    assert {case.lesions[0].path.name for case in found.values()} == {
        f"{name}_label-lesion_mask.nii.gz" for name in found
    }
    assert {case.brain for case in found.values()} == {None}
    heads = cases(root, modalities=["FLAIR", "T1"], brain="*_desc-brain_mask")
    assert list(heads["sub-02_ses-1"].images) == ["FLAIR", "T1"]
    assert heads["sub-02_ses-1"].brain.name == "sub-02_ses-1_desc-brain_mask.nii.gz"
    by_group = cases(root, site_column="Group")
    assert [case.site for case in by_group.values()] == ["drug", "drug", "placebo"]
    with pytest.raises(ConfigError, match="site, age, group"):
        cases(root, site_column="scanner")
    assert cases(root, modalities=[]) == cases(root), "those that there are"
    assert check_cohort(root, "bids").ok


def test_without_participants_and_with_gaps_in_it(tmp_path):
    root = bids(tmp_path)
    table = root / "participants.tsv"
    table.write_text("participant_id\tsite\n01\tOslo\n")
    with pytest.warns(DataWarning, match=r"no row for 1 subjects \(sub-02\)"):
        assert [case.site for case in cases(root).values()] == ["Oslo", "Oslo", None]
    table.write_text("participant_id\tsite\nsub-01\tOslo\n01\tLyon\n")
    with pytest.warns(DataWarning):
        cases(root)  # rows of one subject under two spellings: the later one
    table.unlink()
    with pytest.warns(DataWarning, match="no participants.tsv"):
        assert {case.site for case in cases(root).values()} == {None}


def test_which_image_is_which_contrast(tmp_path):
    names = ("T1w", "ce-gadolinium_T1w", "T2w", "dwi", "trace", "adc", "desc-x_T2starw")
    root = touched(tmp_path, *(f"sub-1_{name}" for name in names))
    with pytest.warns(DataWarning):
        (case,) = cases(root, modalities=["T1", "T1c", "T2", "DWI", "ADC", "T2starw"]).values()
    names = {name: path.name.removeprefix("sub-1_").removesuffix(".nii.gz") for name, path in case.images.items()}
    assert names == {
        **{"T1": "T1w", "T1c": "ce-gadolinium_T1w", "T2": "T2w", "DWI": "trace", "ADC": "adc"},
        "T2starw": "desc-x_T2starw",
    }
    (root / "sub-1" / "dwi" / "sub-1_trace.nii.gz").unlink()
    with pytest.warns(DataWarning):
        assert cases(root, modalities=["DWI"])["sub-1"].images["DWI"].name == "sub-1_dwi.nii.gz"
    (root / "sub-1" / "dwi" / "sub-1_dwi.bval").touch()
    with pytest.raises(DataError, match="diffusion series"), pytest.warns(DataWarning):
        cases(root, modalities=["DWI"])
    with pytest.raises(DataError, match=r"sub-1_\*FLAIR"), pytest.warns(DataWarning):
        cases(root, modalities=["T1w", "FLAIR"])


@pytest.mark.filterwarnings("ignore::strokelab.errors.DataWarning")
def test_two_of_one_contrast(tmp_path):
    root = touched(tmp_path, "sub-1_run-1_T1w", "sub-1_run-2_T1w", "sub-2_T1w", "sub-1_run-2_label-lesion_mask")
    with pytest.raises(DataError) as error:
        cases(root)
    assert "run-1" in error.value.found
    assert "run-2" in error.value.found
    assert "data.options.repeats=first" in error.value.remedy
    assert "data.options.prefer={run: 1}" in error.value.remedy
    assert cases(root, repeats="last")["sub-1"].lesions[0].path.name == "sub-1_run-2_label-lesion_mask.nii.gz"
    with pytest.raises(DataError, match="masks of another image"):
        cases(root, repeats="first")
    chosen = cases(root, prefer={"run": 2})
    assert list(chosen) == ["sub-1", "sub-2"], "who has no run-2 has its only image"
    with pytest.raises(ConfigError, match="repeats"):
        cases(root, repeats="newest")


@pytest.mark.filterwarnings("ignore::strokelab.errors.DataWarning")
def test_masks_of_two_derivatives_of_strokelab_and_of_another_space(tmp_path):
    one = "derivatives/one/sub-1_label-lesion_mask"
    root = touched(tmp_path, "sub-1_T1w", "sub-1_space-MNI152_T1w", one)
    chosen = {"prefer": {"space": None}}
    assert cases(root, **chosen)["sub-1"].lesions
    touched(root, "derivatives/two/sub-1_space-T1w_desc-lesion_mask", "derivatives/two/sub-1_desc-brain_mask")
    with pytest.raises(DataError, match="2 derivatives") as error:
        cases(root, **chosen)
    assert "data.options.masks_from=one" in error.value.remedy
    assert len(cases(root, masks_from="two", **chosen)["sub-1"].lesions) == 1
    with pytest.raises(DataError, match="another image"):
        cases(root, prefer={"space": "MNI152"}, masks_from="one")
    assert cases(root, masks="*_desc-brain_mask", **chosen)["sub-1"].lesions[0].path.name.endswith("brain_mask.nii.gz")
    made = {"DatasetType": "derivative", "GeneratedBy": [{"Name": "strokelab"}]}
    (root / "derivatives" / "one" / "dataset_description.json").write_text(json.dumps(made))
    with pytest.warns(DataWarning, match="predictions are no annotations"):
        assert "two" in str(cases(root, **chosen)["sub-1"].lesions[0].path)
    assert "one" in str(cases(root, masks_from="one", **chosen)["sub-1"].lesions[0].path), "asked for by name"


@pytest.mark.filterwarnings("ignore::strokelab.errors.DataWarning")
def test_the_grid_of_masks_and_images_of_a_derivative(tmp_path):
    root = touched(tmp_path, "sub-1_T1w", "sub-1_trace", "derivatives/m/sub-1_space-dwi_label-lesion_roi")
    assert cases(root)["sub-1"].label_modality == "DWI"
    assert cases(root, label_modality="T1w")["sub-1"].label_modality == "T1w"
    with pytest.raises(DataError, match="label_modality"):
        cases(root, modalities=["T1w"], label_modality="DWI")
    touched(root, "derivatives/prep/sub-1_desc-preproc_T1w")
    image = cases(root, images_from="prep", modalities=["T1w"])["sub-1"].images["T1w"]
    assert image.name == "sub-1_desc-preproc_T1w.nii.gz"


def test_labels_by_value_and_several_masks_of_one_derivative(tmp_path):
    write(tmp_path / "sub-1" / "anat" / "sub-1_T1w.nii.gz")
    place = tmp_path / "derivatives" / "m" / "sub-1" / "anat"
    for number in (1, 2):
        write(place / f"sub-1_label-lesion{number}_mask.nii.gz", mask((number, 1, 1)))
    with pytest.warns(DataWarning):
        (case,) = cases(tmp_path).values()
    assert len(case.lesions) == 2
    with pytest.warns(DataWarning):
        (case,) = cases(tmp_path, masks="*_label-lesion1_mask", values=[1]).values()
    assert [file.values for file in case.lesions] == [(1,)]


def test_a_holdout_in_strata_of_a_column():
    from dataclasses import replace

    from strokelab.contract import Case, LesionFile

    one = Case("c", "s", "bids", None, {"T1w": Path("x")}, (LesionFile(Path("m")),))
    cohort = [
        replace(one, case_id=f"c{n}", subject_id=f"s{n}", meta={"group": "ab"[n % 2], "age": float(n)})
        for n in range(20)
    ]
    for column, group in (("group", lambda n: n % 2), ("age", lambda n: n // 5)):
        split = HoldOut(0.4, 0.2, stratify=column)(cohort, lambda: {})
        for part, share in ((split.test, 0.4), (split.val, 0.2)):
            counts = {group(k): 0 for k in range(20)}
            for name in part:
                counts[group(int(name[1:]))] += 1
            assert set(counts.values()) == {round(share * 20 / len(counts))}
    with pytest.raises(ConfigError, match="age, group"):
        HoldOut(stratify="sex")(cohort, lambda: {})
