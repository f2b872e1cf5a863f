"""A sweep is resumed from its record into trainings, and into nothing else."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from rich.console import Console
from sweep_planning import Planning

from strokelab import runs
from strokelab.configuration import conf_folder
from strokelab.errors import StrokelabError
from strokelab.sweeps.record import SWEEP, Door, add_members
from strokelab.sweeps.resuming import resume_sweep
from strokelab.sweeps.sharing import Shares


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two members of which one is finished."""
    folder = tmp_path_factory.mktemp("recorded") / "sweep"
    members = Planning(folder).plan("seed=1", "seed=2")
    door = Door(conf_folder().parent / "train.py", folder.parent, "/old/python")
    add_members(folder, members, door=door, launcher="processes")
    runs.write_status(members[1].folder, "finished")
    return folder


@pytest.fixture
def sweep(recorded, tmp_path, monkeypatch):
    """The same in another place."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(recorded, tmp_path / "my sweep"))


@pytest.fixture
def started(monkeypatch):
    """What would be trained, in place of training it."""
    calls = []
    monkeypatch.setattr(
        "strokelab.sweeps.resuming.train_members",
        lambda members, door, shares, **_: calls.append((members, door, shares)),
    )
    return calls


def test_what_is_left_is_started_by_this_interpreter(sweep, started, recorded):
    assert not resume_sweep(sweep, Console(), at_once=2)
    ((members, door, shares),) = started
    assert [member.overrides for member in members] == [("seed=1",), ("seed=2",)]
    assert door == Door(conf_folder().parent / "train.py", recorded.parent, sys.executable)
    assert isinstance(shares, Shares)
    assert shares.at_once == 2
    runs.write_status(members[0].folder, "finished")
    assert resume_sweep(sweep, Console())
    assert len(started) == 1  # nothing was left


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"script": "/gone/train.py"}, "is gone"),
        ({"script": "evil/train.py"}, "its script is"),
        ({"launcher": "slurm"}, "by the launcher 'slurm'"),
        ({"flags": ["--config-dir", "evil"]}, "--config-dir"),
        ({"cwd": "/gone"}, "is gone"),
        ({"override": "+callbacks.evil={_target_: os.system, command: touch HIT}"}, "os.system"),
        ({"override": "name=${oc.env:HOME}"}, "oc.env"),
        ({"override": "experiment=../../evil"}, "an option of conf/experiment"),
        ({"override": "hydra.callbacks.evil={_target_: os.system}"}, "settings of a training"),
        ({"override": "--config-dir=evil"}, "settings of a training"),
        ({"override": "run_dir=elsewhere"}, "settings of a training"),
        ({"override": "trainer.max_epochs=9"}, "other settings of member 0"),
        ({"folder": "out"}, "leads out of the sweep"),
    ],
)
def test_a_stranger_s_record_starts_nothing_but_trainings(sweep, started, changed, words, tmp_path):
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil/train.py").write_text("open('HIT', 'w')")
    (sweep / "out").symlink_to(tmp_path)
    record = json.loads((sweep / SWEEP).read_text())
    member = record["members"][0]
    changed = dict(changed)
    member["overrides"] += [changed.pop("override")] if "override" in changed else []
    member["folder"] = changed.pop("folder", member["folder"])
    if changed.get("script", "").startswith("evil"):
        changed["script"] = str(tmp_path / changed["script"])
    (sweep / SWEEP).write_text(json.dumps(record | changed))
    with pytest.raises(StrokelabError) as caught:
        resume_sweep(sweep, Console())
    assert words in str(caught.value)
    assert started == []
    assert not list(tmp_path.rglob("HIT"))
