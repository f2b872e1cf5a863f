"""The table of a sweep: every member with what became of it, means where they mean something."""

import csv
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from strokelab import runs
from strokelab.errors import RunError
from strokelab.sweeps.record import Door, SweepMember, add_members
from strokelab.sweeps.table import SweepDisplay, gather_states, print_sweep, swept_values, value_means

DOOR = Door(Path("train.py"), Path("/"), sys.executable)


def sweep(folder, **dices):
    """Members ``model_seed``: finished with a Dice, or failed."""
    members = []
    for number, (name, dice) in enumerate(dices.items()):
        model, seed = name.split("_")
        member = SweepMember(number, (f"model={model}", f"seed={seed}", "data=phantom"), folder / name, "")
        member.folder.mkdir(parents=True)
        if dice is None:
            runs.write_status(member.folder, "failed", error="ValueError: [red]boom[/red]")
        else:
            runs.write_status(member.folder, "finished", minutes=1.0)
            (member.folder / runs.CASES).write_text(f"case,dice\na,{dice}\n")
        members.append(member)
    add_members(folder, members, door=DOOR, launcher="processes")
    return members


def printed(folder, *asked):
    console = Console(width=200, record=True, force_terminal=False)
    print_sweep(folder, console, asked)
    return console.export_text()


def test_the_table_names_all_members_and_means(tmp_path):
    sweep(tmp_path / "s", sgnet_1=0.5, sgnet_2=0.7, unet_1=0.2, unet_2=None)
    text = printed(tmp_path / "s")
    assert "3 of 4 members finished" in text
    assert "ValueError: [red]boom[/red]" in text
    assert "mean 0.467, SD 0.252" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["model=sgnet", "2", "0.600", "0.141"] in rows
    assert ["model=unet", "1", "0.200"] in rows
    assert ["seed=1", "2", "0.350", "0.212"] in rows
    assert "data=phantom" not in text
    assert f"evaluate sweep={tmp_path / 's'}" in text.replace("evaluate.py", "evaluate")
    table = list(csv.DictReader((tmp_path / "s/sweep.csv").open()))
    assert [(row["folder"], row["model"], row["seed"], row["state"], row["dice"]) for row in table] == [
        ("sgnet_1", "sgnet", "1", "finished", "0.5"),
        ("sgnet_2", "sgnet", "2", "finished", "0.7"),
        ("unet_1", "unet", "1", "finished", "0.2"),
        ("unet_2", "unet", "2", "failed", ""),
    ]


def test_values_with_one_member_each_repeat_nothing(tmp_path):
    members = sweep(tmp_path, sgnet_1=0.5, sgnet_2=0.7)
    assert value_means(gather_states(tmp_path)) == []
    assert swept_values(members)[members[0]] == {"seed": "1"}


def test_a_sweep_without_a_finished_member_has_no_mean(tmp_path):
    sweep(tmp_path, sgnet_1=None)
    text = printed(tmp_path)
    assert "0 of 1 members finished" in text
    assert "mean" not in text
    assert "evaluate.py" not in text


def test_members_asked_for_now_stand_for_those_recorded_in_their_folders(tmp_path):
    sweep(tmp_path, sgnet_1=0.5, sgnet_2=0.7)
    (tmp_path / "sgnet_1" / runs.CONFIG).touch()
    (tmp_path / "sgnet_1" / runs.ENVIRONMENT).write_text(json.dumps({"digest": "a"}))
    text = printed(tmp_path, SweepMember(0, ("seed=1", "trainer.max_epochs=9"), tmp_path / "sgnet_1", "b"))
    assert "1 of 2 members finished" in text
    assert "other settings" in text


def test_a_sweep_whose_csv_cannot_be_written_is_shown(tmp_path):
    sweep(tmp_path / "s", sgnet_1=0.5)
    (tmp_path / "s/sweep.csv").mkdir()
    assert "cannot be written there" in printed(tmp_path / "s")


def test_a_folder_that_is_no_sweep(tmp_path):
    with pytest.raises(RunError, match=r"no multirun\.yaml"):
        gather_states(tmp_path)


def test_a_long_sweep_fits_the_terminal(tmp_path):
    members = sweep(tmp_path, **{f"m_{number}": 0.5 for number in range(60)})
    console = Console(width=100, height=20, force_terminal=True, record=True)
    with SweepDisplay(members, tmp_path, console, at_once=2) as display:
        display.started(members[3])
        display.refresh()
        shown = display._fitting()
    assert len(shown) <= 16
    assert members[3] in shown
    assert "59 finished, 1 running" in display._counts()
