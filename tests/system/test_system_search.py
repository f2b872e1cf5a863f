"""A search on real trainings, killed in the middle and started again: what it found is what it would have found."""

import csv
import json
import time

import pytest
import yaml

from strokelab import runs

pytestmark = pytest.mark.slow
MEMBERS = 3


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this never happened"
        time.sleep(0.02)


def state(folder):
    return runs.read_status(folder)["state"]


def starts(folder):
    return sum(line.startswith("=== ") for line in (folder / "log.txt").read_text().splitlines())


def test_a_killed_search_goes_on_with_what_is_missing(tmp_path, doors, tiny):
    sweep = tmp_path / "search"
    command = [
        "-m",
        "sweep=search",
        *tiny,
        "model=unet2d",
        "split=holdout",
        "split.val_fraction=0.4",
        "trainer.max_epochs=1",
        "callbacks.case_metrics.every_n_epochs=null",
        f"hydra.sweep.dir={sweep}",
        f"hydra.sweeper.n_trials={MEMBERS}",
        # tiny fixes the rate; an interval in its place is what the search chooses
        "model.optimizer.lr=tag(log,interval(0.001,0.3))",
    ]
    folders = [sweep / f"trial{number}-unet2d-seed0" for number in range(MEMBERS)]
    client = doors.start("train", *command, cwd=tmp_path)
    wait_until(lambda: state(folders[1]) == "running")
    client.kill()
    assert client.wait().status == -9
    wait_until(lambda: not runs.is_claimed(folders[1]))  # members do not outlive their sweep
    assert state(folders[0]) == "finished"
    assert state(folders[1]) != "finished"
    first_cases = (folders[0] / "metrics.csv").read_bytes()

    said = doors.train(*command, cwd=tmp_path).check().output
    assert [state(folder) for folder in folders] == ["finished"] * MEMBERS
    assert [starts(folder) for folder in folders] == [1, 2, 1]
    assert (folders[0] / "metrics.csv").read_bytes() == first_cases
    assert not any((folder / "cases.csv").exists() for folder in folders)  # no test case was looked at

    content = yaml.safe_load((sweep / "optimization_results.yaml").read_text())
    values = [runs.read_objective(folder) for folder in folders]
    with (folders[0] / "metrics.csv").open() as lines:
        column = [row["val/pooled_dice"] for row in csv.DictReader(lines) if row["val/pooled_dice"]]
    assert values[0] == float(column[-1])
    assert content["best_value"] == max(values)
    assert content["command"] in said
    assert len(json.loads((sweep / "sweep.json").read_text())["members"]) == MEMBERS

    again = doors.train(*command, cwd=tmp_path).check().output
    assert "Best of 3 results" in again
    assert [starts(folder) for folder in folders] == [1, 2, 1]
