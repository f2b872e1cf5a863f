"""The ``strokelab`` command: its commands, its exit statuses, its speed of answer."""

import sys

import pytest
from typer.testing import CliRunner

from strokelab import cli
from strokelab.errors import DataError

COMMANDS = ("phantom", "check", "predict", "report", "cost")


def test_help_names_every_command_and_every_command_explains_itself():
    runner = CliRunner()
    listed = runner.invoke(cli.app, ["--help"], env={"COLUMNS": "200"})
    assert listed.exit_code == 0
    for name in COMMANDS:
        assert name in listed.output
        told = runner.invoke(cli.app, [name, "--help"], env={"COLUMNS": "200"})
        assert told.exit_code == 0
        assert "--out" in told.output or "--dataset" in told.output


def test_a_user_s_mistake_is_a_message_and_status_1(monkeypatch, capsys):
    def fail():
        raise DataError("a[b]/very/" + "long/" * 40 + "file.nii.gz", found="[red]x", expected="y", remedy="z")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    shown = capsys.readouterr().out
    assert "long/file.nii.gz\n" in shown, "paths are not broken, so that they can be copied"
    assert "[red]x" in shown, "brackets in names are no markup"
    assert "a[b]" in shown


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_wrong_usage_is_status_2(monkeypatch):
    for arguments in ([], ["chekc"], ["check"], ["phantom", "--out", "x"], ["check", "x", "--dataset"]):
        monkeypatch.setattr(sys, "argv", ["strokelab", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2, arguments


def test_phantom_and_check(tmp_path):
    runner = CliRunner()
    arguments = ["phantom", "--layout", "isles2015_siss", "--out", str(tmp_path / "p"), "--spacing", "8"]
    written = runner.invoke(cli.app, [*arguments, "--cases-per-site", "2", "--sites", "1", "--workers", "1"])
    assert written.exit_code == 0, written.output
    checked = runner.invoke(cli.app, ["check", str(tmp_path / "p"), "--dataset", "isles2015_siss"])
    assert checked.exit_code == 0, checked.output
    assert "2 of 2 people" in checked.output
