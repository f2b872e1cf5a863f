"""DICOM to BIDS: which series are taken, what is written, and that nothing of a subject's name comes with it."""

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_folders import NAME, SECRETS, write_series
from rich.console import Console

from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataError, StrokelabError
from strokelab.exchange.dicom_contrast import contrast_of
from strokelab.exchange.dicom_convert import KEPT_KEYS, _strongest, geometric_mean
from strokelab.exchange.dicom_import import Wishes, import_dicom
from strokelab.exchange.dicom_series import Slice, _missing, series_of
from strokelab.nifti import read_voxels

VALIDATOR = shutil.which("bids-validator-deno")
FLAIR = {"RepetitionTime": 9000.0, "EchoTime": 120.0, "InversionTime": 2500.0}


def convert(root: Path, out: Path, *, list_only: bool = False, **wishes) -> str:
    """What the command prints."""
    console = Console(record=True, width=200, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    try:
        import_dicom(root, out, Wishes(**wishes), list_only=list_only, console=console)
    except StrokelabError as error:
        error.printed = console.export_text()
        raise
    return console.export_text()


def scans(out: Path) -> list[str]:
    return sorted(str(path.relative_to(out)).removesuffix(".nii.gz") for path in out.rglob("*.nii.gz"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study in a folder that bears the subject's name."""
    root = tmp_path_factory.mktemp("dicom") / NAME
    write_series(root / "1", 1, "AAHead_Scout")
    write_series(root / "2", 2, "AX T1 SE")
    write_series(root / "3", 3, f"FLAIR {NAME}", **FLAIR)
    write_series(root / "4", 4, "ep2d_diff", b_values=(0, 1000), directions=3)
    write_series(root / "5", 5, "ADC map", ImageType=["DERIVED", "PRIMARY", "ADC"])
    (root / "2" / "notes.txt").write_text("no image")
    shutil.copy(next((root / "2").glob("*.dcm")), root / "2" / "copy.dcm")
    return root


@pytest.fixture(scope="module")
def converted(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("bids") / "ds"
    return out, convert(study, out)


def test_series_become_scans_with_their_values_and_places(converted):
    out, printed = converted
    anat = [f"sub-01/anat/sub-01_{name}" for name in ("FLAIR", "T1w")]
    assert scans(out) == [*anat, "sub-01/dwi/sub-01_ADC", "sub-01/dwi/sub-01_trace"]
    for words in ("a localizer", "1 files left out: no DICOM file", "1 files left out: a second copy"):
        assert words in printed
    voxels, grid = read_voxels(out / f"{anat[1]}.nii.gz")
    assert grid.spacing == pytest.approx((2, 2, 4))
    heights = (grid.matrix @ [0, 0, 5, 1])[2] - grid.matrix[2, 3]
    assert abs(heights) == pytest.approx(20)
    bottom = voxels[:, :, 0] if heights > 0 else voxels[:, :, -1]
    assert set(np.unique(bottom)) == {100, 150}, "the slice at 0 mm"
    # Rows of the first half, DICOM y below 0, which is towards the front: RAS+ y above 0.
    where = np.argwhere(bottom == 150).mean(axis=0)
    assert (grid.matrix @ [*where, 0, 1])[1] > 0
    trace, _ = read_voxels(out / "sub-01/dwi/sub-01_trace.nii.gz")
    expected = [(np.prod([1100.0 + 10 * d + z for d in range(3)])) ** (1 / 3) for z in range(6)]
    np.testing.assert_allclose(sorted(trace.min(axis=(0, 1))), expected, rtol=1e-5)
    (case,) = read_cases("bids", out, modalities=["DWI", "ADC", "FLAIR"])
    assert [path.name for path in case.images.values()] == [f"sub-01_{n}.nii.gz" for n in ("trace", "ADC", "FLAIR")]


def test_nothing_that_identifies_a_subject_is_written(converted):
    out, _ = converted
    for path in out.rglob("*"):
        assert not any(secret in str(path.relative_to(out)) for secret in SECRETS)
        if path.is_file():
            content = path.read_bytes()
            content += gzip.decompress(content) if path.name.endswith(".gz") else b""
            assert not any(secret.encode() in content for secret in SECRETS), path
        if path.suffix == ".json" and path.parent != out:
            assert set(json.loads(path.read_text())) <= set(KEPT_KEYS)
    assert json.loads((out / "sub-01/anat/sub-01_FLAIR.json").read_text())["EchoTime"] == 0.12
    assert (out / "participants.tsv").read_text() == "participant_id\nsub-01\n"


@pytest.mark.skipif(VALIDATOR is None, reason="bids-validator-deno is not installed")
def test_the_dataset_is_valid(converted):
    done = subprocess.run([VALIDATOR, converted[0], "--ignoreWarnings"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("description", "tags", "contrast"),
    [
        ("t1_mprage_sag", {}, "T1w"),
        ("AX T1 +C", {}, "T1c"),
        ("AX T1", {"ContrastBolusAgent": "Gadovist"}, "T1c"),
        ("t2_tse_tra", {}, "T2w"),
        ("SAG T1 FLAIR", {}, "T1w"),
        ("t2_tirm_tra_dark-fluid", {}, "FLAIR"),
        ("T2* GRE", {}, "T2starw"),
        ("PD tra", {}, "PD"),
        ("DWI b1000", {}, "DWI"),
        ("x", {"ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "TRACEW"]}, "DWI"),
        ("ep2d_diff_ADC", {}, "ADC"),
        ("serie", FLAIR, "FLAIR"),
        ("serie", {"RepetitionTime": 4000.0, "EchoTime": 100.0}, "T2w"),
        ("serie", {}, "T1w"),
        ("serie", {"RepetitionTime": 1500.0, "EchoTime": 50.0}, ""),
        ("t1 mpr cor", {}, ""),
        ("t1_mprage", {"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, ""),
        ("3D TOF", {}, ""),
        ("SWI_Images", {}, ""),
        ("ep2d_perf", {}, ""),
        ("ep2d_diff_FA", {}, ""),
        ("head", {"Modality": "CT"}, ""),
        ("localizer", {}, ""),
    ],
)
def test_what_a_series_is_taken_for(tmp_path, description, tags, contrast):
    (series,), _ = series_of(write_series(tmp_path, 1, description, ProtocolName="", **tags))
    verdict = contrast_of(series)
    assert verdict.contrast == contrast
    assert verdict.why


def test_several_series_of_one_contrast(tmp_path):
    for number in (3, 8):
        write_series(tmp_path / "in", number, "FLAIR", **FLAIR)
    write_series(tmp_path / "in", 9, "AX T1")
    with pytest.raises(ConfigError) as error:
        convert(tmp_path / "in", tmp_path / "a")
    assert "series 3 (FLAIR), series 8 (FLAIR)" in error.value.printed
    assert "--take FLAIR=3" in error.value.printed
    assert scans(tmp_path / "a") == ["sub-01/anat/sub-01_T1w"], "what is clear is done"
    convert(tmp_path / "in", tmp_path / "b", take={"FLAIR": 8}, contrasts=["FLAIR"])
    assert scans(tmp_path / "b") == ["sub-01/anat/sub-01_FLAIR"]
    convert(tmp_path / "in", tmp_path / "c", runs=True)
    assert scans(tmp_path / "c")[1:] == [f"sub-01/anat/sub-01_run-{run}_FLAIR" for run in (1, 2)]
    convert(tmp_path / "in", tmp_path / "d", leave_out=[3], subject="x", session="1")
    assert scans(tmp_path / "d") == [f"sub-x/ses-1/anat/sub-x_ses-1_{name}" for name in ("FLAIR", "T1w")]
    with pytest.raises(ConfigError, match="upper and lower case"):
        Wishes(take={"flair": 3})
    # The trace that the scanner made is taken, its directions are not.
    write_series(tmp_path / "dwi", 1, "diff", b_values=(0, 1000), directions=3)
    write_series(tmp_path / "dwi", 2, "diff_TRACEW", b_values=(1000,), ImageType=["DERIVED", "PRIMARY", "TRACEW"])
    assert "its trace is taken" in convert(tmp_path / "dwi", tmp_path / "e")
    assert read_voxels(tmp_path / "e/sub-01/dwi/sub-01_trace.nii.gz")[0].min() == 1100


def test_subjects_and_sessions(tmp_path):
    write_series(tmp_path / "in" / "b", 1, "AX T1", patient="one")
    write_series(tmp_path / "in" / "a" / "1", 1, "AX T1", patient="two")
    write_series(tmp_path / "in" / "a" / "2", 1, "AX T2", patient="two", study="1.2.3.2", StudyDate="20230101")
    convert(tmp_path / "in", tmp_path / "out")
    names = ["sub-01/ses-1/anat/sub-01_ses-1_T2w", "sub-01/ses-2/anat/sub-01_ses-2_T1w", "sub-02/anat/sub-02_T1w"]
    assert scans(tmp_path / "out") == names, "subjects as their files come, sessions by date"
    for option in ("subject", "session"):
        with pytest.raises(ConfigError, match="--" + option):
            convert(tmp_path / "in", tmp_path / "out", **{option: "1"})
        with pytest.raises(ConfigError, match="letters and digits"):
            Wishes(**{option: "a_b"})
    write_series(tmp_path / "in" / "c", 1, "AX T1", patient="three", slices=8)
    convert(tmp_path / "in" / "c", tmp_path / "out")
    assert scans(tmp_path / "out") == [*names, "sub-03/anat/sub-03_T1w"], "added under the next number"
    with pytest.raises(ConfigError) as error:
        convert(tmp_path / "in" / "c", tmp_path / "out", subject="03")
    assert "there already" in error.value.printed
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").touch()
    with pytest.raises(DataError, match="something else"):
        convert(tmp_path / "in", tmp_path / "mine")
    convert(tmp_path / "in", tmp_path / "new", list_only=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"without": (3,)}, "1 missing: between 4.0 and 12.0 mm"),
        ({"b_values": (1000,), "directions": 2, "without": (12,)}, None),
        ({"syntax": "1.2.840.10008.1.2.1.99"}, "Deflated Explicit VR Little Endian"),
        ({"syntax": "1.2.840.10008.1.2.4.201"}, "High-Throughput JPEG 2000"),
    ],
)
def test_series_that_are_not_whole_or_cannot_be_unpacked(tmp_path, settings, words):
    write_series(tmp_path / "in" / "a", 1, "AX DWI", **settings)
    write_series(tmp_path / "in" / "b", 2, "FLAIR", **FLAIR)
    with pytest.raises(ConfigError) as error:
        convert(tmp_path / "in", tmp_path / "out")
    assert (words or "2 images at most places, fewer at 20.0 mm") in error.value.printed
    assert scans(tmp_path / "out") == ["sub-01/anat/sub-01_FLAIR"]


def test_volumes_of_the_highest_b_value(tmp_path):
    """Of files with many frames, whose volumes only dcm2niix tells apart."""
    (series,), _ = series_of(write_series(tmp_path, 1, "DWI"))
    volumes = np.arange(8, dtype=np.float32).reshape(1, 1, 2, 4)
    with pytest.raises(DataError, match="unknown b values"):
        _strongest(series, tmp_path / "image.nii.gz", volumes)
    (tmp_path / "image.bval").write_text("0 1000 995 50\n")
    np.testing.assert_array_equal(_strongest(series, tmp_path / "image.nii.gz", volumes), volumes[..., 1:3])


def test_a_series_that_is_compressed_without_loss_has_its_values(tmp_path):
    plain = write_series(tmp_path / "plain", 1, "AX T1")
    for path in write_series(tmp_path / "packed", 1, "AX T1").glob("*.dcm"):
        header = pydicom.dcmread(path)
        header.compress(pydicom.uid.RLELossless)
        header.save_as(path)
    for folder in (plain, tmp_path / "packed"):
        convert(folder, tmp_path / "out" / folder.name)
    one, other = ((tmp_path / "out" / name / "sub-01/anat/sub-01_T1w.nii.gz") for name in ("plain", "packed"))
    np.testing.assert_array_equal(read_voxels(one)[0], read_voxels(other)[0])


def test_encrypted_and_foreign_files(tmp_path):
    write_series(tmp_path / "in", 1, "AX T1")
    (tmp_path / "in" / "x.dcm").write_bytes(b"\x30\x82\x10\x00" + bytes(200))
    with pytest.raises(DataError, match="encrypted"):
        series_of(tmp_path / "in")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.dcm").write_bytes(bytes(200))
    with pytest.raises(DataError, match="none of them a DICOM image"):
        series_of(tmp_path / "other")
    (tmp_path / "other" / "x.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05")
    with pytest.raises(DataError, match="none of them a DICOM image"):
        series_of(tmp_path / "other")


def test_missing_slices_and_geometric_means_by_numbers():
    def at(*places):
        return [Slice(Path("x"), place, (), None, 1) for place in places]

    assert _missing(at(0, 4, 8, 12)) == ""
    assert _missing(at(12, 0, 8, 4)) == "", "in any order"
    assert "2 missing" in _missing(at(0, 4, 8, 20, 24))
    assert "fewer at 8.0 mm" in _missing(at(0, 0, 4, 4, 8))
    means = geometric_mean(np.array([[[[2.0, 8.0], [0.0, 5.0]]]], dtype=np.float32))
    np.testing.assert_allclose(means, [[[4.0, 0.0]]], rtol=1e-6)


def test_a_study_that_is_in_the_dataset_is_not_a_further_subject(tmp_path):
    write_series(tmp_path / "in", 3, "AX T1")
    convert(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ConfigError) as caught:
        convert(tmp_path / "in", tmp_path / "out")
    assert "sub-01_T1w.nii.gz" in caught.value.printed
    assert [path.name for path in (tmp_path / "out").glob("sub-*")] == ["sub-01"]
    assert (tmp_path / "out" / "participants.tsv").read_text().split() == ["participant_id", "sub-01"]
