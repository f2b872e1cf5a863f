"""sweep.json: grows from several processes at once, and is believed only as far as its folder."""

import json
import multiprocessing
import sys
from pathlib import Path

import pytest

from strokelab.errors import RunError
from strokelab.sweeps.record import SWEEP, Door, SweepMember, add_members, read_record, told_record

DOOR = Door(Path("/there/train.py"), Path("/there"), sys.executable, ("--config-dir", "/mine"))


def member(folder, number, *overrides):
    return SweepMember(number, overrides or (f"seed={number}",), folder.resolve() / f"m{number}", f"{number:032x}")


def test_what_is_written_is_read_wherever_the_folder_lies(tmp_path):
    folder = tmp_path / "sweep"
    add_members(folder, [member(folder, 1), member(folder, 0, "name='a, b'", "é=1")], door=DOOR, launcher="processes")
    folder.rename(tmp_path / "archive")
    record = read_record(tmp_path / "archive")
    assert record.door == DOOR
    assert record.launcher == "processes"
    assert record.members == (member(tmp_path / "archive", 0, "name='a, b'", "é=1"), member(tmp_path / "archive", 1))
    assert read_record(tmp_path) is None


def _add(folder, numbers):
    for number in numbers:
        add_members(folder, [member(folder, number)], door=DOOR, launcher="x")


def test_members_added_by_several_processes_are_all_there(tmp_path):
    context = multiprocessing.get_context("fork")
    adders = [context.Process(target=_add, args=(tmp_path, range(start, 40, 4))) for start in range(4)]
    for adder in adders:
        adder.start()
    for adder in adders:
        adder.join(60)
    assert [one.number for one in read_record(tmp_path).members] == list(range(40))


def test_a_member_in_a_known_folder_takes_its_place(tmp_path):
    add_members(tmp_path, [member(tmp_path, 0), member(tmp_path, 1)], door=DOOR, launcher="x")
    add_members(tmp_path, [member(tmp_path, 0, "seed=0", "lr=1")], door=DOOR, launcher="x")
    assert [one.overrides for one in read_record(tmp_path).members] == [("seed=0", "lr=1"), ("seed=1",)]


def content(**changed):
    entry = {"number": 0, "folder": "m0", "overrides": ["seed=0"], "digest": ""}
    return {
        "script": "s",
        "cwd": "c",
        "python": "p",
        "launcher": "l",
        "members": [entry | changed.pop("of", {})],
        **changed,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "\0",
        "[" * 100_000,
        json.dumps(content(members=3)),
        json.dumps(content(members=[3])),
        json.dumps(content(script=None)),
        json.dumps(content(cwd="a\0b")),
        json.dumps(content(flags="--config-dir")),
        json.dumps(content(members=[{}] * 10_001)),
        json.dumps(content(members=content()["members"] * 2)),
        *(
            json.dumps(content(of=changed))
            for changed in (
                {"folder": "../m0"},
                {"folder": "/etc"},
                {"folder": ""},
                {"folder": "."},
                {"folder": "a/../../b"},
                {"folder": "a\0"},
                {"folder": "..\\m"},
                {"folder": None},
                {"number": "0"},
                {"number": True},
                {"overrides": "seed=0"},
                {"overrides": [0]},
                {"digest": 3},
            )
        ),
    ],
)
def test_records_that_were_not_written_here_are_refused(tmp_path, text):
    (tmp_path / SWEEP).write_text(text)
    with pytest.raises(RunError, match="remove the file"):
        read_record(tmp_path)


def test_the_content_of_the_refusals_is_otherwise_fine(tmp_path):
    (tmp_path / SWEEP).write_text(json.dumps(content()))
    assert read_record(tmp_path).members == (SweepMember(0, ("seed=0",), tmp_path / "m0", ""),)


def test_without_a_record_multirun_yaml_tells(tmp_path):
    import yaml

    hydra = {
        "sweep": {"dir": "x", "subdir": "${seed}"},
        "sweeper": {"_target_": "hydra._internal.core_plugins.basic_sweeper.BasicSweeper", "params": None},
        "overrides": {"task": ["seed=1,2"]},
        "runtime": {"choices": {}},
    }
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra, "seed": 0}))
    assert [one.folder.name for one in told_record(tmp_path).members] == ["1", "2"]
    hydra["sweep"]["subdir"] = "${now:%S}"
    (tmp_path / "multirun.yaml").write_text(yaml.safe_dump({"hydra": hydra, "seed": 0}))
    with pytest.raises(RunError, match="as it went"):
        told_record(tmp_path)
    with pytest.raises(RunError, match=r"no multirun\.yaml"):
        told_record(tmp_path / "..")
