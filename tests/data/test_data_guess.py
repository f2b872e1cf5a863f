"""``strokelab check`` without a dataset's name: guessed and said, or what lies there is named."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reader_trees import WRITERS, own_folder, write
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.data import readers
from strokelab.data.check import check_cohort
from strokelab.errors import ConfigError, DataError


@pytest.mark.parametrize("dataset", WRITERS)
def test_every_dataset_is_told_by_its_files(tmp_path, dataset):
    root = WRITERS[dataset](tmp_path)
    assert readers.guessed(root) == dataset
    result = CliRunner().invoke(app, ["check", str(root)])
    assert result.exit_code == 0, result.output
    assert f"Dataset: {dataset}, told by the file names" in result.output


def test_a_table_is_the_folder_dataset(tmp_path):
    write(tmp_path / "a.nii.gz")
    (tmp_path / "mine.csv").write_text("case,T1w\n1,a.nii.gz\n")
    result = CliRunner().invoke(app, ["check", str(tmp_path / "mine.csv"), "--json"])
    content = json.loads(result.stdout)
    assert (result.exit_code, content["dataset"], content["guessed"], content["cases"]) == (0, "folder", True, 1)


def test_bids_and_unknown_trees_are_described(tmp_path):
    bids = tmp_path / "bids"
    for number in (1, 2):
        write(bids / f"sub-{number:02d}" / "anat" / f"sub-{number:02d}_T1w.nii.gz")
    write(bids / "sub-01" / "anat" / "sub-01_FLAIR.nii.gz")
    (bids / "dataset_description.json").write_text("{}")
    assert readers.guessed(bids) == "bids"
    (bids / "dataset_description.json").write_text('{"DatasetType": "derivative"}')  # of predictions, say
    with pytest.raises(DataError) as error:
        readers.guessed(bids)
    assert "BIDS" in error.value.found
    assert "2 subjects with 2 T1w, 1 FLAIR" in error.value.found
    assert "unpack" not in error.value.remedy
    assert all(name in error.value.expected for name in readers.names())
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    (other / "deep" / "x.dcm").touch()
    with pytest.raises(DataError, match=r"1 \.dcm") as error:
        readers.guessed(other)
    assert "unpack" not in str(error.value)
    (other / "ATLAS.tar.gz").touch()
    with pytest.raises(DataError) as error:
        readers.guessed(other)
    assert "ATLAS.tar.gz" in error.value.remedy
    # The remedy for BIDS, followed.
    rows = [f"sub-{n},{bids}/sub-{n}/anat/sub-{n}_T1w.nii.gz" for n in ("01", "02")]
    (tmp_path / "mine.csv").write_text("\n".join(["case,T1w", *rows]))
    assert check_cohort(tmp_path / "mine.csv", "folder").cases == 2


def test_a_wrong_name_lists_the_choices(tmp_path):
    with pytest.raises(ConfigError) as error:
        check_cohort(tmp_path, "atlas")
    assert all(name in error.value.expected for name in readers.names())
    result = CliRunner().invoke(app, ["check", str(tmp_path), "--json"])
    content = json.loads(result.stdout)
    assert (result.exit_code, content["error"]["where"]) == (1, str(tmp_path))
    assert "empty" in content["error"]["found"]


def test_the_report_as_json(tmp_path):
    root = own_folder(tmp_path)
    result = CliRunner().invoke(app, ["check", str(root), "--dataset", "folder", "--json"])
    content = json.loads(result.stdout)
    assert (result.exit_code, content["schema"], content["ok"]) == (0, "strokelab.check/1", True)
    assert (content["cases"], content["labelled"], content["subjects"]) == (2, 1, 2)
    assert content["sites"] == {"Lyon": 1, "Oslo": 1}
    assert content["lesion_volumes_ml"] == {"ann": 0.001}
    assert {problem["severity"] for problem in content["problems"]} <= {"error", "warning", "note"}
    (root / "labels" / "ann.nii.gz").write_bytes(b"no mask")
    result = CliRunner().invoke(app, ["check", str(root), "--json"])
    content = json.loads(result.stdout)
    assert (result.exit_code, content["ok"], content["error"]) == (1, False, None)
    assert str(root / "labels" / "ann.nii.gz") in [p["file"] for p in content["problems"] if p["severity"] == "error"]


PARTS = [
    "images",
    "labels",
    "brain",
    "rawdata",
    "derivatives",
    "Training",
    "Testing",
    "Site1",
    "031806",
    "t01",
    "1",
    "Nr2",
]
STEMS = [
    "a_T1w",
    "a",
    "031806_t1w_deface_stx",
    "031806_LesionSmooth_1_stx",
    "sub-r001s001_ses-1_T1w",
    "OT",
    "Flair",
    "T1",
]
STEMS += [
    "sub-r001s001_label-L_desc-T1lesion_mask",
    "sub-strokecase0001_ses-0001_dwi",
    "VSD.Brain.XX.O.MR_Tmax.1",
    "Tmax",
]
STEMS += ["sub-strokecase0001_ses-0001_msk", "²_T1w", "VSD.Brain....OT.5", "c0001s0004t01_t1w_stx"]
ENDINGS = [".nii", ".nii.gz", ".NII.GZ", ".json", ".zip", ""]


@settings(max_examples=25, deadline=None)
@given(
    files=st.lists(
        st.tuples(
            st.lists(st.sampled_from([*PARTS, "²", "nr٣"]), max_size=3),
            st.sampled_from(STEMS),
            st.sampled_from(ENDINGS),
        ),
        max_size=6,
    ),
    content=st.binary(max_size=20),
)
def test_of_any_tree_only_our_own_errors_leave_a_reader(files, content):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve() / "tree"
        root.mkdir()
        for parts, stem, ending in files:
            file = root.joinpath(*parts, stem + ending)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        for dataset in readers.names():
            try:
                readers.read(dataset, root)
            except (DataError, ConfigError):
                continue
        try:
            dataset = readers.guessed(root)
        except DataError:
            return
        check_cohort(root, dataset)
