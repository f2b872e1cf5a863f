"""The ``strokelab`` command: its commands, its exit statuses, its speed of answer."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from strokelab import __version__, cli, terminal
from strokelab.errors import DataError
from strokelab.runs import write_status
from strokelab.sweeps.record import Door, SweepMember, add_members

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
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(DataError):  # with its traceback, as the doors
        cli.main()


def test_our_own_mistakes_keep_their_traceback(monkeypatch):
    def fail():
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_wrong_usage_is_status_2(monkeypatch):
    paper = ["paper", "mapping_figure1", "data.root=x", "out=y"]
    for arguments in ([], ["chekc"], ["check"], ["phantom", "--out", "x"], ["check", "x", "--dataset"], paper):
        monkeypatch.setattr(sys, "argv", ["strokelab", *arguments])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 2, arguments


def test_the_help_stands_in_the_readme_s_five_panels():
    shown = CliRunner().invoke(cli.app, ["--help"], env={"COLUMNS": "200"}).output
    places = [shown.index(f"{number}. ") for number in range(1, 6)]
    assert places == sorted(places)
    assert places[1] < shown.index("│ train ") < places[2]
    assert places[4] < shown.index("│ submit ")


def test_the_version_is_said():
    said = CliRunner().invoke(cli.app, ["--version"])
    assert said.exit_code == 0
    assert said.output.split() == ["strokelab", __version__]


def test_without_a_terminal_nothing_is_wrapped_and_no_name_is_taken_for_markup(tmp_path):
    """A pipe: text and tables keep each path on its line; on a terminal they fold."""
    folder = tmp_path / f"[red]{'long' * 30}[/]"
    run = folder / "runs[lr=0.1]"
    write_status(run, "finished", minutes=1.0, steps=3)
    door = Door(None, tmp_path, sys.executable)
    add_members(folder, [SweepMember(0, ("seed=1",), run, "")], door=door, launcher="processes")
    command = [sys.executable, "-m", "strokelab", "sweep", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    told = [line for line in done.stdout.splitlines() if "Members: " in line]
    assert f"Members: {folder} " in told[0]
    row = next(line for line in done.stdout.splitlines() if line.startswith("runs["))
    assert row.split()[:2] == ["runs[lr=0.1]", "finished"]
    as_json = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True, cwd=tmp_path)
    content = json.loads(as_json.stdout)
    assert (content["schema"], content["ok"]) == ("strokelab.sweep/1", True)
    assert (content["folder"], content["finished"], content["dice"]) == (str(folder), 1, None)
    (member,) = content["members"]
    assert (member["folder"], member["state"], member["minutes"]) == (str(run), "finished", 1.0)
    assert member["overrides"] == ["seed=1"]
    none = subprocess.run([*command[:-1], str(tmp_path), "--json"], capture_output=True, text=True, cwd=tmp_path)
    refused = json.loads(none.stdout)
    assert (none.returncode, refused["ok"]) == (1, False)
    assert str(tmp_path) in refused["error"]["where"]


def test_consoles_fold_on_a_terminal_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "70")
    assert terminal.console().width > 10_000
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich then takes any output for a terminal
    assert terminal.console().width == 70


def test_phantom_and_check(tmp_path):
    runner = CliRunner()
    arguments = ["phantom", "--layout", "isles2015_siss", "--out", str(tmp_path / "p"), "--spacing", "8"]
    written = runner.invoke(cli.app, [*arguments, "--cases-per-site", "2", "--sites", "1", "--workers", "1"])
    assert written.exit_code == 0, written.output
    checked = runner.invoke(cli.app, ["check", str(tmp_path / "p"), "--dataset", "isles2015_siss"])
    assert checked.exit_code == 0, checked.output
    assert "2 of 2 subjects" in checked.output
    pictures = tmp_path / "pictures"
    words = ["check", str(tmp_path / "p"), "--dataset", "isles2015_siss", "--mirror", str(pictures)]
    plotted = runner.invoke(cli.app, words, env={"SLURM_CPUS_PER_TASK": "1"})
    assert plotted.exit_code == 0, plotted.output
    assert len([*pictures.glob("*_mirrored.png")]) == plotted.output.count(", flip ") == 2
    both = runner.invoke(cli.app, [*words, "--json"])
    assert both.exit_code == 2


def test_no_folder_for_temporary_files_is_said_in_words_and_other_errors_stay_whole(monkeypatch):
    def broken():
        raise OSError("a library without a place to write")

    monkeypatch.setattr(cli, "app", broken)
    with pytest.raises(OSError, match="library"):
        cli.main()

    def nowhere():
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    with pytest.raises(SystemExit, match="TMPDIR"):
        cli.main()
