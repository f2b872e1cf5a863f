"""A search on real trainings, killed in the middle and started again: what it found is what it would have found."""

import pytest
import yaml
from hydra.core.utils import JobStatus

from strokelab import runs
from strokelab.sweeps.launching import SweepMemberReturn
from strokelab.sweeps.members import SweepMember
from strokelab.sweeps.states import state_of

MEMBERS = 3


@pytest.fixture(scope="module")
def settings(tiny):
    return [
        "-m",
        "sweep=search",
        "hydra/launcher=basic",  # in the warm process; that a launcher gives objectives back is seen to below
        "resume=auto",
        *tiny,
        "model=unet2d",
        "split=holdout",
        "split.val_fraction=0.4",
        "callbacks.case_metrics.every_n_epochs=null",
        "hydra.sweep.dir=search",
        f"hydra.sweeper.n_trials={MEMBERS}",
        "model.optimizer.lr=tag(log,interval(0.01,0.3))",  # in place of the one value of the tiny settings
    ]


def state(folder):
    return runs.read_status(folder)["state"]


@pytest.mark.slow
def test_a_killed_search_goes_on_with_what_is_missing(settings, tmp_path, doors):
    whole = tmp_path / "whole"
    whole.mkdir()
    doors.train(*settings, cwd=whole).check()
    killed = doors.train(*settings, cwd=tmp_path, kill_at=("lightning.pytorch.Trainer.fit", 2))
    assert killed.status == -9
    folders = [tmp_path / "search" / f"trial{number}-unet2d-seed0" for number in range(MEMBERS)]
    assert [state(folder) for folder in folders] == ["finished", "running", "unknown"]
    first = (folders[0] / "status.json").read_bytes()

    said = doors.train(*settings, cwd=tmp_path).check().output
    assert [state(folder) for folder in folders] == ["finished"] * MEMBERS
    assert (folders[0] / "status.json").read_bytes() == first
    assert not any((folder / "cases.csv").exists() for folder in folders)  # no test case was looked at
    values = [runs.read_objective(folder) for folder in folders]
    assert values == [runs.read_objective(whole / "search" / folder.name) for folder in folders]
    content, unbroken = (
        yaml.safe_load((place / "search" / "optimization_results.yaml").read_text()) for place in (tmp_path, whole)
    )
    assert content == unbroken
    assert content["best_value"] == max(values)
    assert content["command"] in said

    times = [(folder / "status.json").read_bytes() for folder in folders]
    assert f"Best of {MEMBERS} results" in doors.train(*settings, cwd=tmp_path).check().output
    assert [(folder / "status.json").read_bytes() for folder in folders] == times

    unvalidated = [item.replace("val_fraction=0.4", "val_fraction=0") for item in settings]
    refused = doors.train(*unvalidated, cwd=tmp_path)
    assert refused.status == 1
    assert "no validation part" in refused.output
    assert "Traceback" not in refused.output

    # What our launchers, which read it from the folder, give back.
    member = SweepMember(0, (), folders[0], "")
    result = SweepMemberReturn(member, state_of(member), tolerant=False)
    assert (result.status, result.return_value) == (JobStatus.COMPLETED, values[0])
