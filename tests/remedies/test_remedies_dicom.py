"""Remedies about DICOM folders, followed on small series."""

import re
import shlex
from pathlib import Path

import numpy as np
from dicom_folders import write_series
from doing import executes, said
from typer.testing import CliRunner

from strokelab.cli import app
from strokelab.errors import StrokelabError
from strokelab.exchange import dicom_convert, dicom_import
from strokelab.exchange.dicom_series import series_of


def dicom(root: Path, out: Path, *words: str) -> str:
    """All that the command says, its error included."""
    result = CliRunner().invoke(app, ["dicom", str(root), str(out), *words])
    assert result.exception is None or isinstance(result.exception, StrokelabError), result.exception
    error = result.exception
    return result.output + (f"{error}" if error else "")


@executes("strokelab/exchange/dicom_import.py:_several", "strokelab/exchange/dicom_import.py:_write_one")
@executes("strokelab/exchange/dicom_import.py:_labelled", "strokelab/cli/dicom.py:_numbers")
def test_choices_among_series(tmp_path):
    for number in (3, 8):
        write_series(tmp_path / "in" / str(number), number, "AX T1")
    told = dicom(tmp_path / "in", tmp_path / "a")
    for number, option in enumerate(("--take T1w=3", "--runs", "--leave-out 8")):
        assert option in told
        assert "remedy" not in dicom(tmp_path / "in", tmp_path / str(number), *option.split())
    again = dicom(tmp_path / "in" / "3", tmp_path / "0", "--subject", "01")
    assert "--subject or --session" in again
    for option in ("--subject", "--session"):
        assert "remedy" not in dicom(tmp_path / "in" / "3", tmp_path / f"0{option}", option, "2")
    word = re.findall(r"--take \w+=\d+", said(_numbers, ["FLAIR"]).remedy)[0].split()[1]
    assert _numbers([word]) == {"FLAIR": 7}
    write_series(tmp_path / "in" / "9", 3, "AX T1", patient="other")
    write_series(tmp_path / "in" / "9", 4, "AX T2", patient="other", study="1.2.3.7")
    for option in ("--subject", "--session"):
        assert f"leave out {option}" in dicom(tmp_path / "in", tmp_path / "b", option, "1")
    assert "leave out --s" not in dicom(tmp_path / "in", tmp_path / "b", "--runs")


def _numbers(words: list[str]) -> dict[str, int]:
    from strokelab.cli.dicom import _numbers as parsed

    return parsed(words)


@executes("strokelab/exchange/dicom_series.py:check", "strokelab/exchange/dicom_convert.py:_check_shape")
@executes("strokelab/exchange/dicom_convert.py:_strongest", "strokelab/exchange/dicom_convert.py:_converted")
def test_a_series_is_left_out(tmp_path, monkeypatch):
    write_series(tmp_path / "in", 7, "AX T1", without=(3,))
    write_series(tmp_path / "in", 8, "AX T2")
    (series,), _ = series_of(write_series(tmp_path / "one", 7, "AX T1", without=(3,)))
    remedies = [
        said(series.check).remedy,
        said(dicom_convert._check_shape, series, (2, 2, 2, 3), False).remedy,
        said(dicom_convert._strongest, series, tmp_path / "x.nii.gz", np.ones((1, 1, 1, 2))).remedy,
    ]
    (tmp_path / "work" / "in").mkdir(parents=True)  # empty: dcm2niix makes nothing of it
    remedies.append(said(dicom_convert._converted, series, tmp_path / "work").remedy)
    for number, remedy in enumerate(remedies):
        words = shlex.split(re.findall(r"--leave-out \d+", remedy)[0])
        assert "remedy" not in dicom(tmp_path / "in", tmp_path / f"out{number}", *words)
        assert len([*(tmp_path / f"out{number}").rglob("*.nii.gz")]) == 1


def test_labels_are_said_as_they_are_taken():
    remedy = said(dicom_import.Wishes, subject="a-1").remedy
    option, value = remedy.split()
    assert option == "--subject"
    dicom_import.Wishes(subject=value)
