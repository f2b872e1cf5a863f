"""hydra/launcher=processes as Hydra runs it: from the command line to the exit status. Members are stand-ins."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.utils import JobStatus

from strokelab import runs
from strokelab.errors import RunError
from strokelab.evaluation.sweep import gather
from strokelab.sweeps.launching import SweepMemberReturn
from strokelab.sweeps.record import SweepMember, read_record
from strokelab.sweeps.states import SweepMemberState, state_of

HERE = Path(__file__).parent
SWEEP = ["-m", "hydra.sweep.dir=sweep", "hydra.launcher.at_once=2"]


def train(folder, *arguments):
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "COLUMNS": "300"}
    command = [sys.executable, str(HERE / "stand_in_door.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, timeout=120)
    assert "Traceback" not in done.stdout + done.stderr, done.stdout + done.stderr
    assert "Error executing job" not in done.stderr
    return done


def test_a_sweep_with_a_failed_member_ends_with_its_table_and_status_1(tmp_path):
    done = train(tmp_path, *SWEEP, "seed=1,2", "+dice=0.25,0.75", "hydra.sweep.subdir=s${seed}")
    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "sweep"
    names = [f"s{seed}-dice={dice}" for seed in (1, 2) for dice in (0.25, 0.75)]
    record = read_record(folder)
    assert [member.folder.name for member in record.members] == names
    assert record.door.script == HERE / "stand_in_door.py"
    assert "Dice over 4 finished member(s): mean 0.500, SD 0.289" in done.stdout
    assert "dice=0.25" in done.stdout  # the mean of a value over the seeds

    again = train(tmp_path, *SWEEP, "seed=2,1", "+dice=0.25,0.75", "hydra.sweep.subdir=s${seed}")
    assert again.returncode == 0
    assert "4 finished before" in again.stdout
    assert "started" not in again.stdout

    more = train(tmp_path, *SWEEP, "seed=3", "+fail=1,2", "hydra.sweep.subdir=${seed}-${fail}")
    assert more.returncode == 1
    assert "4 of 6 members finished" in more.stdout
    assert "ValueError: no lesion left" in more.stdout
    states = [(row["folder"], row["state"]) for row in csv.DictReader((folder / "sweep.csv").open())]
    assert states == [*((name, "finished") for name in names), ("3-1", "failed"), ("3-2", "failed")]
    # Evaluation knows the same members, whatever multirun.yaml asked for last.
    found = gather(folder)
    assert [(member.name, member.state) for member in found.members] == states
    assert found.notes == ()


def test_mistakes_are_said_before_anything_starts(tmp_path):
    for wrong, words in {
        "hydra.launcher.at_once=0": "hydra.launcher.at_once",
        "ablation=da model=sgnet": "row of the ablation",
    }.items():
        done = train(tmp_path, "-m", "hydra.sweep.dir=sweep", "seed=1,2", *wrong.split())
        assert done.returncode == 1
        assert words in done.stdout
    assert not list((tmp_path / "sweep").glob("*/"))


def test_sweepers_learn_what_they_want_to_know(tmp_path):
    member = SweepMember(0, ("seed=1",), tmp_path, "")
    failed, tolerated = (
        SweepMemberReturn(member, SweepMemberState("failed", "ValueError: boom"), tolerant=tolerant)
        for tolerant in (False, True)
    )
    assert failed.status == tolerated.status == JobStatus.FAILED
    assert tolerated.return_value is None
    with pytest.raises(RunError, match="ValueError: boom"):
        _ = failed.return_value
    (tmp_path / runs.CASES).write_text("case,dice\na,0.25\n")
    (tmp_path / runs.CONFIG).write_text("model: {}\nview: {}\npostprocess: {}\ncohort: {}\n")
    runs.write_status(tmp_path, "finished")
    done = SweepMemberReturn(member, state_of(member), tolerant=False)
    assert done.status == JobStatus.COMPLETED
    assert done.return_value == 0.25
