"""Members of sweeps: every one is named with what became of it, wherever the sweep lies now."""

import multiprocessing
import shutil

import pytest
from evaluation_settings import write_member, write_multirun

from strokelab import runs
from strokelab.errors import RunError
from strokelab.evaluation.sweep import gather, gather_all, is_sweep, unfinished
from strokelab.runs.folder import LOCK


@pytest.fixture
def sweep(tmp_path):
    folder = write_multirun(tmp_path / "sweep", "split.fold=range(0,6)")
    write_member(folder / "sgnet-fold0-seed0", "finished")
    write_member(folder / "sgnet-fold1-seed0", "failed", error="ValueError: loss is NaN\nmore")
    write_member(folder / "sgnet-fold2-seed0", "killed", error="SIGTERM")
    write_member(folder / "sgnet-fold3-seed0", "running")
    (folder / "sgnet-fold5-seed0").mkdir()
    return folder


def states(found):
    return {member.name: member.state for member in found.members}


def test_every_member_is_named_with_its_state(sweep):
    found = gather(sweep)
    assert states(found) == {
        "sgnet-fold0-seed0": "finished",
        "sgnet-fold1-seed0": "failed",
        "sgnet-fold2-seed0": "killed",
        "sgnet-fold3-seed0": "running",
        "sgnet-fold4-seed0": "missing",
        "sgnet-fold5-seed0": "unknown",
    }
    assert [member.overrides for member in found.members] == [f"split.fold={fold}" for fold in range(6)]
    assert found.members[1].error == "ValueError: loss is NaN"
    assert [one.folder for one in found.finished] == [sweep / "sgnet-fold0-seed0"]
    assert found.notes == ()
    lines = unfinished(found.members)
    assert len(lines) == 5
    assert lines[0] == "sgnet-fold1-seed0: failed (ValueError: loss is NaN)"


def test_a_sweep_may_be_moved_and_gathered_at_any_time(sweep, tmp_path):
    before = states(gather(sweep))
    shutil.move(sweep, tmp_path / "archive")
    assert states(gather(tmp_path / "archive")) == before
    write_member(tmp_path / "archive/sgnet-fold4-seed0", "finished")
    assert states(gather(tmp_path / "archive"))["sgnet-fold4-seed0"] == "finished"


def _hold(folder, ready, done):
    with runs.claimed(folder):
        ready.set()
        done.wait(30)


def test_who_says_running_is_looked_at(sweep):
    place = sweep / "sgnet-fold3-seed0"
    assert "no process" in gather(sweep).members[3].error
    (place / LOCK).touch()  # of one that was killed without notice
    assert "no process" in gather(sweep).members[3].error
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(place, ready, done))
    process.start()
    assert ready.wait(30)
    assert gather(sweep).members[3].error == ""
    assert gather(sweep).members[3].state == "running"
    done.set()
    process.join(30)


def test_folders_nobody_asked_for_are_taken_and_named(sweep):
    """The same folder swept twice: multirun.yaml is that of the second time."""
    write_member(sweep / "old/sgnet-fold8-seed0", "finished", "split.fold=8", "seed=0")
    found = gather(sweep)
    assert states(found)["old/sgnet-fold8-seed0"] == "finished"
    assert found.members[-1].overrides == "split.fold=8"
    assert "1 run(s)" in found.notes[0]
    assert "old/sgnet-fold8-seed0" in found.notes[0]


def test_members_with_names_of_their_own_are_known_by_what_they_remember(tmp_path):
    folder = write_multirun(tmp_path / "s", "model=sgnet,unet2d", "seed=1,2", subdir="${now:%S}-${seed}")
    write_member(folder / "a", "finished", "model=unet2d", "seed=1")
    write_member(folder / "b", "failed", "model=sgnet", "seed=2")
    found = gather(folder)
    assert [(member.name, member.state) for member in found.members] == [
        ("model=sgnet seed=1", "missing"),
        ("b", "failed"),
        ("a", "finished"),
        ("model=unet2d seed=2", "missing"),
    ]
    assert dict(found.finished[0].overrides) == {"model": "unet2d", "seed": "1"}
    assert found.notes == ()


def test_members_that_share_a_folder_are_not_counted_twice(tmp_path):
    folder = write_multirun(tmp_path / "s", "seed=1,2", subdir="${name}")
    write_member(folder / "sgnet", "finished")
    found = gather(folder)
    assert [member.state for member in found.members] == ["missing", "finished"]
    assert found.members[1].overrides == "seed=2"
    assert len(found.finished) == 1


def test_a_sweep_that_does_not_tell_its_members_is_gathered_with_a_note(tmp_path):
    folder = write_multirun(tmp_path / "s", "lr=interval(0,1)")
    write_member(folder / "0", "finished")
    write_member(folder / "1", "failed", error="boom")
    found = gather(folder)
    assert states(found) == {"0": "finished", "1": "failed"}
    assert "others are not known" in found.notes[0]


def test_several_sweeps_are_one(sweep, tmp_path):
    other = write_multirun(tmp_path / "more", "seed=1", "model=unet2d")
    write_member(other / "unet2d-fold0-seed1", "finished")
    found = gather_all([str(sweep), str(other)])
    assert [one.name for one in found.finished] == ["sweep/sgnet-fold0-seed0", "more/unet2d-fold0-seed1"]
    assert len(found.members) == 7
    same_name = write_multirun(tmp_path / "x" / "sweep", "seed=3")
    write_member(same_name / "sgnet-fold0-seed3", "finished")
    names = [one.name for one in gather_all([str(sweep), str(same_name)]).finished]
    assert names == [f"{tmp_path.name}/sweep/sgnet-fold0-seed0", "x/sweep/sgnet-fold0-seed3"]
    with pytest.raises(RunError, match="twice"):
        gather_all([str(sweep), f"{sweep}/../sweep"])


def test_no_finished_member_is_an_error_that_names_them(tmp_path):
    folder = write_multirun(tmp_path / "s", "seed=1,2")
    write_member(folder / "sgnet-fold0-seed1", "failed", error="ValueError: boom")
    with pytest.raises(RunError) as caught:
        gather_all([str(folder)])
    assert "sgnet-fold0-seed1: failed (ValueError: boom)" in str(caught.value)
    assert "sgnet-fold0-seed2: missing" in str(caught.value)
    assert gather_all([]).members == ()


def test_a_folder_without_multirun_is_no_sweep(tmp_path, sweep):
    assert is_sweep(sweep)
    assert not is_sweep(sweep / "sgnet-fold0-seed0")
    with pytest.raises(RunError, match=r"no multirun\.yaml"):
        gather(sweep / "sgnet-fold0-seed0")
    with pytest.raises(RunError, match="no such folder"):
        gather_all([str(tmp_path / "nothing")])


@pytest.mark.parametrize("content", ["[]", "{", '{"state": "glorious"}', '{"state": 3}', "\0"])
def test_damaged_states_are_unknown(sweep, content):
    (sweep / "sgnet-fold0-seed0" / runs.STATUS).write_text(content)
    assert states(gather(sweep))["sgnet-fold0-seed0"] == "unknown"
